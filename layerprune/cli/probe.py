"""The `probe` command: what this machine is and what it can measure with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..api.errors import BadInput
from ..api.wire import Wire
from .measure import BACKEND, Python
from .network_shapes import check_backend
from .options import Json
from .output import console, print_json, table
from .timed_files import check_python, working_folder

if TYPE_CHECKING:
    from rich.console import Console

NULL = "null"
"""It takes as long as it is told, which nobody wants to know of a machine."""


class Runtime(Wire):
    """A runtime that is installed."""

    name: str
    version: str
    precisions: list[str]
    max_opset: int
    max_threads: int


class ProbeReport(Wire):
    """What was found; `missing` says of each known runtime that is not installed why not."""

    facts: dict[str, Any]
    backends: list[Runtime]
    missing: dict[str, str]
    sensors: dict[str, dict[str, Any]]
    energy: str | None


def probe(python: Python = None, as_json: Json = False) -> None:
    """Say what this machine is, which runtimes it has and for what, its limits, its sensors and how energy is read.

    Example: `layerprune probe --python /usr/bin/python3`
    """
    check_python(python)
    report = described(python)
    if as_json:
        print_json(report)
    else:
        _print(console(), report)


def described(python: str | None) -> ProbeReport:
    """Ask a measuring process, under that interpreter, what it finds."""
    from workers.tasks.harness import run_harness

    with working_folder() as folder:
        found = run_harness({"describe": True}, log=folder / "log.txt", python=python)
    return ProbeReport.model_validate(
        {
            "facts": found["facts"],
            "backends": [
                {name: one[name] for name in Runtime.model_fields} for one in found["backends"] if one["name"] != NULL
            ],
            **{name: found[name] for name in ("missing", "sensors", "energy")},
        }
    )


def installed(python: str | None, wanted: str | None) -> str:
    """Return the runtime that is asked for, or one that is installed; raises BadInput if there is none."""
    if wanted is not None:
        check_backend(wanted)
        return wanted
    names = [one.name for one in described(python).backends]
    if not names:
        raise BadInput(
            "no runtime is installed here",
            field="backend",
            value=None,
            remedy="Install one, such as: pip install 'layerprune[onnxruntime]'; or name an interpreter with --python.",
        )
    return BACKEND if BACKEND in names else names[0]


def _print(out: Console, report: ProbeReport) -> None:
    facts = report.facts
    out.print(f"{facts['device_model']}, {facts['cpus']} processors, {facts['architecture']}, {facts['os']}")
    policy = ", ".join(f"{name} {value}" for name, value in facts["clock_policy"].items())
    memory = f"{facts['memory_bytes'] / 2**30:.1f} GiB of memory, " if facts.get("memory_bytes") else ""
    out.print(f"{memory}at most {facts['max_threads']} threads at once, clocks: {policy}")
    shown = table("runtime", "version", "precisions", "opset up to", right=["opset up to"], whole=["version"])
    for one in report.backends:
        shown.add_row(one.name, one.version, ", ".join(one.precisions), str(one.max_opset))
    for name, why in report.missing.items():
        shown.add_row(name, "not here", why, "", style="dim")
    out.print(shown)
    for name, about in report.sensors.items():
        out.print(f"sensor {name}: {_short(about)}", soft_wrap=True)
    out.print(f"energy: {report.energy or 'this machine has no meter that can be read'}")


def _short(about: dict[str, Any]) -> str:
    told = {**about["policy"], **about["now"]}
    return ", ".join(f"{name} {value}" for name, value in told.items()) or "nothing to tell"
