"""Where the time of a network goes, layer by layer, and in which memory layout its convolutions run.

ONNX Runtime profiles itself, in sessions that are timed for nothing else, because profiling costs time. What its
optimiser made of the graph is read from the file that it can save: convolutions in blocked layout are of the domain
com.microsoft.nchwc there, and Reorder nodes convert between layouts.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from .attribution import NodeTime, attribute
from .backends import load_backend
from .errors import HarnessError
from .host import Host
from .layouts import find_rule
from .onnx_graph import Graph, read_graph
from .process import check
from .spec import Spec

RUNTIME = "onnxruntime"
WARMUP_S, AIM_S = 0.3, 1.0
MIN_RUNS, MAX_RUNS, BLOCK_RUNS = 20, 400, 5
NS_PER_US = 1000.0
HALF_STEP_NS = 500.0
"""The profile counts whole microseconds, rounded down: half of one is missing on average."""

Say = Callable[..., None]
Event = Dict[str, Any]


def profile(spec: Spec, say: Say) -> Dict[str, Any]:
    """Profile the networks of the spec in turns.

    Returns per network "run_ns" (all nodes together), "layers" and "others" (see `attribution`), and the "rule" by
    which this runtime on this processor takes convolutions into blocked layout.
    """
    if spec.backend != RUNTIME:
        raise HarnessError(
            "bad_input",
            "layers are profiled in %s, not in %s" % (RUNTIME, spec.backend),
            value=spec.backend,
            remedy="Ask for %s." % RUNTIME,
        )
    check(spec, Host(spec.root), load_backend(spec.backend))
    data = np.random.RandomState(spec.seed % 2**32).standard_normal(spec.shape).astype(np.float32)
    say("loading", expect_s=10.0 * len(spec.networks))
    sessions = {name: _Profiled(path, spec, data, number=i) for i, (name, path) in enumerate(spec.networks.items())}
    for session in sessions.values():
        say("profiling", expect_s=WARMUP_S + AIM_S)
        session.warm_up()
    slowest_s = max(session.typical_s for session in sessions.values())
    turns = max(MIN_RUNS, min(MAX_RUNS, int(AIM_S / slowest_s))) // BLOCK_RUNS
    say("profiling", expect_s=turns * BLOCK_RUNS * slowest_s * len(sessions))
    for turn in range(turns):
        for session in list(sessions.values())[:: 1 if turn % 2 else -1]:
            session.run(BLOCK_RUNS)
    say("finding the layouts", expect_s=10.0)
    networks = {name: session.finish(turns * BLOCK_RUNS) for name, session in sessions.items()}
    return {"networks": networks, "rule": asdict(find_rule())}


class _Profiled:
    """One session that writes down what every node takes."""

    def __init__(self, path: Path, spec: Spec, data: np.ndarray, *, number: int) -> None:
        import onnxruntime

        from .backends.onnxruntime import PROVIDER, foreign_errors, session_options

        onnx = path.read_bytes()
        self._original = read_graph(onnx)
        self._optimised = spec.folder / ("optimised-%d.onnx" % number)
        options = session_options(spec.shape[0], spec.threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(spec.folder / ("profile-%d" % number))
        options.optimized_model_filepath = str(self._optimised)
        with foreign_errors():
            self._session: Any = onnxruntime.InferenceSession(onnx, sess_options=options, providers=[PROVIDER])
        self._feed = {self._session.get_inputs()[0].name: data}
        self.typical_s = 0.0

    def warm_up(self) -> None:
        started, runs = time.monotonic(), 0
        while runs < 3 or time.monotonic() - started < WARMUP_S:
            self.run(1)
            runs += 1
        self.typical_s = (time.monotonic() - started) / runs

    def run(self, times: int) -> None:
        for _ in range(times):
            self._session.run(None, self._feed)

    def finish(self, runs: int) -> Dict[str, Any]:
        """Return what the last `runs` inferences say."""
        events = json.loads(Path(self._session.end_profiling()).read_text())
        times, optimised = node_times(events, runs), read_graph(self._optimised.read_bytes())
        layers, others = attribute(self._original, name_nodes(optimised, events), times)
        return {
            # Not the time of whole runs: on a busy machine hardly any is undisturbed, of single nodes most are.
            "run_ns": sum(time.ns for time in times.values()),
            "layers": [asdict(layer) for layer in layers],
            "others": [asdict(other) for other in others],
        }


def name_nodes(optimised: Graph, events: Sequence[Event]) -> Graph:
    """Give nodes without a name the one that they have in the profile, which is OPERATOR_NUMBER.

    The numbers are not in the file, but it holds the nodes in the order in which they run.
    """
    unnamed: Dict[str, List[str]] = {}
    for name, event in _kernels(events):
        op = event["args"]["op_name"]
        if name == "%s_%s" % (op, event["args"]["node_index"]) and name not in unnamed.setdefault(op, []):
            unnamed[op].append(name)
    nodes = [
        replace(node, name=unnamed[node.op].pop(0)) if not node.name and unnamed.get(node.op) else node
        for node in optimised.nodes
    ]
    return replace(optimised, nodes=nodes)


def node_times(events: Sequence[Event], runs: int) -> Dict[str, NodeTime]:
    """Return what each node takes in the last `runs` inferences, by its name."""
    found: Dict[str, List[Tuple[int, Event]]] = {}
    for name, event in _kernels(events):
        found.setdefault(name, []).append((event["dur"], event))
    return {
        name: NodeTime(_typical_ns([duration for duration, _ in timed[-runs:]]), _shape(timed[-1][1]))
        for name, timed in found.items()
    }


def _kernels(events: Sequence[Event]) -> Iterator[Tuple[str, Event]]:
    ending = "_kernel_time"
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(ending):
            yield event["name"][: -len(ending)], event


def _shape(event: Event) -> Tuple[int, ...]:
    shapes = event.get("args", {}).get("output_type_shape") or [{}]
    return tuple(next(iter(shapes[0].values()), ()))


def _typical_ns(durations_us: Sequence[int]) -> float:
    """The mean of the middle half: robust as a median, and finer than the profile's whole microseconds."""
    ordered = np.sort(np.asarray(durations_us, dtype=np.float64))
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean() * NS_PER_US + HALF_STEP_NS)
