"""Numbers as the pages write them."""

from __future__ import annotations

import pytest

from layerprune.api.wire import Proportion, Ratio
from server.web import formats


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(342_400, "0.342"), (3_424_000, "3.42"), (34_240_000, "34.2"), (None, "–")],
)
def test_latency_has_three_significant_digits(nanoseconds: int | None, text: str) -> None:
    assert formats.ms(nanoseconds) == text


def test_a_difference_of_accuracies_is_written_in_points_with_its_sign() -> None:
    assert [formats.points(value) for value in (0.012, -0.0151)] == ["+1.2", "−1.5"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (9_996, "10.0 k"), (272_474, "272 k"), (10_300_000, "10.3 M"), (999_600, "1.00 M")],
)
def test_counts_have_a_metric_suffix(number: int, text: str) -> None:
    assert formats.count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (4.26, "4.3 s"), (48, "48 s"), (200, "3 min 20 s"), (180, "3 min"), (7_500, "2 h 5 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


def test_a_ratio_stands_with_its_interval() -> None:
    assert formats.ratio(Ratio(value=0.65, ci_low=0.645, ci_high=0.655)) == "0.650 (0.645–0.655)"


def test_an_accuracy_stands_as_counts_and_per_cent() -> None:
    assert formats.proportion(Proportion(correct=527, n=540)) == "527/540 = 97.6 %"


def test_times_are_utc() -> None:
    assert formats.when(0) == "1970-01-01 00:00 UTC"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("memory_bytes", 25_276_502_016, "23.5 GiB"),
        ("cpus", 2, "2"),
        ("clock_policy", {"governor": "unknown", "max_mhz": 3000}, "governor unknown, max mhz 3000"),
    ],
)
def test_facts_are_written_for_people(name: str, value: object, text: str) -> None:
    assert formats.fact(value, name) == text


@pytest.mark.parametrize(
    ("label", "name"),
    [("weight_l1, filters -46% MACs", "weight_l1-filters-46-MACs"), ("../../etc", "etc"), ("/", "variant")],
)
def test_a_label_becomes_a_safe_file_name(label: str, name: str) -> None:
    assert formats.file_name(label) == name
