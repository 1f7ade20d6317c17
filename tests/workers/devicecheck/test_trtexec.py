"""trtexec beside our own timing: versions, pinned flags, exported times. The program is a stand-in."""

from __future__ import annotations

import hashlib
import stat
import sys
from pathlib import Path

import pytest

from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.tasks import MeasuredGroup
from workers.devicecheck import trtexec
from workers.tasks.timing import Timed

SHAPE = (1, 3, 64, 64)
OPTIONS = {
    "--onnx",
    "--loadEngine",
    "--shapes",
    "--exposeDMA",
    "--warmUp",
    "--duration",
    "--iterations",
    "--exportTimes",
}
PROGRAM = """#!{python}
# Says its version before it reads an option, refuses options that its version does not have, exports as trtexec does.
import json, sys
print("&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec " + " ".join(sys.argv[1:]))
if sys.argv[1:] == ["--help"]:
    sys.exit(0)
given = dict((argument.split("=", 1) + [""])[:2] for argument in sys.argv[1:])
for option in given:
    if option not in {options!r}:
        print("[11/25/2026-20:00:00] [E] Unknown option: " + option)
        print("&&&& FAILED TensorRT.trtexec [TensorRT v{number}]")
        sys.exit(1)
graph = "--useCudaGraph" in given or ({number} >= 110000 and "--noCudaGraph" not in given)
names = "startEnqMs endEnqMs startH2dMs endH2dMs startComputeMs endComputeMs startD2hMs endD2hMs h2dMs d2hMs latencyMs"
times = [0.5 if graph else 0.7, 0.5, 0.25, 9.0, 0.5]
records = [dict.fromkeys(names.split(), 1.0) | {{"computeMs": ms}} for ms in times]
if {exports}:
    with open(given["--exportTimes"], "w") as file:
        json.dump(records, file)
print("&&&& PASSED TensorRT.trtexec [TensorRT v{number}]")
"""
OLDER = OPTIONS | {"--noDataTransfers", "--useSpinWait", "--useCudaGraph"}
NEWER = OPTIONS | {"--includeDataTransfers", "--noSpinWait", "--noCudaGraph"}


def stand_in(folder: Path, number: int, options: set[str], *, exports: bool = True) -> Path:
    program = folder / "trtexec"
    program.write_text(PROGRAM.format(python=sys.executable, number=number, options=options, exports=exports))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize(
    ("number", "expected"),
    [(8502, (8, 5, 2)), (8601, (8, 6, 1)), (100300, (10, 3, 0)), (101602, (10, 16, 2)), (110101, (11, 1, 1))],
)
def test_the_version_is_read_from_what_every_trtexec_prints_first(
    tmp_path: Path, number: int, expected: tuple[int, ...]
) -> None:
    assert trtexec.version(stand_in(tmp_path, number, OLDER)) == expected


@pytest.mark.parametrize(
    ("number", "options"), [(8502, OLDER), (101602, OLDER), (110100, NEWER)], ids=["8.5.2", "10.16.2", "11.1.0"]
)
@pytest.mark.parametrize("graph", [True, False])
def test_the_flags_are_those_that_the_version_has(tmp_path: Path, number: int, options: set[str], graph: bool) -> None:
    found = trtexec.measure(stand_in(tmp_path, number, options), tmp_path / "net.onnx", SHAPE, tmp_path, graph=graph)
    # The stand-in's first time says whether it launched a graph; its median is one of the others.
    assert found.compute_ns[0] == (500_000 if graph else 700_000)
    assert found.p50_ns == 500_000
    assert found.flags[:3] == ("--onnx", "--shapes=input:1x3x64x64", "--exposeDMA")


def test_an_engine_is_loaded_instead_of_built_anew(tmp_path: Path) -> None:
    program = stand_in(tmp_path, 100300, OLDER - {"--onnx"})
    engine = tmp_path / "net.plan"
    found = trtexec.measure(program, tmp_path / "net.onnx", SHAPE, tmp_path, graph=True, engine=engine)
    assert found.flags[0] == "--loadEngine"


def test_a_refused_option_is_an_error_with_its_name(tmp_path: Path) -> None:
    program = stand_in(tmp_path, 100300, OLDER - {"--exposeDMA"})
    with pytest.raises(LayerPruneError, match="exit code 1.*Unknown option: --exposeDMA") as caught:
        trtexec.measure(program, tmp_path / "net.onnx", SHAPE, tmp_path, graph=True)
    assert "--no-trtexec" in caught.value.remedy


def test_a_program_that_exports_nothing_is_an_error(tmp_path: Path) -> None:
    program = stand_in(tmp_path, 100300, OLDER, exports=False)
    with pytest.raises(LayerPruneError, match="exported no times"):
        trtexec.measure(program, tmp_path / "net.onnx", SHAPE, tmp_path, graph=True)


def test_a_program_that_is_no_trtexec_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "trtexec"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    with pytest.raises(LayerPruneError, match="does not say its version: hello"):
        trtexec.version(program)


def test_a_program_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no program that can be run"):
        trtexec.find(tmp_path / "trtexec")


def test_trtexec_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trtexec.find() in (None, trtexec.INSTALLED)
    program = stand_in(tmp_path, 100300, OLDER)
    assert trtexec.find() == program


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "[1]",
        '[{"latencyMs": 1}]',
        '[{"computeMs": "fast"}]',
        '[{"computeMs": -1}]',
        '[{"computeMs": NaN}]',
    ],
)
def test_a_file_that_holds_no_times_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(content)
    with pytest.raises(BadInput, match="holds no times"):
        trtexec.read_times(path)


def timed(**parts: int) -> Timed:
    session = {
        "samples": "0-0.lps",
        "n_samples": 9,
        "p50_ns": 900_000,
        "parts": {name: {"samples": "p.lps", "p50_ns": value} for name, value in parts.items()},
        "facts": {"other": {"cuda_graph": "used", "engine_sha256": hashlib.sha256(b"engine").hexdigest()}},
    }
    sessions = [session | {"session": name} for name in ("base", "aa")]
    return Timed([MeasuredGroup.model_validate({"sessions": sessions})], {}, {}, {})


def test_the_devices_computing_time_is_compared(tmp_path: Path) -> None:
    program = stand_in(tmp_path, 100300, OLDER)
    both = timed(device=505_000, enqueue=10_000)
    found = trtexec.compare(program, tmp_path / "net.onnx", SHAPE, tmp_path, both, cache=tmp_path)
    assert (found.version, found.p50_ns, found.ours_p50_ns) == ("10.3.0", 500_000, 505_000)
    assert "--useCudaGraph" in found.flags
    assert found.flags[0] == "--onnx"


def test_the_very_engine_that_was_timed_is_compared(tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    engines.mkdir()
    (engines / "a-0.plan").write_bytes(b"another")
    (engines / "b-0.plan").write_bytes(b"engine")
    program = stand_in(tmp_path, 100300, OLDER)
    found = trtexec.compare(program, tmp_path / "net.onnx", SHAPE, tmp_path, timed(device=1), cache=tmp_path)
    assert found.flags[0] == "--loadEngine"
    assert trtexec.find_engine(tmp_path, hashlib.sha256(b"engine").hexdigest()) == engines / "b-0.plan"


def test_without_the_devices_time_there_is_nothing_to_compare(tmp_path: Path) -> None:
    program = stand_in(tmp_path, 100300, OLDER)
    with pytest.raises(LayerPruneError, match="did not tell the device's own computing time"):
        trtexec.compare(program, tmp_path / "net.onnx", SHAPE, tmp_path, timed(), cache=tmp_path)
