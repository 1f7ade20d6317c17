"""One update of a network's weights from one batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerprune.evaluate import device_of

from .recipe import Recipe

_MOMENTUM = 0.9
_TEMPERATURE = 2.0


class Step:
    """Forward, loss, backward and update; holds the optimizer and, for float16, the gradient scaler.

    `forward` is what runs in the forward pass if it is not the network itself (a wrapper for several GPUs).
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, *, teacher: nn.Module | None = None, forward: nn.Module | None = None
    ) -> None:
        self._recipe = recipe
        self._forward = forward or model
        self._teacher = teacher if recipe.distillation > 0 else None
        if self._teacher is not None:
            self._teacher.eval()
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(self._parameters, recipe)
        self.scaler = torch.amp.GradScaler(device_of(model).type, enabled=recipe.precision.dtype == "float16")

    def __call__(self, images: Tensor, labels: Tensor, *, learning_rate: float, share: float = 1.0) -> Tensor:
        """Update the weights and return the loss (NaN if the gradient overflowed); it may still be computing.

        `share` multiplies the gradient: a process with more than its equal part of a batch counts more.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self.loss(self._recipe.precision.place(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss * share if share != 1.0 else loss).backward()  # type: ignore[no-untyped-call]
        if self._recipe.clip is not None:
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip)
            if not self.scaler.is_enabled():
                # Clipped to an infinite norm, the gradient is zero: the training would stand still and look sound. (The
                # scaler of float16 lets the gradient overflow now and then, on purpose, and skips that step.)
                loss = loss.where(norm.isfinite(), torch.nan)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy with smoothed labels, mixed with the distance to the teacher's softened answers.

        Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 2, at temperature 2.
        """
        with self._recipe.precision.autocast():
            outputs = self._forward(images)
        outputs = outputs.float()
        hard = F.cross_entropy(outputs, labels, label_smoothing=self._recipe.label_smoothing)
        if self._teacher is None:
            return hard
        with torch.no_grad(), self._recipe.precision.autocast():
            answers = self._teacher(images)
        targets = F.log_softmax(answers.float() / _TEMPERATURE, 1)
        soft = F.kl_div(F.log_softmax(outputs / _TEMPERATURE, 1), targets, reduction="batchmean", log_target=True)
        return (1 - self._recipe.distillation) * hard + self._recipe.distillation * _TEMPERATURE**2 * soft


def _optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Decay the matrices and kernels only: decay on norms and biases would shrink what they are there to set."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0)
    return torch.optim.SGD(groups, lr=0.0, momentum=_MOMENTUM, nesterov=True)
