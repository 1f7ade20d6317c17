"""Which runtimes on which hardware are proven, and what a device report proves: one rule for boards, server and docs.

A *class* is a device model, a runtime, and the first two numbers of the runtime's version: code paths, kernels and
clocks change with these. Precision, batch and threads are no part of it, because every measured session's outputs are
compared with references of its own.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerprune.api.device_reports import NETWORKS, BackendCheck, DeviceReport, NetworkCheck, NetworkTiming, Problem
from layerprune.api.errors import BadInput
from layerprune.api.wire import Ratio
from layerprune.samples import SampleSet, decode, encode
from layerprune.stats import RatioEstimate, median_ns, ratio, ratio_flags

PROVEN_HERE = ("onnxruntime", "openvino", "torch")
"""Runtimes on a processor that need no report, because the project's own are in docs/hardware."""
SYNTHETIC = "null"
"""Computes nothing, so that there is nothing to prove; it is never ranked."""
MAX_TRTEXEC_DIFFERENCE = 0.02
SEED = 0
FLAG = "unproven_backend"


@dataclass(frozen=True, order=True)
class DeviceClass:
    """Devices of which one report speaks for all."""

    device_model: str
    backend: str
    version: str

    def __str__(self) -> str:
        return f"{self.backend} {self.version} on {self.device_model}"


def class_of(conditions: Mapping[str, Any]) -> DeviceClass:
    """Return the class that a measurement's conditions belong to."""
    backend = conditions.get("backend") or conditions.get("runtime") or ""
    return make_class(str(conditions.get("device_model", "")), str(backend), str(conditions.get("runtime_version", "")))


def make_class(device_model: str, backend: str, version: str) -> DeviceClass:
    """Return the class of a runtime's version on a device."""
    return DeviceClass(device_model, backend, ".".join(version.split(".")[:2]))


def needs_report(backend: str) -> bool:
    """Say whether rows of a runtime are ranked only once a report has proven their class."""
    return backend not in (*PROVEN_HERE, SYNTHETIC)


def remedy(backend: str, device: str) -> str:
    """Say how a runtime on a device becomes proven."""
    return f"Run on it: layerprune device check --backend {backend} --upload --device {device}"


def pack(samples: SampleSet) -> str:
    """Write samples for a report."""
    return base64.b64encode(encode(samples)).decode("ascii")


