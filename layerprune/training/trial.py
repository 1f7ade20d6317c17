"""Find out, in a few steps on a copy of the network, which arithmetic trains it fastest here."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from layerprune.data.feed import Feed
from layerprune.evaluate import device_of

from .precision import Precision, options
from .recipe import Recipe
from .step import Step

_CLEARLY_FASTER = 1.1
_TIMED_STEPS, _WARM_UP_STEPS = 5, 2


def choose_precision(model: nn.Module, feed: Feed, recipe: Recipe, *, teacher: nn.Module | None = None) -> Precision:
    """Time a few training steps in each precision that the model's device offers, and return the best.

    Float32 is left only for something clearly faster. The model, the teacher and all random states stay as they are.
    """
    device = device_of(model)
    if len(tried := options(device)) == 1:
        return tried[0]
    images, labels = next(iter(feed.batches(recipe.batch_size, device=device)))
    steps: dict[Precision, Callable[[], object]] = {}
    for option in tried:
        student, tutor = copy.deepcopy(model).train(), copy.deepcopy(teacher)
        lay_out_(option, student, tutor)
        step = Step(student, replace(recipe, precision=option), teacher=tutor)
        steps[option] = lambda step=step: step(images, labels, learning_rate=1e-6)  # type: ignore[misc]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return fastest(_times_s(steps, device))


def lay_out_(precision: Precision, *models: nn.Module | None) -> None:
    """Bring the networks' weights into the memory layout of the choice."""
    if precision.channels_last:
        for model in models:
            if model is not None:
                model.to(memory_format=torch.channels_last)


def fastest(times_s: Mapping[Precision, list[float]]) -> Precision:
    """Return the option with the lowest median, with all medians in it; the first unless it is clearly beaten."""
    medians = {option: statistics.median(times) for option, times in times_s.items()}
    first, *_ = medians
    best = min(medians, key=lambda option: medians[option])
    chosen = best if medians[best] * _CLEARLY_FASTER <= medians[first] else first
    return replace(chosen, trial_ms={option.label: round(1e3 * median, 3) for option, median in medians.items()})


def _times_s(steps: Mapping[Precision, Callable[[], object]], device: torch.device) -> dict[Precision, list[float]]:
    """Run the options' steps in turn, so that a disturbance hits them all, and time the later ones."""
    times: dict[Precision, list[float]] = {option: [] for option in steps}
    for number in range(_WARM_UP_STEPS + _TIMED_STEPS):
        for option, step in steps.items():
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number >= _WARM_UP_STEPS:
                times[option].append(time.perf_counter() - started)
    return times
