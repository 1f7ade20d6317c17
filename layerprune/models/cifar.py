"""Residual networks for small images, after He et al., "Deep Residual Learning" (2016), section 4.2.

Three stages of n basic blocks at 16, 32 and 64 channels, 6 n + 2 weighted layers. Where the width changes, the shortcut
is a 1x1 convolution (the paper's option B), so that a channel of the shortcut can be pruned like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerprune.api.catalogue import ModelInfo

if TYPE_CHECKING:
    from torch import nn

    from . import Args

DEPTHS = (20, 32, 44, 56, 110)


def list_models() -> list[ModelInfo]:
    """ResNet-20 to ResNet-110."""
    return [
        ModelInfo(
            name=f"cifar:resnet{depth}",
            source="cifar",
            description=f"ResNet-{depth} for small images: 3 stages of {(depth - 2) // 6} blocks, 16 to 64 channels",
            input_size=32,
        )
        for depth in DEPTHS
    ]


def build(name: str, *, classes: int, args: Args) -> nn.Module:
    """Make ``resnetDEPTH``; arguments: ``in_channels`` (3) and ``width`` of the first stage (16)."""
    from .cifar_resnet import CifarResNet

    return CifarResNet((int(name.removeprefix("resnet")) - 2) // 6, classes=classes, **args)  # type: ignore[arg-type]
