"""The loss that a change of the network leaves, judged before anything is trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import fx

from layerprune.data.feed import Feed
from layerprune.structure.trace import evaluating
from layerprune.training.norms import reestimate_batch_norm_

_WORK_MACS = 2e13
"""Multiplications that judging all edits together may take: minutes on a processor."""
_FEWEST, _MOST = 64, 512
_BATCH = 64


def loss_after_repair(
    train: Feed, held_out: Feed, *, macs: int, times: int, seed: int
) -> Callable[[fx.GraphModule], float]:
    """A function that gives a graph's mean cross entropy in nats, with its batch-norm statistics re-estimated.

    Statistics come from training images, the loss from held-out ones; the same images serve every call, 64 to 512 of
    each, fewer the more ``macs`` a network has and the more ``times`` it will be asked. The graph is changed.
    """
    count = int(min(_MOST, max(_FEWEST, _WORK_MACS / (2 * max(1, macs) * max(1, times)))))
    repairing = train.sample(count, seed=seed).batches(_BATCH, even=True)
    judging = held_out.sample(count, seed=seed).batches(_BATCH)

    def loss_of(graph: fx.GraphModule) -> float:
        reestimate_batch_norm_(graph, (images for images, _ in repairing))
        total, images_seen = 0.0, 0
        with evaluating(graph), torch.inference_mode():
            for images, labels in judging:
                total += float(F.cross_entropy(graph(images).double(), labels, reduction="sum"))
                images_seen += len(labels)
        return total / images_seen

    return loss_of
