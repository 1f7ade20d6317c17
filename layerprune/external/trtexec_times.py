"""The file of `trtexec --exportTimes=FILE`: a list with the times of every query.

Keys as in NVIDIA/TensorRT samples/common/sampleReporting.cpp, exportJSONTrace; all are milliseconds. `latencyMs` is
copying in, computing and copying out; up to TensorRT 10 copying is timed by default, from 11 on it is not.
"""

from __future__ import annotations

import statistics
from typing import Any

from .reading import Foreign, loaded, number, of_samples, refuse

NS_PER_MS = 1e6
KEYS = ("latencyMs", "computeMs", "startEnqMs", "endEnqMs")


def recognises(text: str) -> bool:
    return text.lstrip().startswith("[") and '"latencyMs"' in text[:4000]


def read(text: str) -> Foreign:
    found = loaded(text)
    if not isinstance(found, list) or not found:
        refuse("it is no list of queries", value=text[:80])
    queries = [_query(one, i) for i, one in enumerate(found)]
    return of_samples(
        "trtexec",
        [latency * NS_PER_MS for latency, _, _ in queries],
        gpu_compute_p50_ns=round(statistics.median(compute for _, compute, _ in queries) * NS_PER_MS),
        enqueue_p50_ns=round(statistics.median(enqueue for _, _, enqueue in queries) * NS_PER_MS),
    )


def _query(one: Any, index: int) -> tuple[float, float, float]:
    if not isinstance(one, dict) or not set(KEYS) <= one.keys():
        refuse(f"query {index} lacks one of {', '.join(KEYS)}", value=str(one)[:80])
    latency, compute, start, end = (number(one[key], f"{key} of query {index}") for key in KEYS)
    return latency, compute, end - start
