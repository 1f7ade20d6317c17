"""Small networks by hand in their forms for 32-pixel images, made of torchvision's classes.

MobileNetV2 (Sandler et al. 2018), ShuffleNetV2 (Ma et al. 2018), MNASNet (Tan et al. 2019), ResNet-18 (He et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision.models import MNASNet, MobileNetV2, ShuffleNetV2, resnet18

_SHUFFLE_WIDTHS = {
    0.5: [24, 48, 96, 192, 1024],
    1.0: [24, 116, 232, 464, 1024],
    1.5: [24, 176, 352, 704, 1024],
    2.0: [24, 244, 488, 976, 2048],
}


def build(name: str, *, classes: int, in_channels: Any = 3, **args: Any) -> nn.Module:
    """Make the network ``name`` of the table; raises ValueError or TypeError for arguments that it does not take."""
    if not isinstance(in_channels, int) or in_channels < 1:
        raise ValueError(f"in_channels must be a positive integer, not {in_channels!r}")
    model = _TABLE[name](classes, **args)
    if in_channels != 3:
        _take_channels_(model, in_channels)
    return model


def _resnet18(classes: int, **args: Any) -> nn.Module:
    model: nn.Module = resnet18(weights=None, num_classes=classes, **args)
    stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1, model.maxpool = stem, nn.Identity()
    return model


def _mobilenet_v2(classes: int, **args: Any) -> nn.Module:
    # Expansion, channels, repeats and stride of each stage: Table 2 of the paper but for the first stride of 2.
    stages = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]
    model: nn.Module = MobileNetV2(num_classes=classes, inverted_residual_setting=stages, **args)
    _unstride_(model.get_submodule("features.0"))
    return model


def _shufflenet_v2(classes: int, *, width: Any = 1.0, **args: Any) -> nn.Module:
    if width not in _SHUFFLE_WIDTHS:
        raise ValueError(f"width must be one of {', '.join(map(str, _SHUFFLE_WIDTHS))}, not {width!r}")
    model: nn.Module = ShuffleNetV2([4, 8, 4], _SHUFFLE_WIDTHS[width], num_classes=classes, **args)
    _unstride_(model.get_submodule("conv1"))
    model.maxpool = nn.Identity()
    return model


def _mnasnet(classes: int, *, alpha: Any = 1.0, **args: Any) -> nn.Module:
    model: nn.Module = MNASNet(alpha, num_classes=classes, **args)
    _unstride_(model.get_submodule("layers.0"))
    _unstride_(model.get_submodule("layers.8"))
    return model


_TABLE: dict[str, Callable[..., nn.Module]] = {
    "resnet18": _resnet18,
    "mobilenet_v2": _mobilenet_v2,
    "shufflenet_v2": _shufflenet_v2,
    "mnasnet": _mnasnet,
}


def _unstride_(part: nn.Module) -> None:
    """Let every convolution of a part of the network keep the size of its input."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def _take_channels_(model: nn.Module, channels: int) -> None:
    """Give the first convolution another number of input channels, drawn as before."""
    name, first = next((name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d))
    stem = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=False,
    )
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule(name, stem)
