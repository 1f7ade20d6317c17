"""The network to prune, and the networks to compare it with."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .wire import Digest, Wire


class Preprocess(Wire):
    """How an image becomes the network's input; stored with every variant and applied outside the timed region.

    The image is resized, then its centre of `size` x `size` is cut out, as torchvision's Resize and CenterCrop do.
    """

    size: Annotated[int, Field(ge=8, le=1024)]
    resize: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        default=None,
        description="the shorter edge is brought to this before the crop; without it both edges are brought to `size`",
    )
    channels: Literal[1, 3] = 3
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    classes: list[str] = Field(default=[], description="class names in the order of the network's outputs")
    layout: Literal["NCHW"] = "NCHW"

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocess:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) is smaller than size ({self.size}), which is cut out of it")
        return self


class ModelSpec(Wire):
    """The network to prune: by name, with random weights or with uploaded ones, or as an uploaded ONNX file."""

    name: str = Field(
        default="", description="SOURCE:NAME, or the name of a plug-in", examples=["cifar:resnet20", "timm:resnet50"]
    )
    onnx: Digest | None = Field(default=None, description="an uploaded single-file ONNX classifier, instead of a name")
    weights: Digest | None = Field(
        default=None, description="uploaded safetensors for the named network; without them the job trains a baseline"
    )
    args: dict[str, int | float | str | bool] = {}
    preprocess: Preprocess | None = Field(
        default=None, description="default: what the network's source states, else what the data set suggests"
    )
    expected_accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="stop before scoring if the base is more than 0.5 point away from this",
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if bool(self.name) == (self.onnx is not None):
            raise ValueError("give either name or onnx")
        if self.onnx is not None and (self.weights is not None or self.args):
            raise ValueError("an ONNX file has its weights inside and takes no args")
        return self

    @property
    def label(self) -> str:
        """How the network is called in lists."""
        return self.name or f"onnx:{(self.onnx or '')[:12]}"


class RivalSpec(Wire):
    """A network that is small by design: trained on the same data with the same budget, and measured with the rest."""

    name: str = Field(examples=["torchvision:mobilenet_v2", "cifar:mobilenet_v2"])
    weights: Digest | None = Field(default=None, description="uploaded safetensors to start from")
    args: dict[str, int | float | str | bool] = {}


def rival_hash(rival: RivalSpec) -> str:
    """SHA-256 over a rival's canonical JSON: what its trainings go by, as others go by their plan's hash."""
    content = json.dumps(rival.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()
