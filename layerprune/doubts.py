"""What the samples of one session make doubtful by themselves, beside its ratio to the base; numpy only.

Thresholds are those of NVIDIA's trtexec for the GPU's variation, for enqueueing and for transfers. What a quiet shared
machine shows now and then is a note, not a flag: there medians of processes lie apart and single inferences vary, while
ratios to the base and their intervals hold, because base and variant share every process.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from layerprune.samples import SampleSet
from layerprune.stats import drift_flags, median_ns, samples_needed

MAX_CPU_VARIATION = 0.10
MAX_GPU_VARIATION = 0.025
MAX_PROCESS_SPREAD = 1.05
MAX_ENQUEUE_SHARE = 0.8


def of_samples(samples: SampleSet) -> list[str]:
    """Return the flags that follow from a session's own samples, in order: level, spread, number."""
    found = drift_flags(samples)
    medians = [float(np.median(process.all_ns())) for process in samples.processes]
    if max(medians) / min(medians) > MAX_PROCESS_SPREAD:
        found.append("process_spread_high")
    if variation(samples) > MAX_CPU_VARIATION:
        found.append("cpu_cv_high")
    if not samples.grouped and len(samples.all_ns()) < samples_needed(0.9):
        found.append("n_too_small")
    return found


def of_parts(parts: Mapping[str, SampleSet]) -> list[str]:
    """Return the flags that follow from what single inferences spent where; nothing without the device's own time."""
    if "device" not in parts:
        return []
    found = ["gpu_cv_high"] if variation(parts["device"]) > MAX_GPU_VARIATION else []
    device_ns = median_ns(parts["device"])
    if "enqueue" in parts and median_ns(parts["enqueue"]) > MAX_ENQUEUE_SHARE * device_ns:
        found.append("enqueue_bound")
    copies = [median_ns(parts[name]) for name in ("to_device", "from_device") if name in parts]
    if copies and max(copies) >= device_ns:
        found.append("transfer_bound")
    return found


def variation(samples: SampleSet) -> float:
    """Return the coefficient of variation within processes: the median over them of deviation by mean."""
    values = [process.all_ns() for process in samples.processes]
    return float(np.median([one.std() / one.mean() for one in values]))
