"""Write untrained architectures for the sweeps, in every form that is timed; leave out what TensorRT refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import fx

from layerprune.api.jobs import Progress
from layerprune.api.tasks import Architecture
from layerprune.data.feed import Feed
from layerprune.data.material import Material
from layerprune.export import OPSET, export_onnx
from layerprune.precision import prepare

from .network import Checkpoint, Report
from .parsing import EarlyCheck, Refusal, listed, named

FEW_IMAGES = 8
"""What is only timed or parsed needs no exact ranges of int8, so this many images do."""


def _few(material: Material) -> Feed:
    return material.calibration.subset(torch.arange(min(FEW_IMAGES, len(material.calibration))))


def check_untrained(
    graph: fx.GraphModule, material: Material, folder: Path, check: EarlyCheck, *, opset: int, what: str = "the base"
) -> None:
    """Export an untrained network, and have TensorRT parse and build it in every precision that is measured there.

    Raises ExportFailed, and BadInput with the code `tensorrt_refuses`.
    """
    if not check.forms and opset == OPSET:
        return
    path = folder / "untrained.onnx"
    export_onnx(graph, material.example, path, opset=opset)
    if not check.forms:
        return
    files = {}
    for precision, form in check.forms.items():
        files[precision] = path if form is None else folder / f"untrained.{form}.onnx"
        if form is not None:
            prepare(path, files[precision], form, _few(material))
    check.try_out(files, what=what)


@dataclass(frozen=True)
class Wanted:
    """An architecture, and how its network is made; `label` names a plan that leads to it."""

    architecture: str
    label: str
    params: int
    macs: int
    make: Callable[[], fx.GraphModule]


@dataclass
class ArchitectureWriter:
    """Writes architectures into a task's folder; `refused` holds those that TensorRT does not take, and why."""

    material: Material
    folder: Path
    forms: Sequence[str]
    check: EarlyCheck
    opset: int
    refused: dict[str, list[Refusal]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, wanted: Sequence[Wanted], report: Report, checkpoint: Checkpoint) -> list[Architecture]:
        """Export each with the weights that surgery leaves, have all of them parsed, and return those that pass."""
        written = []
        for number, one in enumerate(wanted):
            checkpoint()
            message = f"{number + 1} of {len(wanted)} architectures"
            report(Progress(phase="exporting", message=message, fraction=number / len(wanted)))
            written.append(self._write(one))
        checkpoint()
        self.refused = self.check.refused(
            {one.architecture: [self.folder / path for path in self._parsed(one)] for one in written}
        )
        by_reason: dict[str, list[str]] = {}
        for one in wanted:
            if one.architecture in self.refused:
                by_reason.setdefault(named(self.refused[one.architecture]), []).append(one.label)
        self.notes += [
            *self.check.notes,
            *(f"left out, because TensorRT does not take it: {listed(who)}: {why}" for why, who in by_reason.items()),
        ]
        return [one for one in written if one.architecture not in self.refused]

    def check_any_left(self, passed: Sequence[Architecture]) -> None:
        """Raise BadInput with the code `tensorrt_refuses` if nothing passed, because of TensorRT."""
        if self.refused and not passed:
            problems = [problem for refused in self.refused.values() for problem in refused]
            raise self.check.refusal("TensorRT takes no pruned network of this job", problems)

    def _write(self, one: Wanted) -> Architecture:
        stem = f"architecture-{one.architecture[:16]}"
        path = self.folder / f"{stem}.onnx"
        export_onnx(one.make(), self.material.example, path, opset=self.opset)
        forms = {form: f"{stem}.{form}.onnx" for form in self.forms}
        for form, name in forms.items():
            prepare(path, self.folder / name, form, _few(self.material))
        return Architecture(
            architecture=one.architecture, onnx=path.name, forms=forms, params=one.params, macs=one.macs
        )

    def _parsed(self, one: Architecture) -> list[str]:
        """The files of those precisions under which a TensorRT device measures."""
        return [one.onnx if form is None else one.forms.get(form, one.onnx) for form in self.check.forms.values()]
