"""The leaderboard's rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from layerprune.api.leaderboard import LeaderboardRow

PLAIN = (
    "measurement", "job", "variant", "label", "model", "dataset", "family", "alignment", "amount", "training_seed",
    "device", "runtime", "precision", "batch_size", "threads", "p50_ns", "p90_ns", "p95_ns", "p99_ns", "p999_ns",
    "n_samples", "params", "macs", "steps", "verdict", "on_front", "tied_with_front", "versus_base", "noise_floor",
    "superseded", "comparable_key", "measured_at",
)  # fmt: skip
REPORTED = (
    "load_ns", "first_inference_ns", "peak_memory_bytes", "device_memory_bytes", "engine_bytes", "build_ms",
    "energy_mj",
)  # fmt: skip
COLUMNS = (
    *PLAIN, *REPORTED, "criteria", "flags", "ratio", "ratio_ci_low", "ratio_ci_high", "correct", "n_images",
    "accuracy_ci_low", "accuracy_ci_high", "base_correct", "onnx_sha256", "weights_sha256", "plan_sha256",
    "preprocess_sha256",
    "samples_sha256",
)  # fmt: skip


def as_csv(rows: Sequence[LeaderboardRow]) -> str:
    """Write rows with one number per column, and a header; what is not known is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS)
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return text.getvalue()


def _flat(row: LeaderboardRow) -> dict[str, object]:
    flat: dict[str, object] = {name: getattr(row, name) for name in PLAIN}
    flat |= {name: getattr(row.facts, name) for name in REPORTED}
    flat |= {"criteria": " ".join(row.criteria), "flags": " ".join(row.flags)}
    if row.ratio:
        flat |= {"ratio": row.ratio.value, "ratio_ci_low": row.ratio.ci_low, "ratio_ci_high": row.ratio.ci_high}
    flat |= {
        "correct": row.accuracy.correct,
        "n_images": row.accuracy.n,
        "accuracy_ci_low": row.accuracy.ci_low,
        "accuracy_ci_high": row.accuracy.ci_high,
        "base_correct": row.base_accuracy.correct,
    }
    return flat | {f"{name}_sha256": digest for name, digest in row.downloads.model_dump().items()}
