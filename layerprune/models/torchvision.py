"""Every image classifier that the installed torchvision lists, with random weights."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from layerprune.api.catalogue import ModelInfo
from layerprune.api.network import Preprocess

if TYPE_CHECKING:
    from torch import nn

    from . import Args

_FIXED = "vit_"
"""Their position embedding is as long as the image is large; all others take any size."""


def list_models() -> list[ModelInfo]:
    """The classifiers of ``torchvision.models``; empty where torchvision is not installed."""
    try:
        from torchvision import models
    except ModuleNotFoundError:
        return []
    found = []
    for name in models.list_models(module=models):
        stated = preprocess(name, {})
        found.append(
            ModelInfo(
                name=f"torchvision:{name}",
                source="torchvision",
                description=f"{name} of torchvision.models",
                input_size=stated.size if stated else 224,
            )
        )
    return found


def build(name: str, *, classes: int, args: Args) -> nn.Module:
    """Make the classifier ``name``; arguments go to torchvision's builder as they are."""
    from torchvision import models

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
        model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **args)
    if getattr(model, "aux_logits", False):
        # They only answer in training, where a classifier of several outputs is what nothing here can train or prune.
        setattr(model, "aux_logits", False)  # noqa: B010
        for branch in ("AuxLogits", "aux1", "aux2"):
            if hasattr(model, branch):
                setattr(model, branch, None)
    return model


def preprocess(name: str, args: Args) -> Preprocess | None:
    """The transforms of torchvision's default weights; ``image_size`` changes the size as it does the network's."""
    from torchvision import models

    transforms = models.get_model_weights(name).DEFAULT.transforms()
    size, resize = transforms.crop_size[0], transforms.resize_size[0]
    if (wanted := args.get("image_size")) is not None:
        size, resize = int(wanted), round(int(wanted) * resize / size)
    return Preprocess(
        size=size,
        resize=max(size, resize),
        interpolation=transforms.interpolation.value,
        mean=list(transforms.mean),
        std=list(transforms.std),
    )


def has_fixed_size(name: str) -> bool:
    return name.startswith(_FIXED)
