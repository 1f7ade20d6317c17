"""Networks for small images (32 pixels): residual networks, and CIFAR forms of networks that are small by design.

ResNet-20 to -110 after He et al., "Deep Residual Learning" (2016), section 4.2: three stages of n basic blocks at 16,
32 and 64 channels, 6 n + 2 weighted layers. The others are torchvision's, without the early strides that would leave
nothing of a small image: see cifar_rivals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerprune.api.catalogue import ModelInfo

if TYPE_CHECKING:
    from torch import nn

    from layerprune.api.network import Preprocess

    from . import Args

DEPTHS = (20, 32, 44, 56, 110)
RIVALS = {
    "resnet18": "ResNet-18 with a 3x3 stem and no early pooling",
    "mobilenet_v2": "MobileNetV2 with strides of 1 in the stem and at 24 channels",
    "shufflenet_v2": "ShuffleNetV2 with a stem of stride 1 and no early pooling",
    "mnasnet": "MNASNet-B1 with strides of 1 in the stem and at 24 channels",
}


def list_models() -> list[ModelInfo]:
    """ResNet-20 to ResNet-110, and the CIFAR forms of small networks."""
    described = {
        f"resnet{depth}": f"ResNet-{depth} for small images: 3 stages of {(depth - 2) // 6} blocks, 16 to 64 channels"
        for depth in DEPTHS
    }
    described |= RIVALS
    return [
        ModelInfo(name=f"cifar:{name}", source="cifar", description=description, input_size=32)
        for name, description in described.items()
    ]


def build(name: str, *, classes: int, args: Args) -> nn.Module:
    """Make the network; all take ``in_channels`` (3).

    Besides, ``resnet20`` to ``resnet110`` take the ``width`` of their first stage (16), the others what torchvision's
    class takes, such as ``width_mult`` (mobilenet_v2), ``alpha`` (mnasnet), and ``width`` (shufflenet_v2: 0.5 to 2).
    """
    if name in RIVALS:
        from . import cifar_rivals

        return cifar_rivals.build(name, classes=classes, **args)
    from .cifar_resnet import CifarResNet

    return CifarResNet((int(name.removeprefix("resnet")) - 2) // 6, classes=classes, **args)  # type: ignore[arg-type]


def preprocess(name: str, args: Args) -> Preprocess | None:  # noqa: ARG001
    """The data set decides."""
    return None


def has_fixed_size(name: str) -> bool:  # noqa: ARG001
    return False
