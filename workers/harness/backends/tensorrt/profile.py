"""What each layer of an engine takes and how it is computed; always in a run of its own, which times nothing else.

The sum over layers is more than the network's latency: every layer is timed between two events of its own.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List

import numpy as np

from ...cuda import Cuda
from .compat import Library
from .running import TensorRtSession

WARM_UP_RUNS = 10


def inspect_engine(library: Library, engine: Any, context: Any = None) -> List[Dict[str, Any]]:
    """List an engine's layers in order: `name`, `type`, `inputs`, `outputs`, `tactic`, `origin`.

    Inputs and outputs have shapes and formats; `origin` names the ONNX nodes that went into a layer. What TensorRT does
    not tell is empty.
    """
    inspector = library.made(engine.create_engine_inspector(), "an inspector")
    if context is not None:
        inspector.execution_context = context
    text = inspector.get_engine_information(library.api.LayerInformationFormat.JSON)
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise library.failure("crashed", "does not describe its engine") from error
    return [_layer({"Name": layer} if isinstance(layer, str) else layer) for layer in layers]


def _layer(record: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "name": str(record.get("Name", "")),
        "type": str(record.get("LayerType", "")),
        "inputs": [_tensor(tensor) for tensor in record.get("Inputs", [])],
        "outputs": [_tensor(tensor) for tensor in record.get("Outputs", [])],
        "tactic": str(record.get("TacticName", "")),
        "origin": str(record.get("Metadata", "")),
    }


def _tensor(record: Dict[str, Any]) -> Dict[str, Any]:
    return {"shape": list(record.get("Dimensions", [])), "format": str(record.get("Format/Datatype", ""))}


def profile_layers(library: Library, cuda: Cuda, session: TensorRtSession, *, runs: int) -> List[Dict[str, Any]]:
    """Time every layer of a session that has no CUDA graph; the layers of `inspect_engine` with `p50_ns` and `share`.

    Layers that the profiler reports under a name the inspector does not know come last, with the name and times only.
    """
    times: Dict[str, List[float]] = {}

    class Profiler(library.api.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.api.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms)

    context, profiler = session.context, Profiler()
    context.profiler = profiler
    context.enqueue_emits_profile = False
    for run in range(WARM_UP_RUNS + runs):
        session.run()
        cuda.wait_for_stream(session.stream)
        if run == WARM_UP_RUNS:
            times.clear()
        if not context.report_to_profiler():
            raise library.failure("crashed", "reports no times of layers")
    layers = inspect_engine(library, session.engine, context)
    known = {layer["name"] for layer in layers}
    layers += [_layer({"Name": name}) for name in times if name not in known]
    medians = {name: float(np.median(found)) * 1e6 for name, found in times.items()}
    total = sum(medians.values()) or 1.0
    return [
        dict(layer, p50_ns=round(medians.get(layer["name"], 0.0)), share=medians.get(layer["name"], 0.0) / total)
        for layer in layers
    ]
