"""What makes a machine noisy, read from the machine and from a run on it, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..api.wire import Wire

if TYPE_CHECKING:
    from workers.harness.host import Host

    from .neighbours import Neighbour

Grade = Literal["good", "fair", "bad", "unknown"]
Observed = Sequence[dict[str, Any]]
"""What each measuring process saw, see workers.harness.conditions.observe."""

SPREAD_OF_CLOCKS = 0.05
STEAL_NOTICED = 0.001
VIRTUAL = "A virtual machine shares its processors: use one with dedicated processors, or bare metal."


class Finding(Wire):
    """One property of the machine; `advice` is empty where nothing is to be changed."""

    what: str
    seen: str
    grade: Grade
    advice: str = ""


def findings(host: Host, observed: Observed, neighbours: Sequence[Neighbour]) -> list[Finding]:
    """Grade the machine; what it does not say is `unknown`."""
    return [
        _foreign_load(observed, neighbours),
        _steal(observed),
        _quota(host, observed),
        *_waiting(observed),
        _throttling(observed),
        *_clocks(host, observed),
        _siblings(host),
        _virtual(host),
    ]


def _foreign_load(observed: Observed, neighbours: Sequence[Neighbour]) -> Finding:
    from workers.harness.conditions import FOREIGN_CPUS, FOREIGN_SHARE

    shares = _seen(observed, "foreign_cpus")
    if not shares:
        return Finding(what="foreign load", seen="not shown by this system", grade="unknown")
    mean = sum(shares) / len(shares)
    limit = max(FOREIGN_CPUS, FOREIGN_SHARE * float(observed[0]["usable_cpus"]))
    if mean <= limit:
        return Finding(what="foreign load", seen=f"{mean:.2f} processors", grade="good")
    names = ", ".join(f"{one.name} (process {one.pid}, {one.cpus:.2f})" for one in neighbours)
    advice = f"Stop {names}." if names else "Stop what runs in short processes or in other containers on this machine."
    return Finding(what="foreign load", seen=f"{mean:.2f} processors", grade="bad", advice=advice)


def _steal(observed: Observed) -> Finding:
    from workers.harness.conditions import STEAL_SHARE

    shares = _seen(observed, "steal_share")
    if not shares:
        return Finding(what="steal", seen="not shown by this system", grade="unknown")
    worst = max(shares)
    grade: Grade = "bad" if worst > STEAL_SHARE else "fair" if worst > STEAL_NOTICED else "good"
    advice = "" if grade == "good" else f"The hypervisor takes processor time away. {VIRTUAL}"
    return Finding(what="steal", seen=f"{worst:.2%} of the time", grade=grade, advice=advice)


def _quota(host: Host, observed: Observed) -> Finding:
    quota, throttled = host.quota_cpus(), sum(_seen(observed, "throttled_periods"))
    if throttled:
        return Finding(
            what="CPU quota",
            seen=f"out of quota {throttled:.0f} times",
            grade="bad",
            advice="Raise the container's CPU quota, or measure with fewer threads.",
        )
    if quota is not None and quota[0] < len(host.cpus):
        return Finding(
            what="CPU quota",
            seen=f"{quota[0]:g} processors by {quota[1]}",
            grade="fair",
            advice="Give the container whole processors instead: docker run --cpuset-cpus.",
        )
    return Finding(what="CPU quota", seen="none", grade="good")


def _waiting(observed: Observed) -> Iterator[Finding]:
    from workers.harness.conditions import STALL_SHARE, SWITCHES_PER_S

    if stalls := _seen(observed, "stall_share"):
        is_bad = max(stalls) > STALL_SHARE
        advice = "Leave more processors free than the threads that are measured." if is_bad else ""
        seen = f"tasks waited {max(stalls):.1%} of the time"
        yield Finding(what="pressure", seen=seen, grade="bad" if is_bad else "good", advice=advice)
    rates = [one["involuntary_switches"] / max(one["window_s"], 0.1) for one in observed]
    if rates:
        is_bad = max(rates) > SWITCHES_PER_S
        advice = (
            "Something else wants the same processors: stop it, or pin it elsewhere with taskset." if is_bad else ""
        )
        seen = f"{max(rates):.1f} a second"
        yield Finding(what="involuntary switches", seen=seen, grade="bad" if is_bad else "good", advice=advice)


def _throttling(observed: Observed) -> Finding:
    flags = sorted({flag for one in observed for flag in one.get("sensors", {}).get("flags", [])})
    hot = any(one.get("hot") for one in observed)
    if not flags and not hot:
        return Finding(what="throttling", seen="none", grade="good")
    return Finding(
        what="throttling",
        seen=", ".join([*flags, *(["started hot"] if hot else [])]),
        grade="bad",
        advice="Cool the machine better, raise its power limit, or fix lower clocks.",
    )


def _clocks(host: Host, observed: Observed) -> Iterator[Finding]:
    policy = host.clock_policy()
    governor, boost = policy["governor"], policy["boost"]
    if governor == "unknown":
        yield Finding(what="governor", seen="not shown by this system", grade="unknown")
    else:
        is_good = governor == "performance"
        advice = "" if is_good else "sudo cpupower frequency-set -g performance"
        yield Finding(what="governor", seen=str(governor), grade="good" if is_good else "bad", advice=advice)
    if boost == "1":
        advice = "Turbo clocks follow heat and load. For steady numbers switch them off: " + _boost_switch(host)
        yield Finding(what="turbo", seen="on", grade="fair", advice=advice)
    elif boost == "0":
        yield Finding(what="turbo", seen="off", grade="good")
    clocks = [max(one["frequencies_mhz"]) for one in observed if one.get("frequencies_mhz")]
    if len(clocks) > 1:
        spread = 1 - min(clocks) / max(clocks)
        is_bad = spread > SPREAD_OF_CLOCKS
        seen = f"{min(clocks)} to {max(clocks)} MHz"
        advice = "Fix the clocks: sudo cpupower frequency-set -d F -u F" if is_bad else ""
        yield Finding(what="clocks", seen=seen, grade="bad" if is_bad else "good", advice=advice)


def _boost_switch(host: Host) -> str:
    if host.read("/sys/devices/system/cpu/intel_pstate/no_turbo") is not None:
        return "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"
    return "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"


def _siblings(host: Host) -> Finding:
    active = host.read("/sys/devices/system/cpu/smt/active")
    if active is None:
        return Finding(what="hyper-threading", seen="not shown by this system", grade="unknown")
    if active != "1":
        return Finding(what="hyper-threading", seen="off", grade="good")
    return Finding(
        what="hyper-threading",
        seen="on: two processors share a core",
        grade="fair",
        advice="Measure with at most half as many threads as processors, or: "
        "echo off | sudo tee /sys/devices/system/cpu/smt/control",
    )


def _virtual(host: Host) -> Finding:
    vendor, product = (host.read(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    named = " ".join(part for part in (vendor, product) if part)
    flags = {
        word for line in (host.read("/proc/cpuinfo") or "").splitlines() if "flags" in line for word in line.split()
    }
    if "hypervisor" in flags:
        return Finding(what="virtual machine", seen=named or "yes", grade="fair", advice=VIRTUAL)
    return Finding(what="virtual machine", seen="no", grade="good")


def _seen(observed: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [float(one[name]) for one in observed if one.get(name) is not None]
