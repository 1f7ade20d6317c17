"""CUDA's runtime library through ctypes: memory, streams, events and graphs, every return code checked.

It needs neither torch nor cupy, so that a board's system Python can use it. The names exist in libcudart from 11.4
(JetPack 5) to 13.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Sequence, Tuple

from .errors import HarnessError

TO_DEVICE, FROM_DEVICE = 1, 2
SPIN = 1
"""Waiting threads of the host look again and again; anything else adds the time to wake them."""
STREAM_NON_BLOCKING = 1
CAPTURE_THREAD_LOCAL = 1
ERROR_MEMORY = 2
MAJOR, MINOR, INTEGRATED = 75, 76, 18
"""Attributes of a device: compute capability, and whether it shares the host's memory."""
PROPERTIES_BYTES = 1 << 14
"""More than cudaDeviceProp has in any version; all of them begin with the device's name, 256 bytes."""
NAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")

_HANDLE, _SIZE, _OUT = ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_void_p)
_INT_OUT = ctypes.POINTER(ctypes.c_int)
SIGNATURES: Dict[str, Tuple[Any, ...]] = {
    "cudaGetDeviceCount": (_INT_OUT,),
    "cudaSetDeviceFlags": (ctypes.c_uint,),
    "cudaSetDevice": (ctypes.c_int,),
    "cudaGetDeviceProperties": (ctypes.c_void_p, ctypes.c_int),
    "cudaDeviceGetAttribute": (_INT_OUT, ctypes.c_int, ctypes.c_int),
    "cudaRuntimeGetVersion": (_INT_OUT,),
    "cudaDriverGetVersion": (_INT_OUT,),
    "cudaMemGetInfo": (ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)),
    "cudaMalloc": (_OUT, _SIZE),
    "cudaFree": (_HANDLE,),
    "cudaMallocHost": (_OUT, _SIZE),
    "cudaFreeHost": (_HANDLE,),
    "cudaMemcpyAsync": (_HANDLE, _HANDLE, _SIZE, ctypes.c_int, _HANDLE),
    "cudaStreamCreateWithFlags": (_OUT, ctypes.c_uint),
    "cudaStreamSynchronize": (_HANDLE,),
    "cudaStreamDestroy": (_HANDLE,),
    "cudaEventCreateWithFlags": (_OUT, ctypes.c_uint),
    "cudaEventRecord": (_HANDLE, _HANDLE),
    "cudaEventSynchronize": (_HANDLE,),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _HANDLE, _HANDLE),
    "cudaEventDestroy": (_HANDLE,),
    "cudaStreamBeginCapture": (_HANDLE, ctypes.c_int),
    "cudaStreamEndCapture": (_HANDLE, _OUT),
    "cudaGraphInstantiateWithFlags": (_OUT, _HANDLE, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_HANDLE, _HANDLE),
    "cudaGraphExecDestroy": (_HANDLE,),
    "cudaGraphDestroy": (_HANDLE,),
    "cudaGetLastError": (),
}


