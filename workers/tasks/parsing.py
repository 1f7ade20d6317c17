"""Ask TensorRT whether it takes networks: no GPU is needed to parse, nor for TensorRT for RTX to build.

The parser is native code, so it runs in a process of its own (`workers.harness.parse`); where that dies, the file that
it was at is refused and another process goes on with the rest.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.precision import TensorRTTarget, form_of
from workers.children import clean_environment

STEP_S = 300.0
"""Parsing takes a second and building a large network a few; a step that takes this long has hung."""
REFUSES = "tensorrt_refuses"
REMEDY = "Replace the operator in the network, or leave the TensorRT devices out of measure.devices."
NAMED = 5
"""Refusals that one message names; the others are counted."""


@dataclass(frozen=True)
class Refusal:
    """What TensorRT does not take: an operator at a node, or, both being empty, the network as a whole."""

    message: str
    operator: str = ""
    node: str = ""

    def __str__(self) -> str:
        where = " ".join(filter(None, [self.operator, self.node and f"at {self.node}"]))
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True)
class Build:
    """An engine to try: for which compute capability ("8.6"), which precision, and what the file leaves open."""

    capability: str
    precision: str
    batch: int = 1
    size: int | None = None


@dataclass(frozen=True)
class Built:
    """What trying it came to: an engine, or what TensorRT said; `unable` if it does not know such a GPU at all."""

    build: Build
    seconds: float = 0.0
    engine_bytes: int = 0
    refusal: str | None = None
    unable: str | None = None


@dataclass
class Parsed:
    """What TensorRT made of a file; `layers` are those of the network it read."""

    layers: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    builds: list[Built] = field(default_factory=list)

    @property
    def problems(self) -> list[Refusal]:
        """Everything that it refused, builds included."""
        refused = [b for b in self.builds if b.refusal is not None]
        return [
            *self.refusals,
            *(Refusal(f"compute capability {b.build.capability}, {b.build.precision}: {b.refusal}") for b in refused),
        ]


@dataclass(frozen=True)
class Answer:
    """The library that was asked, with its version, and what it said about each file."""

    library: str
    version: str
    files: Mapping[Path, Parsed]


def ask(files: Mapping[Path, Sequence[Build]], *, library: str | None = None) -> Answer | None:
    """Have a TensorRT parse every file and try its builds; None if none is installed that works without a GPU.

    `library` is `tensorrt` or `tensorrt-rtx`; without it the one is asked that builds for GPUs that are not here.
    """
    found: dict[Path, Parsed] = {}
    name, version = "", ""
    left = list(files)
    while left:
        asked = {path: files[path] for path in left}
        at: Path | None = None
        for event in _events(asked, library):
            if event["event"] == "library":
                if event["name"] is None:
                    return None
                name, version = event["name"], event["version"]
                continue
            at = path = Path(event["file"])
            _take(found.setdefault(path, Parsed()), event, files[path])
            if event["event"] == "end":
                left.remove(path)
                at = None
        if at is not None:
            found[at].refusals.append(Refusal("TensorRT's parser crashed or did not end"))
            left.remove(at)
        elif len(left) == len(asked):
            raise LayerPruneError(
                "the process that asks TensorRT does not start",
                code="crashed",
                remedy="Reinstall the package tensorrt-rtx; `python -m workers.harness.parse` shows what is wrong.",
            )
    return Answer(name, version, found)


def _take(parsed: Parsed, event: Mapping[str, Any], builds: Sequence[Build]) -> None:
    if event["event"] == "parsed":
        parsed.layers = event["layers"]
        parsed.refusals += [Refusal(**refusal) for refusal in event["refusals"]]
    elif event["event"] == "built":
        parsed.builds.append(Built(builds[event["build"]], **event["outcome"]))


def _events(files: Mapping[Path, Sequence[Build]], library: str | None) -> Iterator[dict[str, Any]]:
    """Yield what a fresh process says about the files, until it ends, however it ends."""
    request = {
        "parent": os.getpid(),
        "library": library,
        "files": [{"file": str(path), "builds": [asdict(build) for build in builds]} for path, builds in files.items()],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.harness.parse"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(request).encode())
        unread = b""
        while select.select([process.stdout], [], [], STEP_S)[0]:
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, unread = (unread + chunk).split(b"\n")
            yield from map(json.loads, lines)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class EarlyCheck:
    """Whether the TensorRT devices of a job would take its networks, asked by the worker that builds them.

    `forms` holds, by precision under which such a device measures, the form of the file; None is float32.
    """

    def __init__(self, targets: Sequence[TensorRTTarget]) -> None:
        self._targets = list(targets)
        self._missing = False
        self.forms = {p: form_of(target.backend, p) for target in targets for p in target.precisions}
        self.notes: list[str] = []

    def try_out(self, files: Mapping[str, Path], *, what: str) -> None:
        """Parse a network in each precision (precision -> file), and build it for every GPU that is known.

        Raises BadInput with the code `tensorrt_refuses` and what was refused.
        """
        builds = {
            path: [
                Build(capability, precision)
                for capability in sorted({t.capability for t in self._targets if t.capability is not None})
                if any(t.capability == capability and precision in t.precisions for t in self._targets)
            ]
            for precision, path in files.items()
        }
        answer = self._ask(builds)
        problems = [problem for parsed in answer.files.values() for problem in parsed.problems] if answer else []
        if answer and problems:
            raise self.refusal(f"{_title(answer)} does not take {what}", problems)

    def refused(self, files: Mapping[str, Sequence[Path]]) -> dict[str, list[Refusal]]:
        """Parse the files of each architecture and say what is refused of which; nothing where nothing is."""
        answer = self._ask({path: [] for paths in files.values() for path in paths})
        if answer is None:
            return {}
        found = {
            name: [problem for path in paths for problem in answer.files[path].problems]
            for name, paths in files.items()
        }
        return {name: problems for name, problems in found.items() if problems}

    def refusal(self, what: str, problems: Sequence[Refusal]) -> BadInput:
        """The error that stops a job."""
        return BadInput(
            f"{what}: {named(problems)}; measured on {', '.join(sorted({t.device for t in self._targets}))}",
            field="measure.devices",
            value=sorted({problem.operator for problem in problems if problem.operator}),
            code=REFUSES,
            remedy=REMEDY,
        )

    def _ask(self, files: Mapping[Path, Sequence[Build]]) -> Answer | None:
        if not self._targets or not files or self._missing:
            return None
        answer = ask(files)
        if answer is None:
            self._missing = True
            devices = ", ".join(sorted({target.device for target in self._targets}))
            self.notes.append(
                f"not checked before training whether TensorRT takes the networks (for {devices}): the build worker "
                "has no TensorRT that works without a GPU; pip install tensorrt-rtx there"
            )
        return answer


def named(problems: Sequence[Refusal]) -> str:
    """Name the first few distinct refusals and count the rest."""
    return listed([str(problem) for problem in problems], separator="; ")


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Name the first few distinct ones and count the rest."""
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - NAMED
    return separator.join([*distinct[:NAMED], *([f"and {more} more"] if more > 0 else [])])


def _title(answer: Answer) -> str:
    return {"tensorrt-rtx": "TensorRT for RTX"}.get(answer.library, "TensorRT") + f" {answer.version}"
