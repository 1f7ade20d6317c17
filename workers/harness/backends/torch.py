"""PyTorch on the CPU: operator by operator, or compiled ahead of time.

PyTorch reads no ONNX. The worker turns each file into a program of torch.export beforehand (`workers.programs`), so
that this process needs neither the onnx package nor anything of ours; the program has a dynamic batch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import numpy as np

from ..errors import HarnessError
from .base import Options, Session, check_settings

COMPILERS = ("g++", "clang++", "c++")
CAP_BYTES = 1 << 30
"""What compiled networks may take together in the worker's cache; the oldest go."""


class TorchBackend:
    """The operators of the exported network, one after the other, as they are called from Python.

    torch itself is imported when the first network is loaded: it takes seconds, and listing backends must not.
    """

    name = "torch"
    max_opset = 21
    precisions: Tuple[str, ...] = ("fp32",)
    settings: Dict[str, type] = {"channels_last": bool}
    clock = staticmethod(time.perf_counter_ns)

    def __init__(self) -> None:
        self.version = installed_version()

    def flags(self) -> Dict[str, Any]:
        return {"device": "cpu", "mode": "eager", "inter_op_threads": 1}

    def hardware(self) -> Dict[str, Any]:
        return {}

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,
        precision: str,  # noqa: ARG002
        data: np.ndarray,
        options: Options,
    ) -> Session:
        check_settings(self.name, options.settings, self.settings)
        torch = imported(threads)
        with foreign_errors():
            network = read_program(onnx, shape)
            image = torch.from_numpy(np.ascontiguousarray(np.broadcast_to(data, shape), dtype=np.float32).copy())
            if options.settings.get("channels_last", False):
                network = network.to(memory_format=torch.channels_last)
                image = image.contiguous(memory_format=torch.channels_last)
            call, facts = self.prepare(onnx, network, image, threads, options)
            return TorchSession(call, image, facts)

    def prepare(
        self,
        program: bytes,  # noqa: ARG002
        network: Any,
        image: Any,  # noqa: ARG002
        threads: int,  # noqa: ARG002
        options: Options,  # noqa: ARG002
    ) -> Tuple[Callable[[Any], Any], Dict[str, Any]]:
        """Return what is called with the image, and the facts of the session."""
        return network, {}


class TorchCompileBackend(TorchBackend):
    """Compiled by Inductor ahead of time, so that no compilation hides in the first inferences.

    What it built is kept in the options' cache, if there is one, by program, shape, threads and version.
    """

    name = "torch-compile"
    load_s = 60.0

    def __init__(self) -> None:
        super().__init__()
        wanted = os.environ.get("CXX")
        if not any(shutil.which(compiler) for compiler in ((wanted,) if wanted else COMPILERS)):
            raise HarnessError(
                "bad_input",
                "torch-compile needs a C++ compiler, which is missing here (looked for %s)"
                % (wanted or ", ".join(COMPILERS)),
                value=self.name,
                remedy="Install g++, or use another backend.",
            )

    def flags(self) -> Dict[str, Any]:
        return {"device": "cpu", "mode": "inductor, ahead of time", "inter_op_threads": 1}

    def prepare(
        self, program: bytes, network: Any, image: Any, threads: int, options: Options
    ) -> Tuple[Callable[[Any], Any], Dict[str, Any]]:
        import torch
        from torch._inductor import aoti_compile_and_package, aoti_load_package

        begun = time.perf_counter_ns()
        facts: Dict[str, Any] = {}
        told = repr((self.version, tuple(image.shape), image.stride(), threads)).encode()
        name = hashlib.sha256(told + program).hexdigest() + ".pt2"
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) if options.cache is None else options.cache / "torch-compile"
            kept.mkdir(mode=0o700, exist_ok=True)
            built = kept / name
            if not built.exists():
                static = torch.export.export(network, (image,), strict=False)
                part = built.with_name("part-" + name)
                aoti_compile_and_package(static, package_path=str(part))
                facts["build_ms"] = round((time.perf_counter_ns() - begun) / 1e6, 3)
                part.replace(built)
                make_room(kept, CAP_BYTES)
            facts["engine_bytes"] = built.stat().st_size
            return aoti_load_package(str(built)), facts


class TorchSession:
    """A network and the image that it is called with."""

    parts: Tuple[str, ...] = ()

    def __init__(self, call: Callable[[Any], Any], image: Any, facts: Dict[str, Any]) -> None:
        import torch

        self.facts = facts
        self._call = call
        self._image = image
        self._output: Any = None
        self._inference_mode = torch.inference_mode

    def run(self) -> None:
        with self._inference_mode():
            self._output = self._call(self._image)

    def parts_ns(self) -> Tuple[int, ...]:
        return ()

    def infer(self, batch: np.ndarray) -> np.ndarray:
        kept = self._image.numpy().copy()
        self._image.numpy()[...] = batch
        try:
            with foreign_errors():
                self.run()
        finally:
            self._image.numpy()[...] = kept
        outputs: np.ndarray = self._output.numpy().reshape(len(batch), -1).copy()
        return outputs

    def close(self) -> None:
        del self._call, self._output


def installed_version() -> str:
    """Return torch's version without importing it; raises ImportError if it is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise ImportError("No module named 'torch'")
    return importlib.metadata.version("torch").partition("+")[0]


def imported(threads: int) -> Any:
    """Import torch and set its threads, which all sessions of the process share."""
    import torch

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
    return torch


def read_program(content: bytes, shape: Tuple[int, ...]) -> Any:
    """Return the network of a program of torch.export, without the checks of each call's input.

    Raises HarnessError (`parse_rejected`) if the program was made for images of another shape.
    """
    import torch

    program = torch.export.load(io.BytesIO(content))
    (name,) = program.graph_signature.user_inputs
    image = next(node for node in program.graph.nodes if node.name == name).meta["val"]
    if tuple(image.shape[1:]) != tuple(shape[1:]):
        raise HarnessError(
            "parse_rejected",
            "the network takes images of %s, not of %s" % (tuple(image.shape[1:]), tuple(shape[1:])),
            value=list(shape),
            remedy="Give images of that shape.",
        )
    return program.module(check_guards=False)


def make_room(folder: Path, cap_bytes: int) -> None:
    """Delete the oldest files of a folder until the rest takes at most so many bytes; the newest stays."""
    oldest_first = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    total = sum(path.stat().st_size for path in oldest_first)
    for path in oldest_first[:-1]:
        if total <= cap_bytes:
            return
        total -= path.stat().st_size
        path.unlink()


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turn what torch raises into HarnessError: `oom`, or else `parse_rejected`."""
    import torch

    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # torch raises nearly every class that Python has
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
            raise HarnessError("oom", "PyTorch ran out of memory: %s" % text) from error
        raise HarnessError(
            "parse_rejected",
            "PyTorch %s refuses the network: %s: %s" % (torch.__version__, type(error).__name__, text[:2000]),
            remedy="Measure with another backend; PyTorch reads programs that a worker with the same version made.",
        ) from error
