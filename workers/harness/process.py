"""One measuring process: load all sessions, warm up, time them interleaved, then whatever else is wanted of them."""

from __future__ import annotations

import base64
import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List

import numpy as np

from . import conditions
from .backends import load_backend
from .backends.base import Backend, Session
from .canary import Canary
from .clocks import Clocks, observe_clocks
from .conditions import Watch
from .energy import find_meter
from .errors import HarnessError
from .evaluate import Preprocess, evaluate, read_pack
from .extras import energy, throughput
from .host import Host
from .loading import Facts, Loader
from .loop import Pace, TimedBlock, Warmup, choose_pace, time_interleaved, warm_up
from .memory import available
from .sensors import check_free, find_sensors
from .spec import EvaluateSpec, ExtrasSpec, Spec

INDEX, SAMPLES, PARTS_SAMPLES = "index.json", "samples.i64", "parts.i64"
PROGRESS_EVERY_S = 10.0

Say = Callable[..., None]


def measure(spec: Spec, say: Say) -> Dict[str, Any]:
    """Do what the spec asks and return the result's fields; samples go into files of the spec's folder.

    `say(phase, expect_s=)` tells the parent what comes next and how long that may take. It is not called
    while anything is timed, except between cycles when the last word is long ago.
    """
    host, backend = Host(spec.root), load_backend(spec.backend)
    check(spec, host, backend)
    sensors = find_sensors(spec.root, gpu=bool(backend.hardware()))
    check_free(sensors)
    watch = Watch(host, sensors)
    watch.cool_down(spec.folder.parent, lambda most_s: say("cooling down", expect_s=most_s))
    run = _Run(spec, Loader.of(spec, backend), say)
    # Before the rest: what a runtime sets up once is then not counted to the first network's loading.
    say("loading", expect_s=run.loader.load_s)
    canary = Canary(backend, threads=spec.threads, cache=spec.cache)
    with run.phase("loading"):
        run.sessions, run.facts = run.loader.load_all(host, say)
    with run.phase("warm_up"):
        run.warm_up()
    with run.phase("timing"):
        canary.time()
        watch.start()
        clocks = Clocks.read()
        blocks = run.time()
        seen = {"clocks": observe_clocks(clocks, Clocks.read()), **watch.stop()}
        canary.time()
    run.write(blocks)
    flags = conditions.flags(seen)
    if seen["clocks"]["jumped"]:
        flags.insert(0, "clock_jump")
    if not all(warmup.steady for warmup in run.warmups.values()):
        flags.insert(0, "no_steady_state")
    seen["warm_up_s"] = {name: round(warmup.seconds, 3) for name, warmup in run.warmups.items()}
    seen["steady"] = {name: warmup.steady for name, warmup in run.warmups.items()}
    run.check_outputs()
    accuracies = {}
    if spec.evaluate is not None:
        with run.phase("evaluating"):
            accuracies = run.evaluate(spec.evaluate)
    if spec.extras is not None:
        with run.phase("extras"):
            run.measure_energy(spec.extras)
    for session in run.sessions.values():
        session.close()
    if spec.extras is not None:
        with run.phase("extras"):
            run.measure_throughput(spec.extras)
    key = conditions.key(
        host,
        backend,
        precision=spec.precision,
        threads=spec.threads,
        shape=spec.shape,
        settings=spec.settings,
        policies=watch.policies(),
    )
    return {
        "conditions": key,
        "observed": seen,
        "flags": flags,
        "canary": canary.result(),
        "accuracies": accuracies,
        "facts": run.facts,
        "seconds": run.seconds,
    }


def check(spec: Spec, host: Host, backend: Backend) -> None:
    """Raise HarnessError for a precision that the runtime lacks, or more threads than may run at once."""
    if spec.precision not in backend.precisions:
        raise HarnessError(
            "bad_input",
            "%s here has no precision %r; it has: %s" % (backend.name, spec.precision, ", ".join(backend.precisions)),
            value=spec.precision,
            remedy="Ask for one of these.",
        )
    conditions.check_threads(host, spec.threads)


