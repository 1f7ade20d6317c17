"""The result file of onnxruntime_perf_test: a line for every run, and with -s its statistics below them.

As in microsoft/onnxruntime onnxruntime/test/perftest/performance_result.h, DumpToFile: model, time, peak working set,
processor usage, number of the run. Times are whole nanoseconds, in versions before 1.3 seconds with a fraction. The
tool appends, so a file may hold several models: that is refused, because nobody could say whose times they are.
"""

from __future__ import annotations

import re

from .reading import Foreign, of_samples, refuse

_RUN = re.compile(r"^([^\n]{0,500}),([0-9.e+-]{1,40}),(\d{1,20}),(-?\d{1,6}),(\d{1,12})$")
_STATISTIC = re.compile(r"^(?:Min|Max|P\d{2,3}) Latency is [0-9.e+-]{1,40} ?sec$")


def recognises(text: str) -> bool:
    return _RUN.match(text.partition("\n")[0].strip()) is not None


def read(text: str) -> Foreign:
    times, models, peak = [], set[str](), 0
    for i, line in enumerate(text.splitlines()):
        stripped = line.strip()
        if not stripped or _STATISTIC.match(stripped):
            continue
        found = _RUN.match(stripped)
        if found is None:
            refuse(f"line {i + 1} is not 'model,time,memory,usage,run'", value=stripped[:80])
        models.add(found.group(1))
        times.append(_nanoseconds(found.group(2), i + 1))
        peak = max(peak, int(found.group(3)))
    if len(models) > 1:
        refuse(f"it holds the runs of {len(models)} models: {', '.join(sorted(models)[:5])}", value=len(models))
    return of_samples("onnxruntime_perf_test", times, peak_working_set_bytes=peak, model="".join(models))


def _nanoseconds(text: str, line: int) -> float:
    try:
        return float(int(text)) if text.isdigit() else float(text) * 1e9
    except ValueError:
        refuse(f"line {line} has the time {text!r}", value=text)
