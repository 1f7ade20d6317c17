"""What can be asked for: models, data sets, criteria and backends, as workers publish it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .wire import Wire

Role = Literal["build", "measure"]


class ModelInfo(Wire):
    """A network that a build worker can make by name."""

    name: str = Field(description="SOURCE:NAME, such as cifar:resnet20")
    source: str
    description: str
    input_size: int = Field(description="default height and width of the input, in pixels")


class DatasetInfo(Wire):
    """A data set that a build worker has."""

    name: str
    description: str
    classes: int
    train_images: int
    test_images: int


class CriterionInfo(Wire):
    """A way to say how important a layer (and, where it has that form, a filter) is."""

    name: str
    description: str
    source: str = Field(description="paper and equation")
    needs_data: bool
    has_filter_form: bool
    is_control: bool = False
    needs_gradients: bool = False
    needs_batch_norm: bool = False
    costs_add_up: bool = Field(
        default=False,
        description="removing filters costs the sum of their scores, in whichever layers they are, and removing a layer"
        " the sum over its filters: what budgets over layers and channels together are made of",
    )


class BackendInfo(Wire):
    """A runtime that a measuring worker can time."""

    name: str
    version: str
    precisions: list[str]
    max_opset: int = Field(description="networks are exported for the lowest one among a job's devices, at most 17")
    max_threads: int
    threads_limited_by: str = Field(default="", description="where that limit comes from")
    settings: list[str] | None = Field(
        default=None, description="settings that a job may give it; None if the worker did not say"
    )


class Catalogue(Wire):
    """Everything one worker offers."""

    models: list[ModelInfo] = []
    datasets: list[DatasetInfo] = []
    criteria: list[CriterionInfo] = []
    backends: list[BackendInfo] = []
    data_roots: list[str] = Field(
        default=[], description="folders below which a job may name data by path; absolute, resolved"
    )
    imports_onnx: bool = Field(default=False, description="whether an uploaded ONNX file can be made trainable here")