@dataclass
class _Run:
    """The sessions of one process on their way from loading to the last pass."""

    spec: Spec
    loader: Loader
    say: Say
    sessions: Dict[str, Session] = field(default_factory=dict)
    facts: Dict[str, Facts] = field(default_factory=dict)
    warmups: Dict[str, Warmup] = field(default_factory=dict)
    paces: Dict[str, Pace] = field(default_factory=dict)
    seconds: Dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def warm_up(self) -> None:
        plan = self.spec.plan
        for name, session in self.sessions.items():
            self.say("warm-up", expect_s=plan.warmup_cap_s)
            found = warm_up(session, self.loader.backend.clock, plan, is_first=not self.warmups)
            self.warmups[name], self.paces[name] = found, choose_pace(found.typical_ns, plan)

    def time(self) -> List[TimedBlock]:
        plan = self.spec.plan
        runs_ns = [
            self.warmups[name].typical_ns * pace.samples * pace.runs_per_sample for name, pace in self.paces.items()
        ]
        cycle_s = 2 * sum(runs_ns) / 1e9
        self.say("timing", expect_s=cycle_s * plan.cycles)
        said = time.monotonic()

        def between_cycles(done: int) -> None:
            nonlocal said
            if time.monotonic() - said >= PROGRESS_EVERY_S:
                said = time.monotonic()
                self.say("timing", expect_s=cycle_s * (plan.cycles - done))

        return time_interleaved(
            self.sessions,
            self.paces,
            self.loader.backend.clock,
            cycles=plan.cycles,
            seed=self.spec.seed,
            between_cycles=between_cycles,
        )

    def write(self, blocks: List[TimedBlock]) -> None:
        """Leave the samples of all blocks in order, and their parts, one row of a block's parts after the other."""
        index = {
            "blocks": [[block.session, block.cycle, block.position, len(block.samples_ns)] for block in blocks],
            "warmup_runs": {name: warmup.runs for name, warmup in self.warmups.items()},
            "runs_per_sample": {name: pace.runs_per_sample for name, pace in self.paces.items()},
            "parts": {name: list(session.parts) for name, session in self.sessions.items()},
        }
        folder = self.spec.folder
        np.concatenate([block.samples_ns for block in blocks]).astype("<i8").tofile(str(folder / SAMPLES))
        np.concatenate([block.parts_ns.ravel() for block in blocks]).astype("<i8").tofile(str(folder / PARTS_SAMPLES))
        (folder / INDEX).write_text(json.dumps(index))

    def check_outputs(self) -> None:
        """Note which sessions answer the timed input with numbers; NaN and infinity are none."""
        data = self.loader.noise(self.spec.shape)
        for name, session in self.sessions.items():
            self.facts[name]["output_finite"] = bool(np.isfinite(session.infer(data)).all())

    def evaluate(self, wanted: EvaluateSpec) -> Dict[str, Any]:
        pack, preprocess = read_pack(wanted.pack), Preprocess.from_dict(wanted.preprocess)
        shape, found = self.spec.shape, {}
        if pack.images.shape[1:3] != tuple(shape[2:]):
            raise HarnessError(
                "bad_input",
                "the evaluation pack's images are %dx%d, the network's input is %s"
                % (pack.images.shape[1:3] + (shape,)),
                value=list(pack.images.shape),
                remedy="Make the pack with the preprocessing of this model.",
            )
        for name, reference in wanted.references.items():
            self.say("evaluating", expect_s=2 + 2 * self.warmups[name].typical_ns / 1e9 * len(pack.labels) / shape[0])
            result = evaluate(
                self.sessions[name],
                pack,
                preprocess,
                batch=shape[0],
                reference=reference,
                precision=self.spec.precision,
            )
            found[name] = {
                "correct": int(result.outcomes.sum()),
                "n": len(result.outcomes),
                "outcomes": base64.b64encode(np.packbits(result.outcomes).tobytes()).decode("ascii"),
                "max_relative_difference": result.max_relative_difference,
                "agrees": result.agrees,
            }
        return found

    def measure_energy(self, wanted: ExtrasSpec) -> None:
        # What knows its device's own time computes on a GPU.
        on_gpu = any("device" in session.parts for session in self.sessions.values())
        meter = find_meter(self.spec.root, gpu=on_gpu) if wanted.energy_s else None
        if meter is None:
            return
        for name in wanted.sessions:
            self.say("energy", expect_s=2 * wanted.energy_s)
            found = energy(self.sessions[name], self.loader.backend.clock, meter, seconds=wanted.energy_s)
            self.facts[name].update(found)

    def measure_throughput(self, wanted: ExtrasSpec) -> None:
        for name in wanted.sessions if wanted.batches else ():
            one_ns = self.warmups[name].typical_ns / self.spec.shape[0]
            expect_s = sum(
                self.loader.load_s + 2 * wanted.throughput_s + 5 * batch * one_ns / 1e9 for batch in wanted.batches
            )
            self.say("throughput", expect_s=expect_s)
            self.facts[name]["throughput"] = throughput(
                self.loader,
                self.spec.networks[name].read_bytes(),
                self.spec.shape[1:],
                wanted.batches,
                seconds=wanted.throughput_s,
                most_images=self._most_images(name),
            )

    def _most_images(self, name: str) -> float:
        """How many images are sure to fit: as if all that the session took grew with the batch."""
        left, taken = available(Host(self.spec.root)), self.facts[name]["peak_memory_bytes"]
        return math.inf if left is None or not taken else self.spec.shape[0] * left.bytes / taken
