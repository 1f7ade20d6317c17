"""What Qualcomm AI Hub's ProfileJob.download_profile() returns, as JSON; its times are microseconds.

`estimated_inference_time` is the fastest run, so the median of `all_inference_times` is what is taken here.
"""

from __future__ import annotations

from typing import Any

from .reading import Foreign, loaded, number, of_samples, refuse

NS_PER_US = 1e3
SUMMARY, TIMES = "execution_summary", "all_inference_times"


def recognises(text: str) -> bool:
    return text.lstrip().startswith("{") and f'"{SUMMARY}"' in text


def read(text: str) -> Foreign:
    found = loaded(text)
    summary = found.get(SUMMARY) if isinstance(found, dict) else None
    times = summary.get(TIMES) if isinstance(summary, dict) else None
    if not isinstance(times, list) or not isinstance(summary, dict):
        refuse(f"it has no {SUMMARY}.{TIMES}", value=text[:80])
    details: dict[str, str | int | float] = {}
    for name in ("estimated_inference_time", "first_load_time", "warm_load_time"):
        if name in summary:
            details[f"{name}_ns"] = round(min(number(summary[name], name), 1e12) * NS_PER_US)
    layers = found.get("execution_detail")
    if isinstance(layers, list):
        details["compute_units"] = _units(layers)
    return of_samples("Qualcomm AI Hub", [number(value, TIMES) * NS_PER_US for value in times], **details)


def _units(layers: list[Any]) -> str:
    """Count the layers by where they run."""
    units = [str(layer.get("compute_unit", "?"))[:20] for layer in layers if isinstance(layer, dict)]
    return ", ".join(f"{unit} {units.count(unit)}" for unit in sorted(set(units))[:10])
