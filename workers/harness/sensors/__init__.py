"""What tells about the hardware while something is timed: processors, NVIDIA GPUs, Jetson boards."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Sequence

from ..errors import HarnessError
from ..files import Files
from .base import Sensor
from .emulation import emulated_on
from .jetson import JetsonSensor, is_jetson
from .l4t import release
from .nvml import NvmlSensor, find_nvml
from .thermal import ProcessorSensor

__all__ = ["Sensor", "check_free", "device_kind", "facts", "find_sensors"]

NVIDIA_DRIVER = "/proc/driver/nvidia/gpus/*"


def find_sensors(root: str = "/", *, gpu: bool = True) -> List[Sensor]:
    """Return the sensors of this machine; `gpu` is False when what is timed does not run on a GPU.

    A driver of a GPU that is not used must not keep two latencies from being compared. A Jetson is one whole: its power
    mode holds for its processors, too.
    """
    files, cpus = Files(root), sorted(os.sched_getaffinity(0))
    jetson = is_jetson(files)
    sensors: List[Sensor] = [JetsonSensor(files, cpus) if jetson else ProcessorSensor(files, cpus)]
    nvml = find_nvml() if gpu else None
    if nvml is not None:
        sensors += [NvmlSensor(nvml, handle, is_on_board=jetson) for handle in nvml.gpus()[:1]]
    return sensors


def check_free(sensors: Sequence[Sensor]) -> None:
    """Refuse to measure on a device that somebody else uses; call it before this process uses the device.

    Raises HarnessError with code `infra`, naming the processes.
    """
    users = [user for sensor in sensors for user in sensor.users()]
    if users:
        names = ", ".join(
            user.name if user.pid is None else "%s (process %d)" % (user.name, user.pid) for user in users
        )
        raise HarnessError(
            "infra",
            "somebody else computes on this device: %s" % names,
            value=[user.pid for user in users],
            remedy="Stop it, or give the worker a GPU of its own with CUDA_VISIBLE_DEVICES, then start the task again.",
        )


def device_kind(root: str = "/") -> str:
    """Say what kind of device this is: cpu, gpu or jetson."""
    files = Files(root)
    if is_jetson(files):
        return "jetson"
    if files.find(NVIDIA_DRIVER):
        return "gpu"
    nvml = find_nvml()
    return "gpu" if nvml is not None and nvml.gpus() else "cpu"


def facts(root: str = "/") -> Dict[str, Any]:
    """Return what there is to know about this hardware beside its processor.

    `emulated` names the real architecture, only where a program in software plays this one.
    """
    files = Files(root)
    found: Dict[str, Any] = {"kind": device_kind(root)}
    real = emulated_on(files)
    if real is not None:
        found["emulated"] = real
    system = release(files)
    if system is not None:
        found.update(l4t=system.release, jetpack=system.jetpack)
    policies = {sensor.name: sensor.policy() for sensor in find_sensors(root)}
    found["policies"] = {name: policy for name, policy in policies.items() if policy}
    return found
