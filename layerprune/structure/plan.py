"""A plan: which layers or which filters go, as data that replays on the same architecture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from layerprune.api.errors import BadInput

FORMAT = "layerprune-plan-1"


@dataclass(frozen=True)
class Plan:
    """An edit of one architecture: layers go first, then channels of what is left.

    ``remove`` names layers in forward order. ``prune`` holds (module, indices) pairs: output channels of the module
    that go, with everything that is coupled to them; the module leads its group (structure.channels) in the network
    without the removed layers, so nothing that went with a layer is named. All names and numbers are those of the base.
    ``outline`` (structure.architecture.outline) describes the base to a reader, so that a misfit can be named; it may
    be left out.
    """

    method: Literal["layer", "filter", "hybrid"]
    criterion: str
    base_architecture: str
    remove: tuple[str, ...] = ()
    prune: tuple[tuple[str, tuple[int, ...]], ...] = ()
    alignment: int = 1
    scope: Literal["uniform", "global"] | None = None
    min_channels: int = 1
    outline: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.method in ("layer", "filter", "hybrid"), "method", self.method, "is 'layer', 'filter' or 'hybrid'")
        _check(self.method != "filter" or not self.remove, "remove", list(self.remove), "is empty for method 'filter'")
        _check(self.method != "layer" or not self.prune, "prune", list(self.prune), "is empty for method 'layer'")
        _check(self.scope in (None, "uniform", "global"), "scope", self.scope, "is 'uniform', 'global' or null")
        for name in ("criterion", "base_architecture"):
            _check(isinstance(getattr(self, name), str), name, getattr(self, name), "is a text")
        for name in ("alignment", "min_channels"):
            _check(
                _is_count(getattr(self, name), least=1), name, getattr(self, name), "is a whole number of at least 1"
            )
        _check(all(isinstance(line, str) for line in self.outline), "outline", list(self.outline), "is a list of texts")
        _check(
            all(isinstance(name, str) for name in self.remove) and len(set(self.remove)) == len(self.remove),
            "remove",
            list(self.remove),
            "lists names of layers, each once",
        )
        for module, gone in self.prune:
            _check(
                isinstance(module, str) and all(_is_count(index) for index in gone) and list(gone) == sorted(set(gone)),
                f"prune.{module}",
                list(gone),
                "lists channel numbers in rising order, each once",
            )

    @property
    def is_empty(self) -> bool:
        """True when applying the plan changes nothing."""
        return not self.remove and not any(gone for _, gone in self.prune)

    @property
    def hash(self) -> str:
        """SHA-256 of the edit itself: plans of two criteria that pick the same things have the same hash."""
        edit = {key: value for key, value in self.to_dict().items() if key not in ("criterion", "outline")}
        return hashlib.sha256(json.dumps(edit, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON's types."""
        plain = {
            **asdict(self),
            "remove": list(self.remove),
            "prune": [[name, list(gone)] for name, gone in self.prune],
            "outline": list(self.outline),
        }
        if not self.outline:
            del plain["outline"]
        return {"format": FORMAT, **plain}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Read what ``to_dict`` wrote. Raises BadInput that names the field."""
        _check(isinstance(data, Mapping), "plan", data, "is a JSON object")
        _check(data.get("format") == FORMAT, "format", data.get("format"), f"is {FORMAT!r}")
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known - {"format"})
        _check(not unknown, ", ".join(unknown), None, "is not part of a plan")
        missing = sorted({"method", "criterion", "base_architecture"} - set(data))
        _check(not missing, ", ".join(missing), None, "is missing")
        values = {key: value for key, value in data.items() if key != "format"}
        remove, prune, outline = (values.get(name, []) for name in ("remove", "prune", "outline"))
        _check(isinstance(remove, list), "remove", remove, "is a list")
        _check(isinstance(outline, list), "outline", outline, "is a list")
        _check(
            isinstance(prune, list)
            and all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], list) for pair in prune),
            "prune",
            prune,
            "is a list of pairs [module, [channel, ...]]",
        )
        values["remove"], values["outline"] = tuple(remove), tuple(outline)
        values["prune"] = tuple((module, tuple(gone)) for module, gone in prune)
        return cls(**values)


def _is_count(value: object, *, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        shown = "" if value is None else f", not {value!r:.200}"
        raise BadInput(
            f"plan: {field} {rule}{shown}",
            field=f"plan.{field}",
            value=value,
            remedy="Use a plan as it was written by this version, unchanged.",
        )
