"""What ONNX files take as input, before any runtime is asked: batch, shape, and why some cannot be timed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..api.errors import BadInput

if TYPE_CHECKING:
    from workers.harness.onnx_graph import Graph

    Dims = tuple[int | None, ...]

ONE_INPUT = "Export the network with one float32 image input."


def read_network(path: Path) -> Graph:
    """Read an ONNX file's graph; raises BadInput if it is none, or if its weights lie in other files."""
    from workers.harness.errors import HarnessError
    from workers.harness.onnx_graph import read_graph

    if not path.is_file():
        _refuse(path, "there is no such file", remedy="Check the path.")
    try:
        graph = read_graph(path.read_bytes())
    except HarnessError as error:
        raise BadInput(f"{path}: {error.message}", field="file", value=str(path), remedy=error.remedy) from error
    if outside := graph.outside():
        _refuse(
            path,
            f"the weights of {len(outside)} tensors lie in other files "
            f"({outside[0].name!r} in {outside[0].location!r})",
            remedy="Save it as one file: onnx.save(onnx.load(PATH), NEW, save_as_external_data=False).",
        )
    return graph


def common_input(files: Sequence[Path], *, batch: int | None, shape: str | None) -> tuple[int, tuple[int, ...]]:
    """Return the batch and the shape of one image that all files take; raises BadInput naming one that does not."""
    wanted = None if shape is None else read_shape(shape)
    first: tuple[int, tuple[int, ...]] | None = None
    for path in dict.fromkeys(files):
        found = input_of(path, read_network(path), batch=batch, shape=wanted)
        if first is not None and found != first:
            _refuse(
                path,
                f"it takes a batch of {found[0]} of {text_of(found[1])}, "
                f"{files[0]} takes {first[0]} of {text_of(first[1])}",
                remedy="Compare networks that take the same input.",
            )
        first = first or found
    assert first is not None
    return first


def input_of(
    path: Path, graph: Graph, *, batch: int | None, shape: tuple[int, ...] | None
) -> tuple[int, tuple[int, ...]]:
    """Return the batch and the shape of one image; what the file leaves open comes from `batch` and `shape`."""
    from workers.harness.onnx_graph import FLOAT

    if len(graph.inputs) != 1:
        names = ", ".join(value.name for value in graph.inputs[:5]) or "none"
        _refuse(path, f"it has {len(graph.inputs)} inputs ({names}), and one is what can be timed", remedy=ONE_INPUT)
    source = graph.inputs[0]
    if source.element_type != FLOAT:
        _refuse(path, f"its input {source.name!r} is not float32", remedy=ONE_INPUT)
    if len(source.dims) < 2:
        _refuse(
            path,
            f"its input {source.name!r} has {len(source.dims)} dimensions, and a batch of something has two at least",
            remedy=ONE_INPUT,
        )
    if batch is not None and source.dims[0] not in (None, batch):
        _refuse(
            path,
            f"its batch is fixed at {source.dims[0]}, and --batch says {batch}",
            remedy=f"Give --batch {source.dims[0]}, or export it with an open batch.",
        )
    return batch or source.dims[0] or 1, _closed(path, source.dims[1:], shape)


def read_shape(text: str) -> tuple[int, ...]:
    """Read a shape such as 3x224x224; raises BadInput."""
    if not re.fullmatch(r"[1-9]\d{0,5}(?:[x,][1-9]\d{0,5}){0,7}", text):
        raise BadInput(
            f"{text!r} is no shape of an image",
            field="shape",
            value=text,
            remedy="Give sizes without the batch, such as --shape 3x224x224 (channels, height, width).",
        )
    return tuple(int(size) for size in re.split("[x,]", text))


def text_of(dims: Dims) -> str:
    """Write a shape as it is typed, `?` where it is open."""
    return "x".join("?" if size is None else str(size) for size in dims)


def _closed(path: Path, dims: Dims, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        if None in dims:
            _refuse(
                path,
                f"its input leaves sizes open: {text_of(dims)}",
                remedy=f"Give them with --shape, such as --shape {text_of(tuple(size or 224 for size in dims))}.",
            )
        return tuple(size for size in dims if size is not None)
    if len(shape) != len(dims) or any(size not in (None, given) for size, given in zip(dims, shape, strict=True)):
        _refuse(
            path,
            f"it takes {text_of(dims)}, and --shape says {text_of(shape)}",
            remedy="Give a shape that fits, without the batch.",
        )
    return shape


def _refuse(path: Path, why: str, *, remedy: str) -> NoReturn:
    raise BadInput(f"{path}: {why}", field="file", value=str(path), remedy=remedy)


def check_backend(name: str) -> None:
    """Refuse a runtime that nobody knows."""
    from workers.harness.backends import BACKENDS

    from ..api.errors import UnknownName

    if name not in BACKENDS:
        raise UnknownName("backend", name, BACKENDS, field="backend")


def read_settings(texts: Sequence[str], backends: Sequence[str]) -> dict[str, bool | int | str]:
    """Read NAME=VALUE settings of the one backend; raises BadInput."""
    if texts and len(backends) > 1:
        raise BadInput(
            f"settings belong to one backend, and {len(backends)} are asked for",
            field="setting",
            value=list(texts),
            remedy="Measure with settings on one --backend at a time.",
        )
    settings: dict[str, bool | int | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise BadInput(
                f"{text!r} is not NAME=VALUE", field="setting", value=text, remedy="Such as --setting cuda_graph=true."
            )
        settings[name] = _value(value)
    return settings


def _value(text: str) -> bool | int | str:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
