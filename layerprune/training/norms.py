"""Batch-norm statistics, estimated anew for weights that have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from layerprune.data.feed import Device, Feed
from layerprune.structure.trace import evaluating

_IMAGES = 1024


def statistics_batches(feed: Feed, *, batch_size: int, seed: int, device: Device = "cpu") -> Iterator[Tensor]:
    """Yield the training images, at most 1024 and drawn at random, that batch-norm statistics are estimated on."""
    for images, _ in feed.sample(_IMAGES, seed=seed).batches(batch_size, device=device, even=True):
        yield images


def reestimate_batch_norm_(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch norm by the average over these input batches, in place.

    Only batch norms run in training mode, so nothing else (dropout, say) disturbs the statistics; all modes and momenta
    are restored. Surgery changes what flows into a norm, so this comes before fine-tuning and before judging a plan.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
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
