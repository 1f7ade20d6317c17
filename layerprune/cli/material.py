"""What the commands that work without a server are given: a network, and images for it."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..api.errors import BadInput
from .given import Given

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from ..api.dataset import DatasetSpec
    from ..api.network import ModelSpec, Preprocess
    from ..data.material import Material
    from ..inspection.limits import OnnxReport
    from ..structure.plan import Plan

_IMAGENET_CLASSES, _FEW_CLASSES = 1000, 10


@contextmanager
def opened(given: Given, plan: Path | None = None) -> Iterator[Work]:
    """Give the network, the images and the plan; files that this takes are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="layerprune-") as folder:
        (Path(folder) / "inputs").mkdir()
        work = Work(given, Path(folder), _read_plan(plan) if plan is not None else None)
        with _data_roots([*work.roots, *([given.data_root] if given.data_root else [])]):
            yield work


class Work:
    """A network and its images, each made when it is first asked for, as a worker makes them for a job.

    With a plan, the weights may be those of the whole network or those of the pruned one.
    """

    def __init__(self, given: Given, folder: Path, plan: Plan | None) -> None:
        self.given, self.folder, self.plan = given, folder, plan
        self.notes: list[str] = []
        self.roots: list[Path] = []
        self._state_after_plan: dict[str, Tensor] | None = None
        if given.data is not None and given.size is not None:
            raise BadInput(
                f"--size {given.size} and --data contradict each other: the data decide how large an image is",
                field="size",
                value=given.size,
                remedy="Leave out --size, or give the size with mean and std in a file: --preprocess FILE.",
            )
        self.spec = self._model_spec()
        self.dataset = self._dataset_spec(given.data) if given.data is not None else None

    @property
    def is_trained(self) -> bool:
        """Whether the network came with its weights: all of them, before anything was pruned."""
        whole = self.model is not None and self._state_after_plan is None
        return whole and (self.spec.onnx is not None or self.spec.weights is not None)

    @cached_property
    def material(self) -> Material | None:
        """The images as the network sees them; None without --data."""
        from workers.tasks.base import material_of

        if self.dataset is None:
            return None
        found = material_of(self.spec, self.dataset, folder=self.folder)
        classes = len(found.dataset.classes)
        if self.given.classes not in (None, classes):
            raise BadInput(
                f"--classes {self.given.classes} contradicts the data, which have {classes} classes",
                field="classes",
                value=self.given.classes,
                remedy="Leave out --classes: the data decide.",
            )
        return found

    def images(self, purpose: str) -> Material:
        """The images; raises BadInput if none were given."""
        if self.material is None:
            raise BadInput(
                f"{purpose} needs images, and none were given",
                field="data",
                remedy="Give --data: digits, cifar10, a folder with one folder of images per class, ...",
            )
        return self.material

    @cached_property
    def example(self) -> Tensor:
        """Two inputs: real images if there are any, else random numbers."""
        import torch

        if self.material is not None:
            return self.material.example
        generator = torch.Generator().manual_seed(0)
        return torch.randn(2, *self._shape, generator=generator)

    @cached_property
    def model(self) -> nn.Module:
        """The network before pruning, in eval mode."""
        from .. import models
        from ..models.onnx_import import load
        from ..models.weights import classes_of, load_state_, read_safetensors

        spec, state = self.spec, None
        if spec.weights is not None:
            state = read_safetensors(self.folder / "inputs" / spec.weights)
        if self.material is not None:
            from workers.tasks.base import make_model

            bare = spec.model_copy(update={"weights": None})
            model, notes = make_model(bare, self.material, seed=0, folder=self.folder)
            self.notes += notes
        elif spec.onnx is not None:
            imported = load(self.folder / "inputs" / spec.onnx, size=self._shape[1])
            model = imported.model
            self.notes += imported.notes
        else:
            classes = self.given.classes
            if classes is None and state is not None:
                classes = classes_of(models.build(spec.name, classes=2, args=spec.args), state)
            model = models.build(spec.name, classes=classes or self._usual_classes, args=spec.args)
        if state is not None:
            if self.plan is not None and _shapes(state) != _shapes(model.state_dict()):
                self._state_after_plan = state  # `pruned` loads them into what the plan leaves
            else:
                load_state_(model, state)
        return model.eval()

    @cached_property
    def graph(self) -> fx.GraphModule:
        """The traced network; it shares its modules with `model`."""
        from ..structure.trace import trace

        return trace(self.model, self.example)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network before pruning, for one image."""
        return sum(int(node.meta["macs"]) for node in self.graph.graph.nodes)

    @property
    def classes(self) -> int:
        """How many outputs the network has."""
        with_output = next(node for node in self.graph.graph.nodes if node.op == "output").all_input_nodes[0]
        return int(with_output.meta["tensor_meta"].shape[-1])

    def pruned(self) -> fx.GraphModule:
        """A copy of the network with the plan applied, if there is one; in eval mode."""
        from ..models.weights import load_state_
        from ..structure.surgery import apply_plan_
        from ..structure.trace import trace

        graph = trace(copy.deepcopy(self.model), self.example)
        if self.plan is None:
            return graph
        try:
            apply_plan_(graph, self.plan, self.example)
        except BadInput as error:
            shape = "x".join(map(str, self.example.shape[1:]))
            error.remedy += (
                f" Here {self.given.model} has {self.classes} classes and images of {shape}:"
                " see --data, --size, --classes and --args."
            )
            raise
        if self._state_after_plan is not None:
            load_state_(graph, self._state_after_plan)
        return graph.eval()

    @cached_property
    def onnx_report(self) -> OnnxReport | None:
        """What an ONNX file says about itself; None for a named network."""
        from ..inspection.onnx_file import inspect_onnx

        if self.spec.onnx is None:
            return None
        return inspect_onnx((self.folder / "inputs" / self.spec.onnx).read_bytes())

    @cached_property
    def _stated(self) -> Preprocess | None:
        from .. import models

        return self.spec.preprocess or models.preprocess_of(self.spec.name, self.spec.args)

    @property
    def _usual_classes(self) -> int:
        """Networks whose source says how ImageNet is prepared for them have its classes."""
        return (len(self._stated.classes) or _IMAGENET_CLASSES) if self._stated is not None else _FEW_CLASSES

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        from .. import models
        from ..models.onnx_import import image_of

        asked = self.given.size or (self.spec.preprocess.size if self.spec.preprocess is not None else None)
        if self.onnx_report is not None:
            image = image_of(self.onnx_report, asked)
            return image.channels, image.size, image.size
        channels = 1 if 1 in (self.spec.args.get("in_channels"), self.spec.args.get("in_chans")) else 3
        if self._stated is not None:
            size = asked or self._stated.size
            return self._stated.channels if self.spec.preprocess is not None else channels, size, size
        known = next((info for info in models.list_models() if info.name == self.spec.name), None)
        size = asked or (known.input_size if known is not None else 32)
        return channels, size, size

    def _model_spec(self) -> ModelSpec:
        from ..api.network import ModelSpec
        from .requests import compact, parsed, read_argument, read_json

        given = self.given
        values: dict[str, Any] = {
            "args": dict(read_argument(text) for text in given.args),
            "weights": self._taken(given.weights) if given.weights is not None else None,
            "preprocess": read_json(given.preprocess, "the preprocessing") if given.preprocess is not None else None,
        }
        path = Path(given.model)
        if path.suffix == ".onnx" or path.is_file():
            if not path.is_file():
                raise BadInput(
                    f"there is no file {given.model}", field="model", value=given.model, remedy="Check the path."
                )
            values["onnx"] = self._taken(path)
        else:
            values["name"] = given.model
        return parsed(ModelSpec, compact(values))

    def _dataset_spec(self, data: str) -> DatasetSpec:
        from ..api.dataset import DatasetSpec

        path = Path(data)
        if data in _public_sets() or not (path.exists() or path.suffix or len(path.parts) > 1):
            return DatasetSpec(name=data)
        if not path.exists():
            raise BadInput(
                f"there is no file or folder {data}",
                field="data",
                value=data,
                remedy=f"Check the path, or name a set: {', '.join(_public_sets())}.",
            )
        if path.suffix == ".zip":
            return DatasetSpec(name=path.stem, upload=self._taken(path))
        self.roots.append(path.resolve().parent)
        return DatasetSpec(name=path.resolve().name, path=str(path.resolve()))

    def _taken(self, path: Path) -> str:
        """Lay a file where a worker finds what was uploaded for a job."""
        from ..api.client import digest_of

        digest = digest_of(path)
        place = self.folder / "inputs" / digest
        if not place.is_symlink():
            place.symlink_to(path.resolve())
        return digest


def _public_sets() -> list[str]:
    from ..data import known_names

    return known_names()


@contextmanager
def _data_roots(folders: Sequence[Path]) -> Iterator[None]:
    """Let the library open images in these folders too, which the user has named, for a while."""
    from ..roots import ROOTS

    before = os.environ.get(ROOTS)
    os.environ[ROOTS] = os.pathsep.join([*filter(None, [before]), *(str(folder.resolve()) for folder in folders)])
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROOTS]
        else:
            os.environ[ROOTS] = before


def _read_plan(path: Path) -> Plan:
    from ..structure.plan import Plan
    from .requests import read_json

    return Plan.from_dict(read_json(path, "a plan"))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Sequence[int]]:
    return {name: tensor.shape for name, tensor in state.items()}
