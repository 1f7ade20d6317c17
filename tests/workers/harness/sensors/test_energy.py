"""Energy from counters, with their wrap around, and from sampled rails."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from workers.harness.energy import Counter, CounterMeter, Reading, find_meter, integrate

RAPL = "/sys/class/powercap/intel-rapl:%s/%s"
PACKAGE = {
    RAPL % ("0", "name"): "package-0",
    RAPL % ("0", "energy_uj"): "5000000",
    RAPL % ("0", "max_energy_range_uj"): "262143328850",
    RAPL % ("0:0", "name"): "core",
    RAPL % ("0:0", "energy_uj"): "4000000",
}
SECOND = {
    RAPL % ("1", "name"): "package-1",
    RAPL % ("1", "energy_uj"): "262143000000",
    RAPL % ("1", "max_energy_range_uj"): "262143328850",
}


def test_processors_count_their_packages_and_not_the_parts_of_them(tree: Any) -> None:
    meter = find_meter(tree({**PACKAGE, **SECOND}))
    assert meter is not None
    assert meter.source == "rapl package-0+package-1"
    meter.start()
    tree({RAPL % ("0", "energy_uj"): "7500000", RAPL % ("1", "energy_uj"): "262143100000"})
    reading = meter.stop()
    assert reading is not None
    assert reading.millijoules == pytest.approx(2600)
    assert (reading.samples, reading.seconds > 0) == (2, True)


def test_a_counter_that_starts_again_at_zero_is_followed(tree: Any) -> None:
    meter = find_meter(tree(SECOND))
    assert meter is not None
    meter.start()
    tree({RAPL % ("1", "energy_uj"): "671150"})
    reading = meter.stop()
    assert reading is not None
    assert reading.millijoules == pytest.approx(1000)


def test_a_counter_without_a_known_range_is_not_guessed_at() -> None:
    values = iter([10.0, 3.0])
    meter = CounterMeter("test", [Counter(lambda: next(values))])
    meter.start()
    assert meter.stop() is None


def test_a_counter_that_stops_answering_gives_nothing(tree: Any) -> None:
    meter = find_meter(tree(PACKAGE))
    assert meter is not None
    meter.start()
    tree({RAPL % ("0", "energy_uj"): None})
    assert meter.stop() is None


def test_a_meter_can_be_used_again() -> None:
    values, times = iter([1.0, 4.0, 10.0, 12.0]), iter([0.0, 2.0, 5.0, 6.0])
    meter = CounterMeter("test", [Counter(lambda: next(values))], clock=lambda: next(times))
    readings = []
    for _ in range(2):
        meter.start()
        readings.append(meter.stop())
    assert readings == [Reading(3.0, 2.0, 2), Reading(2.0, 1.0, 2)]


def test_counters_that_may_not_be_read_are_no_meter(tree: Any) -> None:
    assert find_meter(tree({**PACKAGE, **SECOND, RAPL % ("1", "energy_uj"): "permission denied"})) is None


def test_a_machine_without_anything_has_no_meter(tree: Any) -> None:
    assert find_meter(tree({})) is None


def test_a_processors_counter_is_no_meter_for_a_gpu(tree: Any) -> None:
    assert find_meter(tree(PACKAGE), gpu=True) is None


@pytest.mark.parametrize(
    ("samples", "millijoules"),
    [
        ([(0.0, 1000.0), (2.0, 1000.0)], 2000.0),
        ([(0.0, 0.0), (1.0, 1000.0), (3.0, 0.0)], 1500.0),
        ([(0.0, 500.0)], 0.0),
    ],
    ids=["constant", "a triangle", "one sample"],
)
def test_power_is_integrated_by_trapezoids(samples: list[tuple[float, float]], millijoules: float) -> None:
    assert integrate(samples) == pytest.approx(millijoules)


@pytest.mark.parametrize(
    ("name", "source", "milliwatts"),
    [
        ("orin_nano", "rails VDD_IN", 6000.0),
        ("agx_orin", "rails VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0+VDDQ_VDD2_1V8AO", 9932.0),
        ("xavier", "rails GPU+CPU+SOC+CV+VDDRQ+SYS5V", 6140.0),
        ("thor", "rails VIN", 23100.0),
    ],
)
@pytest.mark.parametrize("gpu", [False, True])
def test_a_board_is_metered_by_the_rail_that_feeds_all_or_by_their_sum(
    board: Any, name: str, source: str, milliwatts: float, gpu: bool
) -> None:
    meter = find_meter(board(name), gpu=gpu)
    assert meter is not None
    assert meter.source == source
    meter.start()
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        pass
    reading = meter.stop()
    assert reading is not None
    assert reading.samples >= 3
    assert reading.millijoules == pytest.approx(milliwatts * reading.seconds)


def test_a_rail_that_stops_answering_gives_nothing(board: Any, tmp_path: Path) -> None:
    meter = find_meter(board("orin_nano"))
    assert meter is not None
    for path in tmp_path.glob("sys/class/hwmon/hwmon1/curr1_input"):
        path.unlink()
    meter.start()
    assert meter.stop() is None