class Cuda:
    """One loaded libcudart. Handles and addresses are integers; a failed call raises HarnessError.

    Its code is `oom` when memory ran out, otherwise `crashed`: after most CUDA errors the process is of no more use.
    """

    def __init__(self, library: Any) -> None:
        self._calls: Dict[str, Callable[..., int]] = {}
        for name, arguments in SIGNATURES.items():
            call = getattr(library, name, None)
            if call is None:
                raise HarnessError(
                    "bad_input",
                    "CUDA's runtime library lacks %s; it must be 11.4 or later" % name,
                    value=name,
                    remedy="Install a newer CUDA runtime.",
                )
            call.argtypes, call.restype = arguments, ctypes.c_int
            self._calls[name] = call
        self._text = library.cudaGetErrorString
        self._text.argtypes, self._text.restype = (ctypes.c_int,), ctypes.c_char_p
        # Bound once: they are called within what is timed.
        self._record, self._wait = self._calls["cudaEventRecord"], self._calls["cudaEventSynchronize"]
        self._launch, self._copy = self._calls["cudaGraphLaunch"], self._calls["cudaMemcpyAsync"]

    def _call(self, name: str, *arguments: Any) -> None:
        code = self._calls[name](*arguments)
        if code:
            self._fail(name, code)

    def _fail(self, name: str, code: int) -> NoReturn:
        text = self._text(code).decode("utf-8", "replace")
        self._calls["cudaGetLastError"]()
        if code == ERROR_MEMORY:
            raise HarnessError(
                "oom",
                "%s: the GPU's memory ran out (%s)" % (name, text),
                value=code,
                remedy="Measure fewer networks together, ask for smaller batches, or use a device with more memory.",
            )
        raise HarnessError(
            "crashed",
            "%s failed with CUDA error %d: %s" % (name, code, text),
            value=code,
            remedy="Check the GPU and its driver with nvidia-smi (on a Jetson: dmesg), then measure again.",
        )

    def _new(self, name: str, *arguments: Any) -> int:
        made = ctypes.c_void_p()
        self._call(name, ctypes.byref(made), *arguments)
        return made.value or 0

    def _number(self, name: str, *arguments: Any) -> int:
        found = ctypes.c_int()
        self._call(name, ctypes.byref(found), *arguments)
        return found.value

    # --- the device ---

    def use_device(self, number: int = 0) -> None:
        """Make a device the current one, waiting by spinning; before anything else uses it."""
        self._call("cudaSetDeviceFlags", SPIN)
        self._call("cudaSetDevice", number)

    def device_count(self) -> int:
        return self._number("cudaGetDeviceCount")

    def device_name(self, number: int = 0) -> str:
        properties = ctypes.create_string_buffer(PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, number)
        return properties.value[:256].decode("utf-8", "replace")

    def attribute(self, attribute: int, number: int = 0) -> int:
        return self._number("cudaDeviceGetAttribute", attribute, number)

    def capability(self, number: int = 0) -> str:
        """Return the compute capability, such as "8.7"."""
        return "%d.%d" % (self.attribute(MAJOR, number), self.attribute(MINOR, number))

    def runtime_version(self) -> str:
        return _version(self._number("cudaRuntimeGetVersion"))

    def driver_version(self) -> str:
        """Return the highest CUDA that the driver serves, such as "13.0"; "0.0" without a driver."""
        return _version(self._number("cudaDriverGetVersion"))

    def free_bytes(self) -> int:
        free, total = _SIZE(), _SIZE()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value

    # --- memory ---

    def allocate(self, size: int) -> int:
        return self._new("cudaMalloc", size)

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def allocate_host(self, size: int) -> int:
        """Allocate pinned memory of the host, from which copies need no further copy."""
        return self._new("cudaMallocHost", size)

    def free_host(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        """Put a copy of `size` bytes on the stream; kind is TO_DEVICE or FROM_DEVICE."""
        code = self._copy(target, source, size, kind, stream)
        if code:
            self._fail("cudaMemcpyAsync", code)

    # --- streams and events ---

    def stream(self) -> int:
        return self._new("cudaStreamCreateWithFlags", STREAM_NON_BLOCKING)

    def wait_for_stream(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def event(self) -> int:
        return self._new("cudaEventCreateWithFlags", 0)

    def record(self, event: int, stream: int) -> None:
        code = self._record(event, stream)
        if code:
            self._fail("cudaEventRecord", code)

    def wait_for_event(self, event: int) -> None:
        code = self._wait(event)
        if code:
            self._fail("cudaEventSynchronize", code)

    def elapsed_ns(self, first: int, second: int) -> int:
        """Return what passed on the device between two events that it has reached; its clock ticks every 0.5 us."""
        milliseconds = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(milliseconds), first, second)
        return round(milliseconds.value * 1e6)

    def destroy_event(self, event: int) -> None:
        self._call("cudaEventDestroy", event)

    # --- graphs ---

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what `work` puts on the stream and return an executable graph of it."""
        self._call("cudaStreamBeginCapture", stream, CAPTURE_THREAD_LOCAL)
        try:
            work()
        except HarnessError:
            # The stream must leave its capture in any case; the reason of the failure is the work's own.
            with contextlib.suppress(HarnessError):
                self._call("cudaGraphDestroy", self._end_capture(stream))
            raise
        graph = self._end_capture(stream)
        try:
            return self._new("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        code = self._launch(graph, stream)
        if code:
            self._fail("cudaGraphLaunch", code)

    def destroy_graph(self, graph: int) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _end_capture(self, stream: int) -> int:
        graph = ctypes.c_void_p()
        self._call("cudaStreamEndCapture", stream, ctypes.byref(graph))
        return graph.value or 0


def open_cuda(*, maps: Path = Path("/proc/self/maps"), folders: Sequence[str] = ()) -> Cuda:
    """Load libcudart and make the first GPU the current one.

    A libcudart that this process has loaded already is taken before any other, so call it after importing the runtime
    that shall share its streams. `folders` are searched for NVIDIA's packages; by default those of `sys.path`.
    Raises ImportError if there is no library, HarnessError if it finds no usable GPU.
    """
    tried = []
    for path in _candidates(maps, folders or sys.path):
        try:
            cuda = Cuda(ctypes.CDLL(path))
        except OSError as error:
            tried.append(str(error))
            continue
        _check_device(cuda)
        cuda.use_device()
        return cuda
    raise ImportError("CUDA's runtime library (libcudart) is not here: %s" % "; ".join(tried))


def _check_device(cuda: Cuda) -> None:
    try:
        found = cuda.device_count()
    except HarnessError as error:
        raise HarnessError(
            "bad_input",
            "no GPU can be used here: %s" % error.message,
            value=error.value,
            remedy="Install NVIDIA's driver, or give the container access to the GPU (--gpus all).",
        ) from error
    if found < 1:
        raise HarnessError(
            "bad_input", "there is no NVIDIA GPU here", value=found, remedy="Measure where there is one."
        )


def _candidates(maps: Path, folders: Sequence[str]) -> Iterator[str]:
    loaded = maps.read_text() if maps.exists() else ""
    found = re.search(r"\S*/libcudart[^/\s]*\.so\S*", loaded)
    if found:
        yield found.group(0)
        return
    packaged: List[Path] = []
    for folder in folders:
        nvidia = Path(folder or os.curdir) / "nvidia"
        packaged += [*nvidia.glob("cu*/lib/libcudart.so.*"), *nvidia.glob("cuda_runtime/lib/libcudart.so.*")]
    yield from NAMES
    yield from map(str, sorted(packaged, reverse=True))


def _version(number: int) -> str:
    return "%d.%d" % (number // 1000, number % 1000 // 10)
