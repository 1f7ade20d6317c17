"""Measured plans built by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from layerprune.api.pruning import Family
from layerprune.stats import RatioEstimate
from server.leaderboard.contenders import Entrant, Run

Outcomes = Sequence[int] | Any


def make_plan(
    name: str,
    ratio: float,
    correct: int | Outcomes,
    *,
    family: Family = "layer",
    validation: int | None = None,
    images: int = 1000,
    width: float = 0.001,
    flags: tuple[str, ...] = (),
    criterion: str = "l1",
    seeds: Sequence[int | Outcomes] = (),
) -> Entrant:
    """A plan whose first `correct` images are right (or with the outcomes given), one run, and one more per `seeds`.

    `width` is the half width of the latency ratio's interval, as a fraction; validation follows `correct` if left out.
    """
    runs = []
    for seed, given in enumerate((correct, *seeds)):
        outcomes = np.arange(images) < given if isinstance(given, int) else np.asarray(given, dtype=bool)
        runs.append(
            Run(
                variant=f"{name}-{seed}",
                seed=seed,
                validation_correct=int(outcomes.sum()) if validation is None else validation,
                validation_n=len(outcomes),
                outcomes=outcomes,
                p50_ns=round(ratio * 1e6),
                ratio=RatioEstimate(ratio, ratio * (1 - width), ratio * (1 + width), ratio, 5),
                flags=flags,
                is_stable=not flags,
                group=(1, 0),
                samples=name,
            )
        )
    return Entrant(name, name, family, (criterion,), 0, 1 - ratio, tuple(runs))


@pytest.fixture(scope="session")
def plan() -> Callable[..., Entrant]:
    return make_plan


@pytest.fixture(scope="session")
def base() -> Entrant:
    """The unpruned network: 950 of 1000 images are right."""
    return make_plan("base", 1.0, 950, family="base", width=0.0)
