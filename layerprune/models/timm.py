"""Every network of the installed timm, with random weights; nothing is downloaded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from layerprune.api.catalogue import ModelInfo
from layerprune.api.network import Preprocess

if TYPE_CHECKING:
    from torch import nn

    from . import Args


def list_models() -> list[ModelInfo]:
    """The architectures of timm that take square images; empty where timm is not installed."""
    try:
        import timm
    except ModuleNotFoundError:
        return []
    found = []
    for name in timm.list_models():
        _, height, width = _configuration(name).input_size
        if height == width:
            info = ModelInfo(name=f"timm:{name}", source="timm", description=f"{name} of timm", input_size=height)
            found.append(info)
    return found


def build(name: str, *, classes: int, args: Args) -> nn.Module:
    """Make the network; arguments go to ``timm.create_model`` as they are (``img_size``, ``in_chans``, ...)."""
    import timm

    settings: dict[str, Any] = dict(args)
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **settings)
    return model


def preprocess(name: str, args: Args) -> Preprocess | None:
    """What timm's own evaluation does to an image for this network: see ``timm.data.transforms_imagenet_eval``.

    The shorter edge becomes floor(size / crop_pct) and the centre is cut out, or both edges become the size ("squash").
    None for the few networks whose images are padded ("border").
    """
    stated = _configuration(name)
    if stated.crop_mode == "border":
        return None
    size = int(args.get("img_size", stated.input_size[1]))
    grey = args.get("in_chans") == 1
    mean, std = list(stated.mean), list(stated.std)
    channels: Literal[1, 3] = 1 if grey else 3
    return Preprocess(
        size=size,
        resize=None if stated.crop_mode == "squash" else math.floor(size / stated.crop_pct),
        channels=channels,
        interpolation=stated.interpolation,
        # A grey image is one channel of the mean colour.
        mean=[sum(mean) / len(mean)] if grey else mean,
        std=[sum(std) / len(std)] if grey else std,
    )


def has_fixed_size(name: str) -> bool:
    return bool(_configuration(name).fixed_input_size)


def _configuration(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name, allow_unregistered=True)
