"""What one measuring process is asked to do; arrives as one JSON object on its standard input."""

from __future__ import annotations

from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class Spec:
    """Networks to load together and to time interleaved, and where to leave the samples."""

    backend: str
    precision: str
    threads: int
    shape: Tuple[int, ...]
    networks: Dict[str, Path]
    plan: Plan
    seed: int
    folder: Path
    evaluate: Optional[EvaluateSpec]
    root: str = "/"

    @classmethod
    def from_dict(cls, record: Dict[str, Any]) -> Spec:
        """Read a spec; raises HarnessError for fields that are missing or of another shape."""
        try:
            wanted = record.get("evaluate")
            return cls(
                backend=str(record["backend"]),
                precision=str(record["precision"]),
                threads=int(record["threads"]),
                shape=tuple(int(size) for size in record["shape"]),
                networks={str(name): Path(path) for name, path in record["networks"].items()},
                plan=Plan(**{field.name: record["plan"][field.name] for field in fields(Plan)}),
                seed=int(record["seed"]),
                folder=Path(record["folder"]),
                evaluate=None
                if wanted is None
                else EvaluateSpec(
                    pack=Path(wanted["pack"]),
                    preprocess=dict(wanted["preprocess"]),
                    references={str(name): Path(path) for name, path in wanted["references"].items()},
                ),
                root=str(record.get("root", "/")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HarnessError(
                "bad_input",
                "the harness's spec is broken: %s: %s" % (type(error).__name__, error),
                value=str(record)[:200],
            ) from error
