"""What the tasks that train have in common: the precision, and states to resume from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from torch import nn

from layerprune import __version__
from layerprune.api.tasks import BuildPayload, ScorePayload
from layerprune.api.training import TrainingSpec
from layerprune.data.feed import Feed
from layerprune.training.group import Group
from layerprune.training.precision import Precision, is_worth_a_trial
from layerprune.training.recipe import Recipe
from layerprune.training.snapshots import Snapshots
from layerprune.training.trial import choose_precision
from workers.child import CHECKPOINT


def with_precision(
    recipe: Recipe, model: nn.Module, feed: Feed, spec: TrainingSpec, *, macs: int, epochs: int, group: Group
) -> Recipe:
    """Choose the job's precision, by a trial if its trainings are long enough to gain from one."""
    worthwhile = spec.mixed_precision == "auto" and is_worth_a_trial(macs, images=len(feed), epochs=epochs)
    if not worthwhile:
        return replace(recipe, precision=Precision(device=group.device.type))
    return replace(recipe, precision=group.agree(lambda: choose_precision(model, feed, recipe)))


def snapshots_of(payload: ScorePayload | BuildPayload, folder: Path) -> Snapshots:
    """Return where the task's training leaves its state, and what an earlier attempt at the same task left."""
    same = __version__ + payload.model_dump_json(exclude={"resume"})
    return Snapshots(
        folder / CHECKPOINT,
        key=hashlib.sha256(same.encode()).hexdigest(),
        resume=folder / "inputs" / payload.resume if payload.resume is not None else None,
    )
