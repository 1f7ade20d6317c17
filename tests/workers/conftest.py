"""Small real tasks, in a module that the children of a worker can import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.children import Zygote
from workers.execution import Executor
from workers.kinds import Kind
from workers.stopping import Stop

PROBES = '''
import errno, os, signal, subprocess, sys, time
from pathlib import Path

from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.jobs import Progress
from layerprune.api.wire import Wire


class Order(Wire):
    text: str = ""
    resume: str | None = None


class Done(Wire):
    text: str
    pid: int
    parent: int


def echo(payload, *, folder, report, checkpoint):
    report(Progress(phase="echo", fraction=0.5))
    checkpoint()
    return Done(text=payload.text, pid=os.getpid(), parent=os.getppid())


def hang(payload, *, folder, report, checkpoint):
    """Start a grandchild, as the harness is one, write both process ids, and never end."""
    program = f"import time; from workers.lifeline import die_with; die_with({os.getpid()}); time.sleep(600)"
    grandchild = subprocess.Popen([sys.executable, "-c", program])
    report(Progress(phase="hanging"))
    Path(payload.text).write_text(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)


def steps(payload, *, folder, report, checkpoint):
    """Pass checkpoints until the named file exists."""
    while not Path(payload.text).exists():
        checkpoint()
        time.sleep(0.02)
    return Done(text="", pid=os.getpid(), parent=os.getppid())


def save(payload, *, folder, report, checkpoint):
    """Leave states and never end; given one of an earlier attempt, write what it says into the named file."""
    if payload.resume is not None:
        Path(payload.text).write_text((folder / "inputs" / payload.resume).read_text())
        return Done(text="", pid=os.getpid(), parent=os.getppid())
    for number in range(10_000):
        (folder / "part").write_text(f"state {number}")
        (folder / "part").replace(folder / "checkpoint.safetensors")
        report(Progress(phase="saving", message=str(number)))
        time.sleep(0.2)


def environment(payload, *, folder, report, checkpoint):
    return Done(text=" ".join(sorted(os.environ)), pid=os.getpid(), parent=os.getppid())


def fail(payload, *, folder, report, checkpoint):
    """Fail in the named way."""
    how = payload.text
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        print("last words", flush=True)
        os._exit(3)
    raise {
        "diverged": BadInput("the loss is NaN", code="diverged"),
        "bad": BadInput("no such thing"),
        "unknown": LayerPruneError("odd", code="no_reason_of_ours"),
        "memory": MemoryError(),
        "torch_memory": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "bug": ValueError("a bug"),
    }[how]
'''


@pytest.fixture(autouse=True)
def _probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "probes"
    folder.mkdir()
    (folder / "probes.py").write_text(PROBES)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def lock_folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop()
    yield stop
    stop.close()


@pytest.fixture
def executor(tmp_path: Path, lock_folder: Path, stop: Stop) -> Iterator[Executor]:
    zygote = Zygote(tmp_path, lock_folder, modules=("probes",))
    yield Executor(zygote, lock_folder, stop)
    zygote.stop()


@pytest.fixture
def probe() -> Callable[..., Kind]:
    """Give the kind that runs the named function of the probes."""
    return lambda name, role="measure": Kind(f"probes:{name}", "probes:Order", "probes:Done", role)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Give a function that waits for a condition, and fails when it does not come true in time."""

    def wait(condition: Callable[[], bool], *, within_s: float = 20) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    return wait


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """Give a function that says whether a process runs; one that is dead and not reaped yet does not."""

    def check(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return check


@pytest.fixture(scope="session")
def conv_net() -> Callable[..., bytes]:
    """Give a maker of small ONNX networks: `conv_net(depth=4, channels=8, size=8, classes=10)` -> bytes."""
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    def make(*, depth: int = 4, channels: int = 8, size: int = 8, classes: int = 10, seed: int = 0) -> bytes:
        random = np.random.default_rng(seed)
        nodes, weights, width, value = [], [], 3, "input"
        for i in range(depth):
            kernel = random.standard_normal((channels, width, 3, 3)) * np.sqrt(2 / (9 * width))
            weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"kernel{i}"))
            nodes.append(helper.make_node("Conv", [value, f"kernel{i}"], [f"conv{i}"], pads=[1] * 4))
            nodes.append(helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"]))
            width, value = channels, f"relu{i}"
        head = random.standard_normal((width, classes)).astype(np.float32)
        weights.append(numpy_helper.from_array(head, "head"))
        nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
        nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
        nodes.append(helper.make_node("MatMul", ["flat", "head"], ["logits"]))
        images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, size, size])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(nodes, "network", [images], [logits], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        checker.check_model(model)
        return model.SerializeToString()

    return make
