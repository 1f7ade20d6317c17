"""Change points and autocorrelation, on series whose truth is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from layerprune.samples import ProcessSamples, SampleSet
from layerprune.stats import autocorrelation, changepoints, drift_flags, largest_shift


def test_a_step_is_found_where_it_is() -> None:
    values = np.array([100, 101, 99, 100, 102, 98, 101, 99] + [110, 111, 109, 110, 112, 108, 111, 109])
    assert changepoints(values) == [8]
    assert largest_shift(values, [8]) == pytest.approx(math.log(1.1), abs=0.005)


def test_two_steps_are_found() -> None:
    # Pairs that differ by 1 %, so that chance adds no change of its own.
    values = np.repeat([100.0, 120.0, 100.0], [20, 16, 24]) * np.tile([1.0, 1.01], 30)
    assert changepoints(values) == [20, 36]


def test_nothing_changes_in_a_constant() -> None:
    assert changepoints([5.0] * 100) == []
    assert largest_shift([5.0] * 100, []) == 0


def test_too_few_values_have_no_change() -> None:
    assert changepoints([1, 1, 1, 9, 9, 9]) == []


def test_the_optimum_is_that_of_trying_every_segmentation() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        values = np.repeat(rng.uniform(90, 110, 3), 4) * rng.lognormal(0, 0.02, 12)
        logs = np.log(values)
        spread = 1.4826 * np.median(np.abs(np.diff(logs))) / math.sqrt(2)
        penalty = 2 * math.log(12) * spread**2

        def cost(changes: tuple[int, ...], logs: NDArray[np.float64] = logs, penalty: float = float(penalty)) -> float:
            return sum(float(part.var()) * len(part) for part in np.split(logs, changes)) + penalty * len(changes)

        tried = [
            changes
            for count in range(4)
            for changes in itertools.combinations(range(1, 12), count)
            if all(b - a >= 3 for a, b in itertools.pairwise((0, *changes, 12)))
        ]
        assert changepoints(values, least=3) == list(min(tried, key=cost))


@pytest.mark.parametrize("blocks", [20, 32])
def test_quiet_runs_are_seldom_flagged(process: Callable[..., ProcessSamples], blocks: int) -> None:
    """Blocks whose medians spread by 1 %, which is what a quiet machine shows."""
    rng = np.random.default_rng(2)
    false = 0
    for _ in range(400):
        medians = (1e6 * rng.lognormal(0, 0.01, blocks)).astype(np.int64)
        false += "changepoint" in drift_flags(SampleSet((process(*[[median] * 3 for median in medians]),)))
    assert false / 400 <= 0.02


def test_a_process_that_slows_down_by_five_percent_is_flagged(process: Callable[..., ProcessSamples]) -> None:
    rng = np.random.default_rng(3)
    blocks = [(1e6 * level * rng.lognormal(0, 0.01, 20)).astype(np.int64) for level in [1.0] * 12 + [1.05] * 12]
    assert drift_flags(SampleSet((process(*blocks),))) == ["changepoint", "autocorrelated"]


def test_one_of_five_processes_does_not_move_the_headline(process: Callable[..., ProcessSamples]) -> None:
    rng = np.random.default_rng(4)
    quiet = [process(*(1e6 * rng.lognormal(0, 0.01, (24, 20))).astype(np.int64)) for _ in range(4)]
    moved = process(*[(1e6 * level * rng.lognormal(0, 0.01, 20)).astype(np.int64) for level in [1.0] * 12 + [1.1] * 12])
    assert "changepoint" not in drift_flags(SampleSet((*quiet, moved)))
    assert "changepoint" in drift_flags(SampleSet((quiet[0], moved)))


def test_independent_samples_are_not_correlated(process: Callable[..., ProcessSamples]) -> None:
    blocks = (1e6 * np.random.default_rng(5).lognormal(0, 0.05, (20, 50))).astype(np.int64)
    assert abs(autocorrelation(process(*blocks))) < 0.1


def test_a_random_walk_is_correlated(process: Callable[..., ProcessSamples]) -> None:
    steps = np.random.default_rng(6).normal(0, 0.01, (20, 50))
    blocks = (1e6 * np.exp(np.cumsum(steps, axis=1))).astype(np.int64)
    assert autocorrelation(process(*blocks)) > 0.8
    assert "autocorrelated" in drift_flags(SampleSet((process(*blocks),)))


def test_neighbours_across_blocks_do_not_count(process: Callable[..., ProcessSamples]) -> None:
    # Each block holds one value: no sample has a neighbour of its own block.
    assert autocorrelation(process(*[[100 + i] for i in range(20)])) == 0
