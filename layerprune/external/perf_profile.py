"""The profile of onnxruntime_perf_test -p, or of any ONNX Runtime session: a list of trace events in microseconds.

Each inference is one event `model_run` of the category Session. The first one is left out: it allocates what later
ones reuse. A profiled run is slower than one that is only timed, which the details say.
"""

from __future__ import annotations

from .reading import Foreign, loaded, number, of_samples, refuse

NS_PER_US = 1e3


def recognises(text: str) -> bool:
    return text.lstrip().startswith("[") and '"model_loading' in text[:4000]


def read(text: str) -> Foreign:
    found = loaded(text)
    if not isinstance(found, list):
        refuse("it is no list of events", value=text[:80])
    runs = [event for event in found if isinstance(event, dict) and event.get("name") == "model_run"]
    if len(runs) < 2:
        refuse(f"it has {len(runs)} events 'model_run', and the first is for warming up", value=len(runs))
    times = [number(event.get("dur"), "dur of a model_run") * NS_PER_US for event in runs[1:]]
    return of_samples("onnxruntime_perf_test", times, note="profiled, which is slower than only timed")
