"""The fakes against the real thing: names and parameters of NVIDIA's bindings 10.16.1, 11.4.0 and TensorRT for RTX.

The backend runs wholly over the fakes, which refuse every name that they lack. So a name that it uses is in the fakes,
and what is in the fakes is shown here to be in the real library of that version. The bindings are imported over small
libraries that have the symbols they want and nothing behind them: NVIDIA's own weigh gigabytes and want a GPU.
"""

from __future__ import annotations

import ast
import enum
import hashlib
import inspect
import json
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import fake_binding
import fake_cuda
import fake_tensorrt
import pytest

WHEELS = Path(__file__).with_name("binding_wheels.txt")
VERSIONS = ["10.16", "11.4", "rtx"]
DOWNLOAD_S = 120
LIST_NAMES = """
import importlib, json, sys, ctypes
for path in json.loads(sys.argv[2]):
    ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
module = importlib.import_module(sys.argv[1])
found = {}
for name in dir(module):
    thing = getattr(module, name)
    found[name] = ""
    if isinstance(thing, type):
        for member in dir(thing):
            found[f"{name}.{member}"] = getattr(getattr(thing, member), "__doc__", None) or ""
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def real(version: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the names of a real module and its classes' members, with their docstrings."""
    if version == "rtx":
        pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
        return list_names("tensorrt_rtx", [], [])
    cache = request.config.cache
    assert cache is not None
    wheel = fetch_wheel(version, Path(cache.mkdir("tensorrt-bindings")))
    folder = tmp_path_factory.mktemp("bindings")
    zipfile.ZipFile(wheel).extractall(folder)
    (binding,) = folder.glob("tensorrt_bindings/tensorrt*.so")
    return list_names("tensorrt_bindings", [str(folder)], build_stubs(binding, folder))


def fetch_wheel(version: str, cache: Path) -> Path:
    """Download one of the pinned wheels, unless it is there from an earlier run."""
    if (sys.platform, platform.machine(), sys.version_info[:2]) != ("linux", "x86_64", (3, 11)):
        pytest.skip("the pinned wheels are for x86-64 Linux and Python 3.11")
    (line,) = [line for line in WHEELS.read_text().splitlines() if f"=={version}." in line]
    digest = line.rpartition(":")[2]
    for wheel in cache.glob("*.whl"):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() == digest:
            return wheel
    wanted = cache / f"{version}.txt"
    wanted.write_text(line + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "-r", str(wanted), "-d", str(cache)], capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
    )
    if done.returncode:
        pytest.skip(f"the bindings of TensorRT {version} cannot be fetched: {done.stderr.strip()[-300:]}")
    return next(wheel for wheel in cache.glob("*.whl") if hashlib.sha256(wheel.read_bytes()).hexdigest() == digest)


def build_stubs(binding: Path, folder: Path) -> list[str]:
    """Compile the libraries that a binding needs, with the symbols that nobody else has."""
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("there is no C compiler (gcc and binutils) to build the stand-ins for libnvinfer with")
    symbols = subprocess.run(["nm", "-D", "-u", str(binding)], capture_output=True, text=True, check=True).stdout
    wanted = [name for name in re.findall(r"\sU (\S+)", symbols) if "@" not in name and not re.match(r"_?Py", name)]
    source = folder / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in wanted))
    dynamic = subprocess.run(["readelf", "-d", str(binding)], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"NEEDED.*\[(libnv\S+)\]", dynamic)
    for library in libraries:
        command = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library}", "-o", str(folder / library), str(source)]
        subprocess.run(command, check=True, timeout=60)
    return [str(folder / library) for library in libraries]


def list_names(module: str, folders: list[str], libraries: list[str]) -> dict[str, str]:
    # In a process of its own: the stand-ins must not be found by anybody else.
    program = f"import sys; sys.path[:0] = {folders!r}\n" + LIST_NAMES
    done = subprocess.run(
        [sys.executable, "-c", program, module, json.dumps(libraries)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def fake(version: str) -> Any:
    """Give the fake module that stands for the real one."""
    at = {"10.16": "10.16.1", "11.4": "11.4.0", "rtx": fake_binding.RTX}[version]
    return fake_tensorrt.make(at, fake_cuda.FakeCudart())


def members(module: Any) -> dict[str, Any]:
    """List what a fake has: its classes, and what is public in them."""
    found = {}
    for name, kind in vars(module).items():
        if isinstance(kind, type):
            found[name] = kind
            public = kind.__members__ if issubclass(kind, enum.Enum) else vars(kind)
            found.update({f"{name}.{member}": thing for member, thing in public.items() if not member.startswith("_")})
    return found


def test_what_a_fake_has_is_in_the_real_library(real: dict[str, str], fake: Any) -> None:
    assert [name for name in members(fake) if name not in real] == []


def test_what_a_version_lacks_is_really_missing(real: dict[str, str], fake: Any) -> None:
    there = members(fake)
    assert [name for name in fake_binding.LIMITS if name not in there and name in real] == []


def test_methods_take_the_parameters_of_the_real_ones(real: dict[str, str], fake: Any) -> None:
    for name, method in members(fake).items():
        if not inspect.isfunction(method):
            continue
        ours = list(inspect.signature(method).parameters)[1:]
        theirs = [parameters(line) for line in real[name].splitlines() if re.match(r"(\d+\. )?\w+\(self", line)]
        assert ours in theirs, f"{name} takes {theirs}"


def parameters(line: str) -> list[str]:
    """Read the names of parameters, without self, from the first line of a binding's docstring."""
    within = line[line.index("(") + 1 : line.rindex(") ->")]
    return re.findall(r"(?:^|, )(\w+): ", within)[1:]


def test_the_package_asks_for_no_name_that_is_in_no_fake() -> None:
    """Classes and members of enumerations, read from the source, however seldom a line runs."""
    known = set()
    for version in ("8.5.2", "10.3.0", "11.4.0", fake_binding.RTX):
        known |= set(members(fake_tensorrt.make(version, fake_cuda.FakeCudart())))
    asked = set()
    package = Path(__file__).parents[4] / "workers/harness/backends/tensorrt"
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            chain = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            found = re.fullmatch(r"(?:\w+\.)*api\.([A-Z]\w*(?:\.[A-Z]\w*)?)", chain)
            if found:
                asked.add(found.group(1))
    assert "ILogger.Severity" in asked
    # ComputeCapability is in TensorRT for RTX only, and test_building builds with the real one.
    assert asked - known == {"ComputeCapability"}
