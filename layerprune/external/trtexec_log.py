"""What trtexec prints, from TensorRT 8 on: its performance summary.

Lines as in NVIDIA/TensorRT samples/common/sampleReporting.cpp, printEpilog, each after a time stamp and "[I] ".
"""

from __future__ import annotations

import re

from .reading import Foreign, in_range, refuse

NS_PER_MS = 1e6
# Every repetition has a bound, so that no line, however made, takes long to look at.
_NUMBER = r"([0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?)"
_LINE = r"^(?:\[[^\n]{1,60}\] )?%s: min = [^\n]{1,300}?median = " + _NUMBER + r" ms(?:, ([^\n]{0,500}))?$"
_LATENCY = re.compile(_LINE % "Latency", re.MULTILINE)
_COMPUTE = re.compile(_LINE % "GPU Compute Time", re.MULTILINE)
_ENQUEUE = re.compile(_LINE % "Enqueue Time", re.MULTILINE)
_PERCENTILE = re.compile(r"percentile\((\d{1,3}(?:\.\d{1,6})?)%?\) = " + _NUMBER + " ms")
_THROUGHPUT = re.compile(r"Throughput: " + _NUMBER + " qps")
_COMMAND = re.compile(r"&&&& (?:RUNNING|PASSED) TensorRT\.trtexec \[TensorRT v(\d{1,9})\][^#\n]{0,100}# ([^\n]{0,500})")
_DEVICE = re.compile(r"Selected Device: ([^\n]{1,100})")
_QUERIES = re.compile(r"Timing trace has (\d{1,9}) queries")


def recognises(text: str) -> bool:
    return "=== Performance summary ===" in text and _LATENCY.search(text) is not None


def read(text: str) -> Foreign:
    found = list(_LATENCY.finditer(text))
    if len(found) != 1:
        refuse(
            f"it has {len(found)} lines 'Latency: min = ..., median = ... ms'; "
            "trtexec of TensorRT 8 and later prints one",
            value=text[:80],
        )
    tails = {float(percent): float(value) for percent, value in _PERCENTILE.findall(found[0].group(2) or "")}
    details: dict[str, str | int | float] = {}
    for name, pattern in (("gpu_compute_p50_ns", _COMPUTE), ("enqueue_p50_ns", _ENQUEUE)):
        if part := pattern.search(text):
            details[name] = round(float(part.group(1)) * NS_PER_MS)
    if throughput := _THROUGHPUT.search(text):
        details["throughput_per_s"] = float(throughput.group(1))
    if command := _COMMAND.search(text):
        details["version"], details["command"] = command.group(1), command.group(2)
    if device := _DEVICE.search(text):
        details["device"] = device.group(1).strip()
    queries = _QUERIES.search(text)
    return Foreign(
        tool="trtexec",
        p50_ns=in_range(float(found[0].group(1)) * NS_PER_MS, "the median latency"),
        p90_ns=_tail(tails, 90.0),
        p99_ns=_tail(tails, 99.0),
        n_samples=int(queries.group(1)) if queries else None,
        details=details,
    )


def _tail(tails: dict[float, float], percent: float) -> int | None:
    return in_range(tails[percent] * NS_PER_MS, f"the {percent:g}th percentile") if percent in tails else None
