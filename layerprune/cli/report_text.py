"""A device report, to read: as plain text, and as a page over several reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..proof import PROVEN_HERE, all_problems, make_class, problems, sensor_problems

if TYPE_CHECKING:
    from ..api.device_reports import BackendCheck, DeviceReport, NetworkCheck

SHOWN_FACTS = ("device_model", "os", "architecture", "cpus", "usable_cpus", "jetpack", "l4t", "emulated")


def text_of(report: DeviceReport) -> str:
    """Write a report as text of short lines."""
    lines = [f"Device check of {day(report.made_at)}, {report.seconds:.0f} s, layerprune {report.layerprune}", ""]
    facts = {**{name: report.facts[name] for name in SHOWN_FACTS if name in report.facts}, "kind": report.kind}
    lines += [f"  {name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    for backend in report.backends:
        verdict = "passed" if not problems(backend) else "FAILED"
        lines += ["", f"{backend.backend} {backend.version} on {backend.device_model}: {verdict}"]
        lines += [f"  {network_line(check)}" for check in backend.networks]
        lines += [f"  {note}" for note in backend.notes]
    lines += ["", "Sensors" if report.sensors else "Sensors: none"]
    for sensor in report.sensors:
        said = sensor.problem or short({**sensor.policy, **sensor.values}) or "says nothing here"
        lines.append(f"  {sensor.name}: {said}")
    lines.append(f"  energy: {energy_line(report)}")
    found = all_problems(report)
    lines += ["", "Nothing is wrong." if not found else "What is wrong, and what to do:"]
    lines += [f"  {problem.where}: {problem.message}. {problem.remedy}" for problem in found]
    return "\n".join(lines) + "\n"


def network_line(check: NetworkCheck) -> str:
    """Say in a line what became of a network."""
    timing = check.timing
    if timing is None:
        return f"{check.network}: {check.failure.message if check.failure else 'not timed'}"
    line = (
        f"{check.network}: {timing.p50_ns / 1e6:.3f} ms, outputs off by {timing.max_relative_difference:.1e}, "
        f"against itself {timing.aa.value:.4f} ({timing.aa.ci_low:.4f} to {timing.aa.ci_high:.4f})"
    )
    if check.repeated:
        line += ", second try"
    if check.trtexec is not None:
        gap = check.trtexec.ours_p50_ns / check.trtexec.p50_ns - 1
        line += f", {gap:+.1%} off trtexec {check.trtexec.version}"
    flags = [flag for flag in timing.flags if flag != "single_process"]
    return line + (f" [{', '.join(flags)}]" if flags else "")


def energy_line(report: DeviceReport) -> str:
    if report.energy is None:
        return "no meter that can be read"
    watts = report.energy.millijoules / report.energy.seconds / 1000
    return f"{watts:.1f} W at rest, by {report.energy.source}"


def page_of(reports: Sequence[DeviceReport], known: Sequence[str]) -> str:
    """Write the page that says what has been run where; `known` are all runtimes that there are."""
    rows, unproven = [], set(known)
    for report in sorted(reports, key=lambda report: report.made_at):
        spoilt = sensor_problems(report)
        for backend in report.backends:
            passed = not problems(backend) and not spoilt
            if passed:
                unproven.discard(backend.backend)
            rows.append(_row(report, backend, passed=passed))
    lines = [
        "| date | device | system | runtime | passed | p50 of the three networks, ms | A/A | largest difference |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Not proven by this project, and so not ranked before you upload a report of your own: "
        + (", ".join(f"`{name}`" for name in sorted(unproven)) or "nothing")
        + ".",
        "",
        "Ranked without a report, because of the rows above: " + ", ".join(f"`{name}`" for name in PROVEN_HERE) + ".",
    ]
    return "\n".join(lines) + "\n"


def _row(report: DeviceReport, backend: BackendCheck, *, passed: bool) -> str:
    timings = [check.timing for check in backend.networks if check.timing is not None]
    found = make_class(backend.device_model, backend.backend, backend.version)
    worst = max((abs(math.log(timing.aa.value)) for timing in timings), default=math.nan)
    cells = [
        day(report.made_at),
        found.device_model,
        f"{report.facts.get('os', '?')}, {report.facts.get('usable_cpus', '?')} processors",
        f"`{backend.backend}` {backend.version}",
        "yes" if passed else "no",
        ", ".join(f"{timing.p50_ns / 1e6:.3f}" for timing in timings) or "none",
        f"{worst:.2%}" if timings else "none",
        f"{max(timing.max_relative_difference for timing in timings):.0e}" if timings else "none",
    ]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def day(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, tz=timezone.utc).strftime("%Y-%m-%d")


def short(values: Mapping[str, Any]) -> str:
    """Write nested readings in a row, without what is unknown."""
    parts = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = short(value)
            parts += [f"{name} ({inner})"] if inner else []
        elif isinstance(value, list):
            parts += [f"{name} {len(value)} values"] if len(value) > 4 else [f"{name} {'/'.join(map(str, value))}"]
        elif value is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)
