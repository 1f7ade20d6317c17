"""Accuracy as counts, with one outcome per image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from layerprune.api.errors import BadInput
from layerprune.api.wire import Proportion
from layerprune.structure.trace import evaluating

_BATCH = 256


def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Proportion, NDArray[np.bool_]]:
    """Count the images (float N x C x H x W) whose largest logit is the label; also say which, in stored order.

    The model runs in eval mode without gradients and is left in the mode it was in. Raises BadInput with the code
    "diverged" if a logit is not finite, because the index of the largest NaN means nothing.
    """
    outputs = logits(model, images)
    if not bool(torch.isfinite(outputs).all()):
        raise BadInput(
            "the network's outputs are not finite",
            code="diverged",
            remedy="Look for NaN or infinity in the weights; train with a lower learning rate.",
        )
    outcomes = (outputs.argmax(1) == labels).numpy()
    return Proportion(correct=int(outcomes.sum()), n=len(outcomes)), outcomes


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the model's outputs (N x classes) in eval mode, batch by batch; the model's mode is restored."""
    with evaluating(model), torch.inference_mode():
        return torch.cat([model(batch) for batch in torch.split(images, _BATCH)])
