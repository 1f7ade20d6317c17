"""Every image classifier that the installed torchvision lists, with random weights."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from layerprune.api.catalogue import ModelInfo

if TYPE_CHECKING:
    from torch import nn

    from . import Args


def list_models() -> list[ModelInfo]:
    """The classifiers of ``torchvision.models``; empty where torchvision is not installed."""
    try:
        from torchvision import models
    except ModuleNotFoundError:
        return []
    return [
        ModelInfo(
            name=f"torchvision:{name}",
            source="torchvision",
            description=f"{name} of torchvision.models",
            input_size=224,
        )
        for name in models.list_models(module=models)
    ]


def build(name: str, *, classes: int, args: Args) -> nn.Module:
    """Make the classifier ``name``; arguments go to torchvision's builder as they are."""
    from torchvision import models

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
        model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **args)
    return model
