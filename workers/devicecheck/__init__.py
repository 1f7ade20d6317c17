"""Check a device without a server: do its runtimes compute what they should, and time steadily what they compute?

Per runtime, three bundled networks are loaded twice each and timed against themselves (A/A), the timed session answers
images whose right outputs are stored, and where trtexec is installed TensorRT's median is held against it. Every sensor
is read. The report holds the samples; `layerprune.proof` says what follows from them.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerprune import __version__, proof
from layerprune.api.catalogue import BackendInfo
from layerprune.api.device_reports import (
    BackendCheck,
    DeviceReport,
    EnergyCheck,
    Failure,
    NetworkCheck,
    NetworkTiming,
    SensorCheck,
)
from layerprune.api.errors import BadInput, LayerPruneError, UnknownName
from layerprune.api.jobs import Progress
from layerprune.api.tasks import Condition, SessionSamples
from layerprune.samples import SampleSet, decode
from workers import interpreter
from workers.catalogue import Machine, describe_machine
from workers.harness.check import SIZE, Bundle, Bundled, bundle, write_pack
from workers.harness.loop import Plan
from workers.tasks.timing import BASE, CONTROL, Budget, Evaluation, Timed, Timer

from . import trtexec

LIMIT_S = 300.0
SENSORS_S = 60.0
BUDGET = Budget(processes=1, plan=Plan(cycles=20, block_ms=15.0, warmup_later_min_s=0.3, warmup_cap_s=5.0))
SETTINGS: dict[str, dict[str, bool | int | str]] = {trtexec.BACKEND: {"cuda_graph": True}}
"""Launched as a graph, a network this small is not held up by the processor, neither here nor in trtexec."""
SHAPE = (3, SIZE, SIZE)
Say = Callable[[str], None]


class TimeOver(LayerPruneError):
    """The check has used up its time."""

    code = "timeout"
    default_remedy = "Check one runtime at a time with --backend, or give more time with --limit."


@dataclass(frozen=True)
class Wanted:
    """What to check: runtimes (all but null, if none is named), with which trtexec, and for how long at most."""

    backends: Sequence[str] = ()
    trtexec: Path | None = None
    compare: bool = True
    limit_s: float = LIMIT_S
    budget: Budget = BUDGET


@dataclass
class Checker:
    """One check; `folder` takes what it leaves meanwhile, `say` hears what it does."""

    wanted: Wanted
    folder: Path
    say: Say
    bundle: Bundle = field(default_factory=bundle)
    _began: float = field(default_factory=time.monotonic)
    _told: str = ""

    def run(self) -> DeviceReport:
        """Check everything and return the report; raises BadInput for runtimes that are not here."""
        made_at = time.time_ns() // 1000
        machine = describe_machine(allow_null="null" in self.wanted.backends)
        chosen = choose(machine, self.wanted.backends)
        program = trtexec.find(self.wanted.trtexec) if self.wanted.compare else None
        self._tell("reading the sensors")
        seen = read_sensors()
        backends = [self._check_backend(backend, machine, program) for backend in chosen]
        return DeviceReport(
            layerprune=__version__,
            made_at=made_at,
            seconds=round(time.monotonic() - self._began, 1),
            kind=seen["kind"],
            facts=machine.facts,
            python=seen["python"],
            backends=backends,
            sensors=[SensorCheck.model_validate(sensor) for sensor in seen["sensors"]],
            energy=None if seen["energy"] is None else EnergyCheck.model_validate(seen["energy"]),
        )

    def _check_backend(self, backend: BackendInfo, machine: Machine, program: Path | None) -> BackendCheck:
        conditions: dict[str, Any] = {}
        checks = [self._check_network(backend.name, network, program, conditions) for network in self.bundle.networks]
        notes = []
        if backend.name == trtexec.BACKEND and program is None:
            notes.append("There is no trtexec here to compare with.")
        return BackendCheck(
            backend=backend.name,
            version=str(conditions.get("runtime_version", backend.version)),
            device_model=str(conditions.get("device_model", machine.facts.get("device_model", "unknown"))),
            conditions=conditions,
            networks=checks,
            notes=notes,
        )

    def _check_network(
        self, backend: str, network: Bundled, program: Path | None, conditions: dict[str, Any]
    ) -> NetworkCheck:
        started = time.monotonic()
        check = NetworkCheck.model_validate({"network": network.name, "seconds": 0})
        folder = self.folder / backend / network.name
        try:
            timed, timing = self._time(backend, network, folder / "first")
            if proof.is_off(timing.aa):
                check.repeated = True
                timed, timing = self._time(backend, network, folder / "again")
            check.timing = timing
            conditions.update(timed.conditions)
            if backend == trtexec.BACKEND and program is not None:
                self._compare(check, program, network, timed, folder)
        except LayerPruneError as error:
            check.failure = failure(error)
        check.seconds = round(time.monotonic() - started, 1)
        return check

    def _time(self, backend: str, network: Bundled, folder: Path) -> tuple[Timed, NetworkTiming]:
        folder.mkdir(parents=True)
        pack = folder / "images"
        write_pack(network, self.bundle.seeds, pack)
        timer = Timer(
            condition=Condition(backend=backend, settings=SETTINGS.get(backend, {})),
            shape=SHAPE,
            budget=self.wanted.budget,
            seed=proof.SEED,
            folder=folder,
            report=lambda progress: self._follow(backend, network, progress),
            checkpoint=self._stop_in_time,
            evaluation=Evaluation(pack, self.bundle.preprocess, {BASE: network.reference}),
            cache=self.folder / "cache",
        )
        timed = timer.run(network.onnx, {})
        group = timed.groups[0]
        sessions = {session.session: session for session in group.sessions}
        timing = proof.timing_of(
            read(folder, sessions[BASE]),
            read(folder, sessions[CONTROL]),
            timed.accuracies[BASE],
            flags=group.flags,
            facts=sessions[BASE].facts.model_dump(mode="json", exclude_none=True),
        )
        return timed, timing

    def _compare(self, check: NetworkCheck, program: Path, network: Bundled, timed: Timed, folder: Path) -> None:
        """Hold the device's computing time against trtexec's; what goes wrong there is a defect of its own."""
        self._stop_in_time()
        self._tell(f"{trtexec.BACKEND}: {network.name}: trtexec")
        try:
            check.trtexec = trtexec.compare(
                program, network.onnx, (1, *SHAPE), folder, timed, cache=self.folder / "cache"
            )
        except LayerPruneError as error:
            check.trtexec_failure = failure(error)

    def _follow(self, backend: str, network: Bundled, progress: Progress) -> None:
        self._stop_in_time()
        self._tell(f"{backend}: {network.name}: {progress.phase}")

    def _tell(self, what: str) -> None:
        if what != self._told:
            self._told = what
            self.say(f"{time.monotonic() - self._began:4.0f} s  {what}")

    def _stop_in_time(self) -> None:
        if time.monotonic() - self._began > self.wanted.limit_s:
            raise TimeOver(f"the {self.wanted.limit_s:.0f} s of the check are over")


def choose(machine: Machine, names: Sequence[str]) -> list[BackendInfo]:
    """Pick the named runtimes, or all; raises BadInput for one that is not here, with the reason."""
    here = {backend.name: backend for backend in machine.backends}
    for name in names:
        if name in machine.missing:
            raise BadInput(
                machine.missing[name],
                field="backend",
                value=name,
                remedy="Install it, or name the Python that has it with --python.",
            )
        if name not in here:
            raise UnknownName("backend", name, here, field="backend")
    return [here[name] for name in (dict.fromkeys(names) or here)]


def read(folder: Path, session: SessionSamples) -> SampleSet:
    """Read the samples that a session left."""
    return decode((folder / session.samples).read_bytes())


def failure(error: LayerPruneError) -> Failure:
    """Write an error down, no longer than a report may hold."""
    return Failure(code=error.code[:300], message=error.message[-4000:], remedy=error.remedy[:4000])


def read_sensors() -> dict[str, Any]:
    """Read every sensor and the energy meter, under the interpreter that measures; raises LayerPruneError."""
    try:
        done = subprocess.run(
            interpreter.command(interpreter.chosen(), "workers.harness.check"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SENSORS_S,
            env=interpreter.environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LayerPruneError(f"reading the sensors took longer than {SENSORS_S:.0f} s", code="timeout") from error
    if done.returncode != 0:
        raise LayerPruneError(
            f"the sensors cannot be read: {done.stderr.strip()[-1000:]}",
            code="crashed",
            remedy="Measure nothing on this device before they can be: throttling would pass unseen.",
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
