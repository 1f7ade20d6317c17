"""trtexec as a second opinion on the same device: its flags pinned version by version, and the times that it exports.

What it prints is not comparable between versions: 11 turned transfers off, and spinning and CUDA graphs on. Here all
of them are stated. It takes one query after the other (`--exposeDMA`), and of its times only the device's computing
time is used, which both sides take between two events. Flags and JSON as in NVIDIA/TensorRT samples/common (8.5.2 to
11.1).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerprune.api.device_reports import Trtexec
from layerprune.api.errors import BadInput, LayerPruneError
from workers.tasks.timing import BASE, Timed

INSTALLED = Path("/usr/src/tensorrt/bin/trtexec")
"""Where JetPack and NVIDIA's Debian packages put it; it is in no Python package."""
HELP_S, RUN_S = 60.0, 120.0
WARM_UP_MS, DURATION_S, ITERATIONS = 1000, 2, 200
BACKEND = "tensorrt"
MAX_TIMES_BYTES = 256 * 2**20

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Times:
    """What one run of trtexec came to: the device's computing time of every query, in order."""

    version: str
    flags: tuple[str, ...]
    compute_ns: tuple[int, ...]

    @property
    def p50_ns(self) -> int:
        return round(float(np.median(self.compute_ns)))


def find(given: Path | None = None) -> Path | None:
    """Find trtexec: the one given, on the PATH, or where JetPack puts it. Raises BadInput if the given one is none."""
    if given is not None:
        if not given.is_file() or not os.access(given, os.X_OK):
            raise BadInput(
                f"{given} is no program that can be run",
                field="trtexec",
                value=str(given),
                remedy=f"Name trtexec itself, often {INSTALLED}, or leave the option out.",
            )
        return given
    found = shutil.which("trtexec")
    if found is not None:
        return Path(found)
    return INSTALLED if INSTALLED.is_file() else None


def version(program: Path) -> Version:
    """Ask trtexec which TensorRT it belongs to; it says so before it reads any option. Raises LayerPruneError."""
    told = _run(program, ["--help"], timeout_s=HELP_S)
    found = re.search(r"\[TensorRT v(\d+)\]", told)
    if found is None:
        raise _failed(program, "does not say its version", told)
    number = int(found.group(1))
    # 8502 is 8.5.2, 100300 is 10.3.0: the scale changed with 10.
    scale = 10_000 if number >= 100_000 else 1_000
    return number // scale, number % scale // 100, number % 100


def pinned_flags(of: Version, *, graph: bool) -> list[str]:
    """State all on which versions differ: no transfers, spinning, a CUDA graph or not, one query after the other."""
    if of >= (11, 0, 0):
        differing = [] if graph else ["--noCudaGraph"]
    else:
        differing = ["--noDataTransfers", "--useSpinWait", *(["--useCudaGraph"] if graph else [])]
    return [
        "--exposeDMA",
        *differing,
        f"--warmUp={WARM_UP_MS}",
        f"--duration={DURATION_S}",
        f"--iterations={ITERATIONS}",
    ]


def measure(
    program: Path, network: Path, shape: Sequence[int], folder: Path, *, graph: bool, engine: Path | None = None
) -> Times:
    """Time a network of one input "input" at `shape`; with `engine`, the very plan that was timed before.

    Raises LayerPruneError with the end of what trtexec printed.
    """
    of = version(program)
    exported = folder / "times.json"
    exported.unlink(missing_ok=True)
    sizes = "x".join(str(size) for size in shape)
    flags = [f"--shapes=input:{sizes}", *pinned_flags(of, graph=graph)]
    source = f"--loadEngine={engine}" if engine is not None else f"--onnx={network}"
    told = _run(program, [source, *flags, f"--exportTimes={exported}"], timeout_s=RUN_S)
    if not exported.is_file():
        raise _failed(program, "exported no times", told)
    how = "--loadEngine" if engine is not None else "--onnx"
    return Times(".".join(str(part) for part in of), (how, *flags), tuple(read_times(exported)))


def compare(program: Path, network: Path, shape: Sequence[int], folder: Path, timed: Timed, *, cache: Path) -> Trtexec:
    """Time the network once more by trtexec, and put both medians of the device's computing time side by side.

    It loads the very engine that was timed, if that lies below `cache`: two builds may choose different kernels.
    Raises LayerPruneError, also where the timed session could not tell the device's time.
    """
    session = next(session for session in timed.groups[0].sessions if session.session == BASE)
    if "device" not in session.parts:
        raise LayerPruneError(
            "the timed session did not tell the device's own computing time",
            code="no_device_time",
            remedy="Report it as a defect of this runtime's backend.",
        )
    facts = session.facts.other
    engine = find_engine(cache, str(facts.get("engine_sha256")))
    graph = facts.get("cuda_graph") == "used"
    found = measure(program, network, shape, folder, graph=graph, engine=engine)
    return Trtexec(
        version=found.version,
        flags=list(found.flags),
        p50_ns=found.p50_ns,
        ours_p50_ns=session.parts["device"].p50_ns,
    )


def find_engine(cache: Path, digest: str) -> Path | None:
    """Find the engine with this content among those that the check has built."""
    return next(
        (path for path in cache.rglob("*.plan") if hashlib.sha256(path.read_bytes()).hexdigest() == digest), None
    )


def read_times(path: Path) -> list[int]:
    """Read the computing times of an `--exportTimes` file, in nanoseconds. Raises BadInput for any other file."""
    if path.stat().st_size > MAX_TIMES_BYTES:
        raise _bad_times(path, f"it has more than {MAX_TIMES_BYTES} bytes")
    try:
        records = json.loads(path.read_text())
        times = [round(float(record["computeMs"]) * 1e6) for record in records]
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _bad_times(path, f"{type(error).__name__}: {error}") from error
    if not times or min(times) < 1:
        raise _bad_times(path, "it has no times, or times that are not positive")
    return times


def _bad_times(path: Path, why: str) -> BadInput:
    return BadInput(
        f"{path.name} holds no times as trtexec exports them: {why}",
        field="trtexec",
        value=path.name,
        remedy="Use the trtexec that came with this TensorRT.",
    )


def _run(program: Path, arguments: list[str], *, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            [str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise _failed(program, f"cannot be started: {error.strerror}", "") from error
    except subprocess.TimeoutExpired as error:
        raise _failed(program, f"did not end within {timeout_s:.0f} s", "") from error
    if done.returncode != 0:
        raise _failed(program, f"ended with exit code {done.returncode}", done.stdout)
    return done.stdout


def _failed(program: Path, what: str, told: str) -> LayerPruneError:
    lines = [line for line in told.splitlines() if "[E]" in line or "Error" in line or "Unknown option" in line]
    last = "; ".join(lines[-3:]) or told.strip()[-300:]
    return LayerPruneError(
        f"trtexec {what}" + (f": {last}" if last else ""),
        code="trtexec_failed",
        value=str(program),
        remedy="Run it by hand; name another one with --trtexec, or compare with none: --no-trtexec.",
    )
