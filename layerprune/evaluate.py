"""Accuracy as counts, with one outcome per image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from layerprune.api.errors import BadInput
from layerprune.api.wire import Proportion
from layerprune.data.feed import Feed
from layerprune.structure.trace import evaluating

_BATCH = 256


def evaluate(model: nn.Module, feed: Feed) -> tuple[Proportion, NDArray[np.bool_]]:
    """Count the images whose largest logit is the label; also say which, in stored order.

    The model runs in eval mode without gradients and is left in the mode it was in. Raises BadInput with the code
    "diverged" if a logit is not finite, because the index of the largest NaN means nothing.
    """
    answers = []
    with evaluating(model), torch.inference_mode():
        for images, labels in feed.batches(_BATCH, device=device_of(model)):
            outputs = model(images)
            if not bool(torch.isfinite(outputs).all()):
                raise BadInput(
                    "the network's outputs are not finite",
                    code="diverged",
                    remedy="Look for NaN or infinity in the weights; train with a lower learning rate.",
                )
            answers.append(outputs.argmax(1) == labels)
    outcomes = torch.cat(answers).cpu().numpy()
    return Proportion(correct=int(outcomes.sum()), n=len(outcomes)), outcomes


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the model's outputs (N x classes, on the CPU) in eval mode, batch by batch; its mode is restored."""
    device = device_of(model)
    with evaluating(model), torch.inference_mode():
        return torch.cat([model(batch.to(device)).cpu() for batch in torch.split(images, _BATCH)])


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's weights; the CPU for a model without any."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
