"""One recipe for every network: the base and all its variants, whatever their family.

SGD with Nesterov momentum, a learning rate that warms up linearly and then falls along a half cosine to zero, weight
decay on convolution and linear weights only, random shifts as augmentation, and for variants distillation from the
unpruned network (Hinton, Vinyals, Dean 2015, arXiv 1503.02531). After every epoch the batch-norm statistics are
re-estimated: their running average lags behind so much that after one epoch on digits it hides most of the accuracy.
On a CPU the same seed gives the same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.tasks import EpochRecord
from layerprune.api.training import TrainingSpec
from layerprune.structure.trace import evaluating

from .evaluate import evaluate

_MOMENTUM = 0.9
_WARM_UP = 0.2  # fraction of all steps
_TEMPERATURE = 2.0
_REPORT_EVERY_S = 0.4
_STATISTICS_IMAGES = 1024

Data = tuple[Tensor, Tensor]
"""Normalised images (float N x C x H x W) and labels (int64 N)."""


def train_(
    model: nn.Module,
    data: Data,
    spec: TrainingSpec,
    *,
    epochs: int,
    seed: int,
    validation: Data,
    teacher: nn.Module | None = None,
    phase: str = "training",
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint: Callable[[], None] | None = None,
) -> list[EpochRecord]:
    """Train the model in place and return the curve; it is left in eval mode.

    `checkpoint` is called before every step: it may block, which does not count as training time, and may raise to stop
    the training. Raises BadInput with the code "diverged" as soon as a loss is not finite.
    """
    images, labels = data
    batches = max(1, len(images) // spec.batch_size)
    total = epochs * batches
    learning_rate = spec.learning_rate or 0.05
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(_parameter_groups(model, spec.weight_decay), lr=0.0, momentum=_MOMENTUM, nesterov=True)
    if teacher is not None:
        teacher.eval()
    # Not in channels_last, although that is faster: with several threads, oneDNN's backward pass of torch 2.14.1 then
    # corrupts memory at some channel counts (8 to 32 and 25 to 47 at stride 2), and pruned networks have all counts.
    statistics = statistics_batches(images, batch_size=spec.batch_size, seed=seed)
    reporter = _Reporter(phase, epochs, total, on_progress)
    curve: list[EpochRecord] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for dropout
        for epoch in range(1, epochs + 1):
            started = reporter.clock()
            model.train()
            losses: list[float] = []
            # Parts of nearly equal size: a leftover batch of one image would make batch norm fail.
            for chosen in torch.randperm(len(images), generator=order).tensor_split(batches):
                if checkpoint is not None:
                    reporter.wait(checkpoint)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * _schedule(reporter.steps, total)
                loss = _loss(model, teacher, _shifted(images[chosen], order), labels[chosen], spec.distillation)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    raise _diverged(epoch, losses[-1], learning_rate)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                reporter.step(epoch, losses)
            reestimate_batch_norm_(model, statistics)
            count, _ = evaluate(model, *validation)
            record = EpochRecord(
                epoch=epoch,
                loss=sum(losses) / len(losses),
                validation_accuracy=count.correct / count.n,
                seconds=reporter.clock() - started,
            )
            curve.append(record)
            reporter.epoch(record)
    model.eval()
    return curve


def statistics_batches(images: Tensor, *, batch_size: int, seed: int) -> tuple[Tensor, ...]:
    """Draw the training images, at most 1024, that batch-norm statistics are estimated on."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    drawn = images[order[:_STATISTICS_IMAGES]]
    return drawn.tensor_split(max(1, len(drawn) // batch_size))


def reestimate_batch_norm_(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch norm by the average over these input batches, in place.

    Only batch norms run in training mode, so nothing else (dropout, say) disturbs the statistics; all modes and momenta
    are restored. Surgery changes what flows into a norm, so this comes before fine-tuning and before judging a plan.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's word for the cumulative average
                norm.train()
            for batch in batches:
                model(batch)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def _schedule(step: int, total: int) -> float:
    """Return the factor on the learning rate: a linear rise over the first fifth, then a half cosine to zero."""
    warm_up = max(1, round(_WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm_up) / (total + 1 - warm_up)))


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by up to an eighth of its size in both directions; edge pixels fill the gap."""
    count, channels, height, width = images.shape
    reach = max(1, height // 8)
    padded = F.pad(images, [reach] * 4, mode="replicate")
    down, right = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    rows = (down + torch.arange(height))[:, None, :, None]
    columns = (right + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None], rows, columns]


def _loss(model: nn.Module, teacher: nn.Module | None, images: Tensor, labels: Tensor, distillation: float) -> Tensor:
    outputs = model(images)
    hard = F.cross_entropy(outputs, labels)
    if teacher is None or distillation == 0:
        return hard
    with torch.no_grad():
        targets = F.log_softmax(teacher(images) / _TEMPERATURE, 1)
    soft = F.kl_div(F.log_softmax(outputs / _TEMPERATURE, 1), targets, reduction="batchmean", log_target=True)
    return (1 - distillation) * hard + distillation * _TEMPERATURE**2 * soft


class _Reporter:
    """Turns steps and epochs into progress, at most every 0.4 s, and keeps the time that was not spent waiting."""

    def __init__(self, phase: str, epochs: int, total: int, send: Callable[[Progress], None] | None) -> None:
        self.steps = 0
        self._phase, self._epochs, self._total, self._send = phase, epochs, total, send
        self._accuracy: float | None = None
        self._waited = 0.0
        self._started = self._reported = self.clock()

    def clock(self) -> float:
        return time.monotonic() - self._waited

    def wait(self, checkpoint: Callable[[], None]) -> None:
        before = time.monotonic()
        checkpoint()
        self._waited += time.monotonic() - before

    def step(self, epoch: int, losses: Sequence[float]) -> None:
        self.steps += 1
        if self.clock() - self._reported >= _REPORT_EVERY_S:
            self._report(epoch, sum(losses[-20:]) / len(losses[-20:]))

    def epoch(self, record: EpochRecord) -> None:
        self._accuracy = record.validation_accuracy
        self._report(record.epoch, record.loss)

    def _report(self, epoch: int, loss: float) -> None:
        self._reported = self.clock()
        if self._send is not None:
            per_step = (self._reported - self._started) / self.steps
            self._send(
                Progress(
                    phase=self._phase,
                    message=f"epoch {epoch} of {self._epochs}",
                    fraction=self.steps / self._total,
                    epoch=epoch,
                    epochs=self._epochs,
                    loss=loss,
                    accuracy=self._accuracy,
                    seconds_left=per_step * (self._total - self.steps),
                )
            )


def _diverged(epoch: int, loss: float, learning_rate: float) -> BadInput:
    return BadInput(
        f"the training diverged: the loss was {loss} in epoch {epoch}",
        field="training.learning_rate",
        value=learning_rate,
        code="diverged",
        remedy="Train with a lower learning rate.",
    )
