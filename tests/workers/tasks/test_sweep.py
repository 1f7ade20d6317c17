"""A sweep times every architecture against the base, quickly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from layerprune.api.jobs import Progress
from layerprune.api.tasks import Condition, SweepPayload
from layerprune.samples import decode
from layerprune.stats import ratio
from workers.tasks import sweep
from workers.tasks.timing import split_evenly

NULL = Condition(backend="null")


@pytest.fixture
def payload(null_net: Callable[[int], str]) -> SweepPayload:
    """Seven architectures from 300 to 900 microseconds, and a base of 1000."""
    architectures = {f"arch{i}": null_net(100 * i) for i in range(3, 10)}
    return SweepPayload(condition=NULL, base=null_net(1000), architectures=architectures, input_shape=[3, 8, 8], seed=1)


def test_every_architecture_is_timed_once_beside_base_and_control(tmp_path: Path, payload: SweepPayload) -> None:
    result = sweep.run(payload, folder=tmp_path, report=lambda _: None, checkpoint=lambda: None)
    sessions = [[session.session for session in group.sessions] for group in result.groups]
    assert all(group[:2] == ["base", "aa"] for group in sessions)
    assert [len(group) for group in sessions] == [6, 5]
    assert sorted(name for group in sessions for name in group[2:]) == sorted(payload.architectures)


def test_latencies_and_ratios_are_those_of_the_networks(tmp_path: Path, payload: SweepPayload) -> None:
    result = sweep.run(payload, folder=tmp_path, report=lambda _: None, checkpoint=lambda: None)
    for group in result.groups:
        samples = {s.session: decode((tmp_path / s.samples).read_bytes()) for s in group.sessions}
        for session in group.sessions[2:]:
            expected_us = 100 * int(session.session.removeprefix("arch"))
            assert session.p50_ns == pytest.approx(expected_us * 1000, rel=0.02)
            assert session.n_samples == len(samples[session.session].all_ns())
            found = ratio(samples[session.session], samples["base"], seed=0)
            assert found.value == pytest.approx(expected_us / 1000, rel=0.01)


def test_progress_says_which_group_and_how_long(tmp_path: Path, payload: SweepPayload) -> None:
    told: list[Progress] = []
    sweep.run(payload, folder=tmp_path, report=told.append, checkpoint=lambda: None)
    assert {"group 1 of 2", "group 2 of 2"} == {progress.message for progress in told}
    assert all(progress.seconds_left is not None and progress.fraction is not None for progress in told)
    assert {"loading", "warm-up", "timing"} == {progress.phase for progress in told}


def test_the_same_seed_gives_the_same_samples(tmp_path: Path, payload: SweepPayload) -> None:
    found = []
    for _ in range(2):
        result = sweep.run(payload, folder=tmp_path, report=lambda _: None, checkpoint=lambda: None)
        found.append([(tmp_path / s.samples).read_bytes() for group in result.groups for s in group.sessions])
    assert found[0] == found[1]


def test_a_real_network_is_swept_in_seconds(
    tmp_path: Path, put: Callable[[bytes], str], conv_net: Callable[..., bytes]
) -> None:
    result = sweep.run(
        SweepPayload(
            condition=Condition(),
            base=put(conv_net(depth=16, channels=16)),
            architectures={"half": put(conv_net(depth=8, channels=16))},
            input_shape=[3, 8, 8],
            seed=1,
        ),
        folder=tmp_path,
        report=lambda _: None,
        checkpoint=lambda: None,
    )
    base, _, half = result.groups[0].sessions
    assert half.p50_ns < 0.8 * base.p50_ns
    assert result.conditions["runtime"] == "onnxruntime"
    assert {"warm_up", "timing", "starting"} <= result.seconds.keys()


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (1, [1]), (6, [6]), (7, [4, 3]), (13, [5, 4, 4])], ids=lambda value: str(value)
)
def test_groups_are_few_and_of_even_size(count: int, sizes: list[int]) -> None:
    parts = split_evenly([str(i) for i in range(count)], 6)
    assert [len(part) for part in parts] == sizes
    assert sorted(sum(parts, [])) == sorted(str(i) for i in range(count))