def unpack(text: str) -> SampleSet:
    """Read a report's samples; raises BadInput."""
    try:
        return decode(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise BadInput("samples are not base64", field="samples", value=text[:40]) from error


def self_ratio(samples: SampleSet, again: SampleSet) -> Ratio:
    """Compare a network with itself."""
    found = ratio(again, samples, seed=SEED)
    return Ratio(value=found.value, ci_low=found.ci_low, ci_high=found.ci_high)


def is_off(aa: Ratio) -> bool:
    """Say whether a network did not come out as fast as itself, by the rule of the flag `aa_off`."""
    found = RatioEstimate(aa.value, aa.ci_low, aa.ci_high, aa.value, 1)
    return "aa_off" in ratio_flags(found, found)


def check_numbers(report: DeviceReport) -> None:
    """Derive every number from its samples; raises BadInput for one that they do not bear out, or another runtime's."""
    for i, backend in enumerate(report.backends):
        names = [check.network for check in backend.networks]
        if len(set(names)) < len(names):
            raise BadInput("a network is there twice", field=f"backends.{i}.networks", value=names)
        claimed = make_class(backend.device_model, backend.backend, backend.version)
        if backend.conditions and class_of(backend.conditions) != claimed:
            raise BadInput(
                f"the report speaks of {claimed}, its conditions of {class_of(backend.conditions)}",
                field=f"backends.{i}.conditions",
                value=str(class_of(backend.conditions)),
            )
        for check in backend.networks:
            if check.timing is not None:
                _check_timing(check.timing, f"backends.{i}.networks.{check.network}")


def _check_timing(timing: NetworkTiming, where: str) -> None:
    samples, again = unpack(timing.samples), unpack(timing.aa_samples)
    derived, claimed = self_ratio(samples, again), timing.aa
    close = all(
        math.isclose(getattr(derived, name), getattr(claimed, name), rel_tol=1e-9)
        for name in ("value", "ci_low", "ci_high")
    )
    if median_ns(samples) != timing.p50_ns or not close:
        raise BadInput(
            f"p50 is claimed to be {timing.p50_ns} ns and the ratio to itself {claimed.value:.4f}; the samples say "
            f"{median_ns(samples)} ns and {derived.value:.4f}",
            field=where,
            value=timing.p50_ns,
            remedy="Send the report as 'layerprune device check' wrote it.",
        )
    if timing.correct > timing.n:
        raise BadInput(f"{timing.correct} of {timing.n} answers are right", field=where, value=timing.correct)


def all_problems(report: DeviceReport) -> list[Problem]:
    """List everything that is wrong with the machine, runtime by runtime."""
    of_backends = [problem for backend in report.backends for problem in problems(backend)]
    return [*sensor_problems(report), *of_backends]


def sensor_problems(report: DeviceReport) -> list[Problem]:
    """List the sensors that are there and cannot be read: throttling would pass unseen, so they spoil every runtime."""
    return [
        Problem(
            where=sensor.name,
            message=f"the sensor cannot be read: {sensor.problem}",
            remedy="Let the worker's user read it; docs/hardware.md says what each sensor needs.",
        )
        for sensor in report.sensors
        if sensor.problem
    ]


def problems(backend: BackendCheck) -> list[Problem]:
    """List what keeps a runtime from being proven; none means that it has passed."""
    done = {check.network: check for check in backend.networks}
    found = []
    for name in NETWORKS:
        where = f"{backend.backend}: {name}"
        if name not in done:
            found.append(Problem(where=where, message="was not checked", remedy="Run the check to its end."))
        else:
            found += [Problem(where=where, message=said, remedy=told) for said, told in _defects(done[name])]
    return found


def _defects(check: NetworkCheck) -> list[tuple[str, str]]:
    timing, failure = check.timing, check.failure
    if timing is None:
        told = failure.remedy if failure else ""
        return [(failure.message if failure else "was not timed", told or "Mend what the message names.")]
    found = []
    if not timing.agrees or timing.correct < timing.n:
        found.append(
            (
                f"outputs differ from the reference by {timing.max_relative_difference:.2g} of its largest value, "
                f"{timing.correct} of {timing.n} answers are the same",
                "Do not measure with this runtime; try another version of it.",
            )
        )
    if is_off(timing.aa):
        found.append(
            (
                f"timed against itself it takes {timing.aa.value:.3f} times as long "
                f"({timing.aa.ci_low:.3f} to {timing.aa.ci_high:.3f}), twice",
                "Stop what else runs on the machine, fix its clocks, and check again; 'layerprune noise' says more.",
            )
        )
    if check.trtexec_failure is not None:
        found.append((check.trtexec_failure.message, check.trtexec_failure.remedy or "Mend trtexec, or remove it."))
    if check.trtexec is not None:
        gap = check.trtexec.ours_p50_ns / check.trtexec.p50_ns - 1
        if abs(gap) > MAX_TRTEXEC_DIFFERENCE:
            found.append(
                (
                    f"the median is {gap:+.1%} off trtexec {check.trtexec.version}'s, {MAX_TRTEXEC_DIFFERENCE:.0%} is "
                    "allowed",
                    "Fix the clocks (nvidia-smi -lgc, jetson_clocks) and check again.",
                )
            )
    return found


def timing_of(samples: SampleSet, again: SampleSet, accuracy: Mapping[str, Any], **more: Any) -> NetworkTiming:
    """Put one network's timing together; `accuracy` is what the harness says of the session."""
    answered = {name: accuracy[name] for name in ("correct", "n", "max_relative_difference", "agrees")}
    return NetworkTiming(
        p50_ns=median_ns(samples),
        aa=self_ratio(samples, again),
        samples=pack(samples),
        aa_samples=pack(again),
        **answered,
        **more,
    )
