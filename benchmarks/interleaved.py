"""Latency ratios of untrained networks to their base, timed by the workers' own harness and kept, so that a benchmark
that was interrupted goes on where it was."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, fx, nn

from layerprune.api.tasks import Condition, MeasuredGroup
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import Scores, score_all
from layerprune.export import export_onnx
from layerprune.samples import decode
from layerprune.stats import RatioEstimate, ratio
from layerprune.structure.layers import Layer
from workers.harness.host import Host
from workers.tasks.timing import BASE, CONTROL, MAX_SESSIONS, Budget, Timer, split_evenly

Make = Callable[[], nn.Module]


@dataclass(frozen=True)
class Place:
    """What is held fixed: the base, by name, its input and the number of threads."""

    network: str
    size: int
    threads: int


class Ledger:
    """Ratios that were measured, one JSON line each; an architecture is timed once for each purpose."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, RatioEstimate] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self._known[entry["key"]] = RatioEstimate(**entry["ratio"])

    def ratios(
        self, place: Place, base: Make, networks: Mapping[str, Make], *, purpose: str, budget: Budget
    ) -> dict[str, RatioEstimate]:
        """The ratio of each network (architecture -> how to make it) to the base; times those that are missing.

        Networks are written group by group, because a hundred of them may not fit a disk.
        """
        keys = {name: f"{place.network}@{place.size} {place.threads} {purpose} {name}" for name in networks}
        missing = [name for name, key in keys.items() if key not in self._known]
        for number, names in enumerate(split_evenly(missing, MAX_SESSIONS - 2) if missing else []):
            with tempfile.TemporaryDirectory() as folder:
                found = _time(place, base, {name: networks[name] for name in names}, budget, number, Path(folder))
            with self._path.open("a") as lines:
                for name, estimate in found.items():
                    self._known[keys[name]] = estimate
                    lines.write(json.dumps({"key": keys[name], "ratio": asdict(estimate)}) + "\n")
        return {name: self._known[key] for name, key in keys.items()}


def _time(
    place: Place, base: Make, networks: Mapping[str, Make], budget: Budget, seed: int, folder: Path
) -> dict[str, RatioEstimate]:
    example = torch.zeros(1, 3, place.size, place.size)
    files = {}
    for name, make in {BASE: base, **networks}.items():
        files[name] = folder / f"{name[:16]}.onnx"
        export_onnx(make().eval(), example, files[name])
    timer = Timer(
        condition=Condition(threads=place.threads),
        shape=example.shape[1:],
        budget=budget,
        seed=seed,
        folder=folder,
        report=lambda _: None,
        checkpoint=lambda: None,
    )
    (group,) = timer.run(files[BASE], {name: files[name] for name in networks}).groups
    return _estimates(group, folder, seed)


def _estimates(group: MeasuredGroup, folder: Path, seed: int) -> dict[str, RatioEstimate]:
    samples = {one.session: decode((folder / one.samples).read_bytes()) for one in group.sessions}
    return {
        name: ratio(found, samples[BASE], seed=seed) for name, found in samples.items() if name not in (BASE, CONTROL)
    }


def weight_scores(graph: fx.GraphModule, layers: list[Layer], example: Tensor) -> Scores:
    """Scores by weight_l1, which needs no images: untrained networks have nothing to say about any."""
    labels = torch.zeros(len(example), dtype=torch.int64)
    return score_all(["weight_l1"], ScoringContext(graph, layers, [(example, labels)], classes=10, seed=0))


def machine() -> str:
    """The conditions in a line."""
    host = Host()
    return (
        f"{host.cpu_model()}, {host.cpu_count()} processors, {host.operating_system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, batch 1"
    )
