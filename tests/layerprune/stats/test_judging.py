"""What a ratio amounts to."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from layerprune.flags import verdict
from layerprune.samples import ProcessSamples, SampleSet
from layerprune.stats import RatioEstimate, is_different, p_value, ratio, sample_flags


def test_a_quiet_measurement_has_only_the_note(constant: Callable[..., SampleSet]) -> None:
    flags = sample_flags(constant(50), constant(100), constant(100), seed=0)
    assert flags == ["single_process"]
    assert verdict(flags) == "stable"


def test_a_wide_interval_is_flagged(process: Callable[..., ProcessSamples], constant: Callable[..., SampleSet]) -> None:
    wild = SampleSet((process([100] * 5, [130] * 5, [90] * 5),))
    assert "ci_not_met" in sample_flags(wild, constant(100), constant(100), seed=0)


@pytest.mark.parametrize(("aa", "off"), [(100_900, False), (101_200, True), (98_000, True)])
def test_a_control_that_is_certainly_off_is_flagged(constant: Callable[..., SampleSet], aa: int, off: bool) -> None:
    assert ("aa_off" in sample_flags(constant(50_000), constant(100_000), constant(aa), seed=0)) is off


def test_a_control_that_is_far_off_is_flagged_however_uncertain(
    process: Callable[..., ProcessSamples], constant: Callable[..., SampleSet]
) -> None:
    uncertain = SampleSet((process([104] * 5, [80] * 5, [130] * 5),))
    found = ratio(uncertain, constant(100), seed=0)
    assert found.ci_low < 1 < found.ci_high
    assert "aa_off" in sample_flags(constant(50), constant(100), uncertain, seed=0)


def test_five_processes_are_not_noted_as_single(constant: Callable[..., SampleSet]) -> None:
    five = constant(*[100] * 5)
    assert sample_flags(five, five, five, seed=0) == []


def told(value: float, half: float, *, low: float | None = None, low_half: float | None = None) -> RatioEstimate:
    """An estimate of eight processes with intervals of these half widths, in logarithms."""
    low = value if low is None else low
    return RatioEstimate(
        value,
        value * math.exp(-half),
        value * math.exp(half),
        low,
        8,
        None if low_half is None else low * math.exp(-low_half),
        None if low_half is None else low * math.exp(low_half),
        df=7,
    )


@pytest.mark.parametrize(("value", "different"), [(1.02, True), (1.009, False), (0.98, True), (0.992, False)])
def test_two_latencies_differ_where_the_interval_excludes_one(value: float, different: bool) -> None:
    assert is_different(told(value, 0.01)) is different


def test_the_tenth_percentiles_decide_where_they_have_an_interval() -> None:
    assert is_different(told(1.0, 0.01, low=1.03, low_half=0.01))
    assert not is_different(told(1.03, 0.01, low=1.0, low_half=0.01))


def test_nothing_differs_where_medians_and_tenth_percentiles_point_in_opposite_directions() -> None:
    assert not is_different(told(1.004, 0.02, low=0.975, low_half=0.005))


def test_the_probability_is_five_percent_at_the_edge_of_the_interval() -> None:
    assert p_value(told(math.exp(0.01), 0.01)) == pytest.approx(0.05)
    assert p_value(told(math.exp(0.02), 0.01)) < 0.01
    assert p_value(told(1.0, 0.01)) == 1


def test_an_estimate_without_spread_is_certain() -> None:
    assert p_value(told(1.0, 0.0)) == 1
    assert p_value(told(1.001, 0.0)) == 0


def test_a_difference_below_the_noise_floor_is_none() -> None:
    assert not is_different(told(1.02, 0.01), noise_floor=0.03)


def test_several_comparisons_share_the_risk() -> None:
    estimate = told(1.012, 0.01)
    assert is_different(estimate)
    assert not is_different(estimate, level=0.05 / 10)
