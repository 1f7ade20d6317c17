"""What one measuring process is asked to do; arrives as one JSON object on its standard input."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from .errors import HarnessError
from .loop import Plan


@dataclass(frozen=True)
class EvaluateSpec:
    """Which sessions to evaluate after timing, on which pack, and against which reference outputs."""

    pack: Path
    preprocess: Dict[str, Any]
    references: Dict[str, Path]

    @classmethod
    def from_dict(cls, record: Dict[str, Any]) -> EvaluateSpec:
        return cls(
            pack=Path(record["pack"]),
            preprocess=dict(record["preprocess"]),
            references={str(name): Path(path) for name, path in record["references"].items()},
        )


@dataclass(frozen=True)
class CalibrationSpec:
    """The images that a precision is calibrated on: a pack like that of the evaluation, and its preprocessing."""

    pack: Path
    preprocess: Dict[str, Any]

    @classmethod
    def from_dict(cls, record: Dict[str, Any]) -> CalibrationSpec:
        return cls(pack=Path(record["pack"]), preprocess=dict(record["preprocess"]))


@dataclass(frozen=True)
class ExtrasSpec:
    """Passes after the timing, of which sessions, and how long: nothing of a pass whose time is 0."""

    sessions: Tuple[str, ...]
    batches: Tuple[int, ...] = ()
    throughput_s: float = 0.0
    energy_s: float = 0.0

    @classmethod
    def from_dict(cls, record: Dict[str, Any]) -> ExtrasSpec:
        return cls(
            sessions=tuple(str(name) for name in record["sessions"]),
            batches=tuple(int(batch) for batch in record.get("batches", ())),
            throughput_s=float(record.get("throughput_s", 0.0)),
            energy_s=float(record.get("energy_s", 0.0)),
        )


@dataclass(frozen=True)
class Spec:
    """Networks to load together and to time interleaved, and where to leave the samples.

    `cache` is a folder that outlives the task, for what a backend keeps.
    """

    backend: str
    precision: str
    threads: int
    shape: Tuple[int, ...]
    networks: Dict[str, Path]
    plan: Plan
    seed: int
    folder: Path
    evaluate: Optional[EvaluateSpec]
    extras: Optional[ExtrasSpec] = None
    calibration: Optional[CalibrationSpec] = None
    settings: Dict[str, Any] = field(default_factory=dict)
    cache: Optional[Path] = None
    root: str = "/"

    @classmethod
    def from_dict(cls, record: Dict[str, Any]) -> Spec:
        """Read a spec; raises HarnessError for fields that are missing or of another shape."""
        try:
            evaluate, extras, calibration = (record.get(name) for name in ("evaluate", "extras", "calibration"))
            return cls(
                backend=str(record["backend"]),
                precision=str(record["precision"]),
                threads=int(record["threads"]),
                shape=tuple(int(size) for size in record["shape"]),
                networks={str(name): Path(path) for name, path in record["networks"].items()},
                plan=Plan(**{field.name: record["plan"][field.name] for field in fields(Plan)}),
                seed=int(record["seed"]),
                folder=Path(record["folder"]),
                evaluate=None if evaluate is None else EvaluateSpec.from_dict(evaluate),
                extras=None if extras is None else ExtrasSpec.from_dict(extras),
                calibration=None if calibration is None else CalibrationSpec.from_dict(calibration),
                settings=dict(record.get("settings", {})),
                cache=None if record.get("cache") is None else Path(record["cache"]),
                root=str(record.get("root", "/")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HarnessError(
                "bad_input",
                "the harness's spec is broken: %s: %s" % (type(error).__name__, error),
                value=str(record)[:200],
            ) from error
