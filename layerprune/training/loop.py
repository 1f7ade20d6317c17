"""One training for every network: the base, its variants and its rivals, whatever their family.

The learning rate warms up linearly and then falls along a half cosine to zero; images are shifted and, where the data
allows it, mirrored at random; a variant also learns from the unpruned network. After every epoch the batch-norm
statistics are re-estimated: their running average lags behind so much that after one epoch on digits it hides most of
the accuracy. On a CPU the same seed gives the same weights, also when the training was killed and resumed in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.training import EpochRecord
from layerprune.data.feed import Feed
from layerprune.evaluate import device_of, evaluate

from .group import ALONE, Group
from .norms import reestimate_batch_norm_, statistics_batches
from .progress import Reporter
from .recipe import Recipe
from .snapshots import Snapshots
from .state import StateDiffers, read_state_, write_state
from .step import Step
from .trial import lay_out_

_WARM_UP = 0.2  # fraction of all steps
_Tensors = tuple[Tensor, ...] | list[Tensor]


def train_(
    model: nn.Module,
    feed: Feed,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    validation: Feed,
    teacher: nn.Module | None = None,
    phase: str = "training",
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint: Callable[[], None] | None = None,
    snapshots: Snapshots | None = None,
    group: Group = ALONE,
) -> list[EpochRecord]:
    """Train the model in place, on the device where it is, and return the curve; it is left in eval mode.

    `checkpoint` is called before every step: it may block, which does not count as training time, and may raise to stop
    the training. With `snapshots` it goes on from the state that is found there, and leaves its own. In a `group` all
    processes call this with the same arguments; the curve and the final network are the first one's.
    Raises BadInput with the code "diverged" when a loss is not finite.
    """
    training = _Training(
        model, feed, recipe, epochs=epochs, seed=seed, teacher=teacher, snapshots=snapshots, group=group
    )
    with _random(training.device, seed + group.rank):
        training.resume()
        reporter = Reporter(phase, epochs=epochs, total=training.total, send=on_progress, steps=training.steps)
        while training.at.epoch <= epochs:
            training.run_epoch(reporter, checkpoint)
            if group.leads:
                training.close_epoch(reporter, validation)
            training.next_epoch()
    training.finish()
    return training.curve


@dataclass
class _Position:
    """Where in which epoch the training stands; the next step is number `step` of the epoch, counted from 0."""

    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


class _Training:
    """The state of one training, and the moves that change it."""

    def __init__(
        self,
        model: nn.Module,
        feed: Feed,
        recipe: Recipe,
        *,
        epochs: int,
        seed: int,
        teacher: nn.Module | None,
        snapshots: Snapshots | None,
        group: Group,
    ) -> None:
        lay_out_(recipe.precision, model, teacher)
        self.device = device_of(model)
        self.curve: list[EpochRecord] = []
        self.at = _Position()
        self._model, self._feed, self._recipe, self._seed = model, feed, recipe, seed
        self._snapshots, self._group = snapshots, group
        self._batches = max(1, len(feed) // recipe.batch_size)
        self.total = epochs * self._batches
        self._step = Step(model, recipe, teacher=teacher, forward=group.wrap(model))
        self._averaged = _averaged(model, recipe.ema) if recipe.ema is not None else None
        self._order = torch.Generator().manual_seed(seed)
        self._order_before = self._order.get_state()  # of this epoch

    @property
    def steps(self) -> int:
        return (self.at.epoch - 1) * self._batches + self.at.step

    def resume(self) -> None:
        """Take over the state of an earlier process, if there is one that fits."""
        found = self._snapshots.of_stage() if self._snapshots is not None else None
        if found is None:
            return
        assert self._snapshots is not None
        try:
            random = read_state_(found.tensors, self._model, self._averaged, self._step)
        except StateDiffers as error:
            self._snapshots.reject(str(error))
            return
        self._step.scaler.load_state_dict(found.facts["scaler"])
        self.at = _Position(**found.facts["position"])
        self.curve = [EpochRecord.model_validate(record) for record in found.facts["curve"]]
        self._order_before = random["order"]
        torch.set_rng_state(random["torch"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)

    def run_epoch(self, reporter: Reporter, pause: Callable[[], None] | None) -> None:
        """Do the steps of the epoch that are not done yet."""
        started, spent = reporter.clock(), self.at.seconds
        self._order.set_state(self._order_before)
        self._model.train()
        done, self.at.step = self.at.step, 0
        pending: Tensor | None = None
        for images, labels in self._feed.epoch(
            self._recipe.batch_size, generator=self._order, device=self.device, flip=self._recipe.flip
        ):
            if self.at.step < done:  # drawn again only to bring the generator forward
                self.at.step += 1
                continue
            if pause is not None:
                reporter.wait(pause)
            self._group.meet()
            images, labels, share = self._group.part(images, labels)
            rate = self._recipe.learning_rate * _schedule(self.steps, self.total)
            loss = self._step(images, labels, learning_rate=rate, share=share)
            if self._averaged is not None:
                self._averaged.update_parameters(self._model)
            # A loss is read one step late, so that a GPU need not wait for the reader.
            self._note(pending, reporter)
            pending = self._group.mean(loss, share)
            self.at.step += 1
            self.at.seconds = spent + reporter.clock() - started
            if self._snapshots is not None and self._snapshots.is_due:
                self._note(pending, reporter)
                pending = None
                self._save()
        self._note(pending, reporter)

    def close_epoch(self, reporter: Reporter, validation: Feed) -> None:
        """Re-estimate the statistics of the weights that count, judge them and add to the curve."""
        started = reporter.clock()
        kept = self._kept()
        batches = statistics_batches(
            self._feed, batch_size=self._recipe.batch_size, seed=self._seed, device=self.device
        )
        reestimate_batch_norm_(kept, map(self._recipe.precision.place, batches))
        try:
            count, _ = evaluate(kept, validation)
        except BadInput as error:
            if error.code != "diverged":
                raise
            raise self._diverged(error.message) from error
        record = EpochRecord(
            epoch=self.at.epoch,
            loss=self.at.loss_sum / self._batches,
            validation_accuracy=count.correct / count.n,
            seconds=self.at.seconds + reporter.clock() - started,
        )
        self.curve.append(record)
        reporter.epoch(record)

    def next_epoch(self) -> None:
        self.at = _Position(epoch=self.at.epoch + 1)
        self._order_before = self._order.get_state()
        if self._snapshots is not None and self._snapshots.is_due:
            self._save()

    def finish(self) -> None:
        """Leave the weights that count in the model, in eval mode."""
        kept = self._kept()
        if kept is not self._model:
            self._model.load_state_dict(kept.state_dict())
        self._model.to(memory_format=torch.contiguous_format)
        self._model.eval()

    def _kept(self) -> nn.Module:
        return self._model if self._averaged is None else self._averaged.module

    def _note(self, loss: Tensor | None, reporter: Reporter) -> None:
        if loss is None:
            return
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss was {value}")
        self.at.loss_sum += value
        reporter.step(self.at.epoch, value)

    def _diverged(self, what: str) -> BadInput:
        rate = self._recipe.learning_rate
        return BadInput(
            f"the training diverged: {what} in epoch {self.at.epoch}, at a learning rate of up to {rate:g}",
            field="training.learning_rate",
            value=rate,
            code="diverged",
            remedy="Train with a lower training.learning_rate.",
        )

    def _save(self) -> None:
        if self._snapshots is None or not self._group.leads:
            return
        random = {"order": self._order_before, "torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        facts: dict[str, Any] = {
            "position": asdict(self.at),
            "curve": [record.model_dump() for record in self.curve],
            "scaler": self._step.scaler.state_dict(),
        }
        self._snapshots.save(write_state(self._model, self._averaged, self._step, random), facts)


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Average the weights with the decay, less at first so that the random start is soon forgotten."""

    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            mean.lerp_(value, weight)

    return AveragedModel(model, multi_avg_fn=update)


def _schedule(step: int, total: int) -> float:
    """Return the factor on the learning rate: a linear rise over the first fifth, then a half cosine to zero."""
    warm_up = max(1, round(_WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm_up) / (total + 1 - warm_up)))


@contextmanager
def _random(device: torch.device, seed: int) -> Iterator[None]:
    """Seed what the network draws for itself (dropout), and leave the global generators as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
