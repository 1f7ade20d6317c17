"""One measuring process: load all sessions, warm up, time them interleaved, evaluate them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from . import conditions
from .backends import load_backend
from .backends.base import Backend, Session
from .conditions import Snapshot
from .errors import HarnessError
from .evaluate import Preprocess, evaluate, read_pack
from .host import Host
from .loop import Pace, TimedBlock, Warmup, choose_pace, time_interleaved, warm_up
from .spec import EvaluateSpec, Spec

INDEX, SAMPLES = "index.json", "samples.i64"
PROGRESS_EVERY_S = 10.0
LOAD_S = 5.0

Say = Callable[..., None]


def measure(spec: Spec, say: Say) -> Dict[str, Any]:
    """Do what the spec asks and return the result's fields; samples go into files of the spec's folder.

    `say(phase, expect_s=)` tells the parent what comes next and how long that may take. It is not called
    while anything is timed, except between cycles when the last word is long ago.
    """
    host, backend = Host(spec.root), load_backend(spec.backend)
    _check(spec, host, backend)
    sessions = _load(spec, backend, say)
    seconds = {}
    started = time.monotonic()
    warmups: Dict[str, Warmup] = {}
    for name, session in sessions.items():
        say("warm-up", expect_s=spec.plan.warmup_cap_s)
        warmups[name] = warm_up(session, backend.clock, spec.plan, is_first=not warmups)
    paces = {name: choose_pace(warmup.typical_ns, spec.plan) for name, warmup in warmups.items()}
    seconds["warm_up"] = time.monotonic() - started
    started = time.monotonic()
    before = Snapshot.take(host)
    blocks = _time(spec, backend, sessions, warmups, paces, say)
    seen = conditions.observe(host, before, Snapshot.take(host))
    seconds["timing"] = time.monotonic() - started
    _write(spec, blocks, warmups, paces)
    flags = conditions.flags(seen)
    if not all(warmup.steady for warmup in warmups.values()):
        flags.insert(0, "no_steady_state")
    seen["warm_up_s"] = {name: round(warmup.seconds, 3) for name, warmup in warmups.items()}
    seen["steady"] = {name: warmup.steady for name, warmup in warmups.items()}
    started = time.monotonic()
    accuracies = {}
    if spec.evaluate is not None:
        accuracies = _evaluate(spec.evaluate, spec.shape, sessions, warmups, say)
    seconds["evaluating"] = time.monotonic() - started
    for session in sessions.values():
        session.close()
    key = conditions.key(host, backend, precision=spec.precision, threads=spec.threads, shape=spec.shape)
    return {"conditions": key, "observed": seen, "flags": flags, "accuracies": accuracies, "seconds": seconds}


def _check(spec: Spec, host: Host, backend: Backend) -> None:
    if spec.precision not in backend.precisions:
        raise HarnessError(
            "bad_input",
            "%s here has no precision %r; it has: %s" % (backend.name, spec.precision, ", ".join(backend.precisions)),
            value=spec.precision,
            remedy="Ask for one of these.",
        )
    conditions.check_threads(host, spec.threads)


def _load(spec: Spec, backend: Backend, say: Say) -> Dict[str, Session]:
    # Noise like a normalised image: zeros would let a runtime skip work, and draw less power.
    data = np.random.RandomState(spec.seed % 2**32).standard_normal(spec.shape).astype(np.float32)
    sessions = {}
    say("loading", expect_s=LOAD_S * len(spec.networks))
    for name, path in spec.networks.items():
        sessions[name] = backend.load(
            path.read_bytes(), shape=spec.shape, threads=spec.threads, precision=spec.precision, data=data
        )
    return sessions


def _time(
    spec: Spec,
    backend: Backend,
    sessions: Dict[str, Session],
    warmups: Dict[str, Warmup],
    paces: Dict[str, Pace],
    say: Say,
) -> List[TimedBlock]:
    runs_ns = [warmups[name].typical_ns * pace.samples * pace.runs_per_sample for name, pace in paces.items()]
    cycle_s = 2 * sum(runs_ns) / 1e9
    say("timing", expect_s=cycle_s * spec.plan.cycles)
    said = time.monotonic()

    def between_cycles(done: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_EVERY_S:
            said = time.monotonic()
            say("timing", expect_s=cycle_s * (spec.plan.cycles - done))

    return time_interleaved(
        sessions, paces, backend.clock, cycles=spec.plan.cycles, seed=spec.seed, between_cycles=between_cycles
    )


def _write(spec: Spec, blocks: List[TimedBlock], warmups: Dict[str, Warmup], paces: Dict[str, Pace]) -> None:
    index = {
        "blocks": [[block.session, block.cycle, block.position, len(block.samples_ns)] for block in blocks],
        "warmup_runs": {name: warmup.runs for name, warmup in warmups.items()},
        "runs_per_sample": {name: pace.runs_per_sample for name, pace in paces.items()},
    }
    np.concatenate([block.samples_ns for block in blocks]).astype("<i8").tofile(str(spec.folder / SAMPLES))
    (spec.folder / INDEX).write_text(json.dumps(index))


def _evaluate(
    wanted: EvaluateSpec,
    shape: Tuple[int, ...],
    sessions: Dict[str, Session],
    warmups: Dict[str, Warmup],
    say: Say,
) -> Dict[str, Any]:
    pack, preprocess = read_pack(wanted.pack), Preprocess.from_dict(wanted.preprocess)
    batch, found = shape[0], {}
    if pack.images.shape[1:3] != tuple(shape[2:]):
        raise HarnessError(
            "bad_input",
            "the evaluation pack's images are %dx%d, the network's input is %s" % (pack.images.shape[1:3] + (shape,)),
            value=list(pack.images.shape),
            remedy="Make the pack with the preprocessing of this model.",
        )
    for name, reference in wanted.references.items():
        expect_s = 2 + 2 * warmups[name].typical_ns / 1e9 * len(pack.labels) / batch
        say("evaluating", expect_s=expect_s)
        result = evaluate(sessions[name], pack, preprocess, batch=batch, reference=reference)
        found[name] = {
            "correct": int(result.outcomes.sum()),
            "n": len(result.outcomes),
            "outcomes": base64.b64encode(np.packbits(result.outcomes).tobytes()).decode("ascii"),
            "max_relative_difference": result.max_relative_difference,
            "agrees": result.agrees,
        }
    return found
