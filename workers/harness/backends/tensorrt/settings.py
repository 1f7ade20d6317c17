"""The settings of the two backends: what a condition may ask for, checked, with defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Optional

from ...errors import HarnessError
from .compat import Library

MAX_BUILDS, MAX_LEVEL = 8, 5


@dataclass(frozen=True)
class Settings:
    """What changes an engine or how it is run.

    `cuda_graph`: replay a recorded graph instead of handing over kernel by kernel. `transfers`: copying the input in
    and the output out is part of what is timed. `builds`: so many engines are built of one network and take turns,
    because two builds may choose different kernels. `tf32`: multiply float32 with 10 bits of mantissa where the GPU
    can, as TensorRT does by itself. `dla`: the DLA core to use.
    """

    typing: str
    cuda_graph: bool = True
    transfers: bool = False
    builds: int = 1
    tf32: bool = True
    optimization_level: Optional[int] = None
    dla: Optional[int] = None

    @classmethod
    def read(cls, asked: Dict[str, Any], library: Library) -> Settings:
        """Check what was asked for; raises HarnessError for unknown names and values that cannot be."""
        found: Dict[str, Any] = {"typing": library.typings[0]}
        for name, value in asked.items():
            _check(name, value, library)
            found[name] = value
        return cls(**found)

    def flags(self) -> Dict[str, Any]:
        """Return all of them as they are part of the conditions; what is left to the library is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NAMES = ("typing", "cuda_graph", "transfers", "builds", "tf32", "optimization_level", "dla")
RANGES = {"builds": range(1, MAX_BUILDS + 1), "optimization_level": range(MAX_LEVEL + 1), "dla": range(8)}


def _check(name: str, value: Any, library: Library) -> None:
    if name not in NAMES:
        raise HarnessError(
            "bad_input",
            "%s has no setting %r; it has: %s" % (library.name, name, ", ".join(NAMES)),
            value=name,
            remedy="Leave it out, or correct its name.",
        )
    if name == "typing":
        good, known = value in library.typings, " or ".join(library.typings)
    elif name in RANGES:
        good = type(value) is int and value in RANGES[name]
        known = "an integer from %d to %d" % (RANGES[name][0], RANGES[name][-1])
    else:
        good, known = isinstance(value, bool), "true or false"
    if not good:
        raise HarnessError(
            "bad_input",
            "the setting %s of %s %s is %r; it can be %s" % (name, library.name, library.version, value, known),
            value=value,
            remedy="Set it to one of these, or leave it out.",
        )
