"""An NVIDIA GPU, through NVML (the package nvidia-ml-py, if it is installed and a driver runs)."""

from __future__ import annotations

import importlib
import os
from typing import Any, Dict, List, Optional

from .base import User, readable

THROTTLING = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake": 0x80,
}
"""Reasons in nvml.h (nvmlClocksEventReason...) for clocks that are lower than they could be. The others are idleness,
settings of the user, and synchronised boards."""
VIOLATIONS = {"power": 0, "thermal": 1}
"""nvmlPerfPolicyType_t: how long, in ns since the driver was loaded, a limit has held the clocks down."""
CLOCK_SM, CLOCK_ID_APP_TARGET, CLOCK_ID_APP_DEFAULT, TEMPERATURE_GPU = 1, 1, 2, 0
LEAST_SHARE_OF_FIXED, LEAST_SHARE_OF_START = 0.98, 0.95
"""`clock_drop`: below this share of the fixed clock, or of the clock at the start if it is not fixed."""


class Nvml:
    """NVML's functions, of which every driver and every card has some: a missing answer is None."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def ask(self, *names: str, args: Any = ()) -> Any:
        """Return the answer of the first of these functions that package, driver and card all have."""
        for name in names:
            call = getattr(self._module, name, None)
            if call is None:
                continue
            try:
                return call(*args)
            except self._module.NVMLError:
                continue
        return None

    def gpus(self) -> List[Any]:
        """Return the handles of the GPUs that CUDA may use here, in CUDA's order.

        CUDA_VISIBLE_DEVICES may name them by UUID or by number; numbers are taken as those of nvidia-smi, which are
        CUDA's, too, if CUDA_DEVICE_ORDER is PCI_BUS_ID or all cards are alike.
        """
        count = self.ask("nvmlDeviceGetCount") or 0
        handles = [self.ask("nvmlDeviceGetHandleByIndex", args=(i,)) for i in range(count)]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            return [handle for handle in handles if handle is not None]
        chosen = []
        for name in (part.strip() for part in visible.split(",")):
            if name.isdigit():
                handle = handles[int(name)] if int(name) < count else None
            else:
                handle = next((h for h in handles if h is not None and self._is_named(h, name)), None)
            if handle is None:
                # As CUDA does: the first name that fits nothing hides all that follow.
                break
            chosen.append(handle)
        return chosen

    def _is_named(self, handle: Any, name: str) -> bool:
        uuid = text(self.ask("nvmlDeviceGetUUID", args=(handle,))) or ""
        return name.startswith("GPU-") and uuid.startswith(name)


def find_nvml() -> Optional[Nvml]:
    """Return NVML if its package, its library and a driver are there."""
    try:
        module = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        module.nvmlInit()
    except module.NVMLError:
        return None
    return Nvml(module)


class NvmlSensor:
    """The first GPU that CUDA may use: the one that is measured. A board's clocks are the board's own business."""

    name = "gpu"

    def __init__(self, nvml: Nvml, handle: Any, *, is_on_board: bool = False) -> None:
        self._nvml = nvml
        self._handle = handle
        self._is_on_board = is_on_board

    def policy(self) -> Dict[str, Any]:
        limit_mw = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        ecc = self._ask("nvmlDeviceGetEccMode")
        mig = self._ask("nvmlDeviceGetMigMode")
        return readable(
            {
                "model": text(self._ask("nvmlDeviceGetName")),
                "driver": text(self._nvml.ask("nvmlSystemGetDriverVersion")),
                "fixed_mhz": self._fixed_mhz(),
                "power_limit_w": limit_mw and limit_mw // 1000,
                "ecc": bool(ecc[0]) if ecc else None,
                "mig": bool(mig[0]) if mig else None,
            }
        )

    def read(self) -> Dict[str, Any]:
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        violated = {name: self._ask("nvmlDeviceGetViolationStatus", args=(n,)) for name, n in VIOLATIONS.items()}
        celsius = self._ask("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", args=(TEMPERATURE_GPU,))
        return readable(
            {
                "uuid": text(self._ask("nvmlDeviceGetUUID")),
                "sm_mhz": self._ask("nvmlDeviceGetClockInfo", args=(CLOCK_SM,)),
                "temperatures_c": readable({"gpu": celsius}),
                "throttling": [name for name, bit in THROTTLING.items() if (reasons or 0) & bit],
                "violations_ns": readable({name: found and found.violationTime for name, found in violated.items()}),
                "energy_mj": self.energy_mj(),
                "processes": [list(user) for user in self._processes()],
            }
        )

    def judge(self, before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
        flags = []
        counted = before.get("violations_ns", {})
        if (
            before.get("throttling")
            or after.get("throttling")
            or any(ns > counted.get(name, ns) for name, ns in after.get("violations_ns", {}).items())
        ):
            flags.append("throttled")
        fixed, now = self._fixed_mhz(), after.get("sm_mhz")
        least = LEAST_SHARE_OF_FIXED * fixed if fixed else LEAST_SHARE_OF_START * before.get("sm_mhz", 0)
        if now is not None and now < least:
            flags.append("clock_drop")
        if _others(before, after):
            flags.append("foreign_process")
        if fixed is None and now is not None and not self._is_on_board:
            flags.append("clocks_unlocked")
        return flags

    def users(self) -> List[User]:
        return [user for user in self._processes() if user.pid != os.getpid()]

    def energy_mj(self) -> Optional[int]:
        """Return the GPU's energy since the driver was loaded, in millijoules; cards since Volta count it."""
        counted: Optional[int] = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return counted

    def _fixed_mhz(self) -> Optional[int]:
        """Return the clock that `nvidia-smi -ac` has set, in MHz; NVML has no word about `nvidia-smi -lgc`."""
        target: Optional[int] = self._ask("nvmlDeviceGetClock", args=(CLOCK_SM, CLOCK_ID_APP_TARGET))
        default: Optional[int] = self._ask("nvmlDeviceGetClock", args=(CLOCK_SM, CLOCK_ID_APP_DEFAULT))
        return target if target != default else None

    def _processes(self) -> List[User]:
        found = self._ask("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2") or []
        return [
            User(process.pid, text(self._nvml.ask("nvmlSystemGetProcessName", args=(process.pid,))) or "unknown")
            for process in found
        ]

    def _ask(self, *names: str, args: Any = ()) -> Any:
        return self._nvml.ask(*names, args=(self._handle, *args))


def text(value: Any) -> Optional[str]:
    """Return a name as text; packages before 11.515 answer in bytes."""
    found: Optional[str] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return found


def _others(before: Dict[str, Any], after: Dict[str, Any]) -> bool:
    """Say whether the readings show another process than this one.

    In a container NVML may count processes in other numbers; then only one that came meanwhile is surely another.
    """
    first, last = ({pid for pid, _ in seen.get("processes", [])} for seen in (before, after))
    return bool((last if os.getpid() in last else last - first) - {os.getpid()})
