"""A libcudart without a GPU, called through ctypes' own conversions.

It keeps the order of things as CUDA does: work waits on its stream until somebody waits for it, events have a time only
then, and what is captured does not run. Its clock moves 1 ms with every kernel and 0.25 ms with every copy. It refuses
undeclared argument types and handles that are not alive, and fails on demand: `faults[name] = code`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

KERNEL_MS, COPY_MS = 1.0, 0.25
INVALID, NOT_READY, CAPTURE_REFUSED = 1, 600, 900
TEXTS = {0: b"no error", 1: b"invalid argument", 2: b"out of memory", 100: b"no CUDA-capable device is detected"}

Work = Callable[[], None]


class Function:
    """One function of the library as ctypes shows it: it converts its arguments by the declared types."""

    def __init__(self, library: FakeCudart, name: str, work: Callable[..., Any]) -> None:
        self.name, self.argtypes, self.restype = name, None, None
        self._library, self._work = library, work

    def __call__(self, *arguments: Any) -> Any:
        if self.argtypes is None or self.restype is None:
            raise TypeError(f"{self.name} was called before its types were declared")
        if len(arguments) != len(self.argtypes):
            raise TypeError(f"{self.name} takes {len(self.argtypes)} arguments, not {len(arguments)}")
        for kind, argument in zip(self.argtypes, arguments, strict=True):
            kind.from_param(argument)
        self._library.calls.append(self.name)
        if self.name in self._library.faults:
            if self.name == "cudaStreamEndCapture":  # a capture ends, also if nothing comes of it
                self._library.stream(arguments[0]).captured = None
            return self._library.faults[self.name]
        return self._work(*arguments) or 0


class Stream:
    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.captured: list[Work] | None = None

    def put(self, work: Work) -> None:
        (self.waiting if self.captured is None else self.captured).append(work)


class Event:
    at_ms: float | None = None


class FakeCudart:
    """All of SIGNATURES, and no other names."""

    def __init__(self, *, devices: int = 1, integrated: bool = False, version: int = 12060) -> None:
        self.faults: dict[str, int] = {}
        self.calls: list[str] = []
        self.alive: dict[int, Any] = {}
        self.now_ms = 0.0
        self._handles = iter(range(0x1000, 0x100000, 16))
        attributes = {75: 8, 76: 7, 18: int(integrated)}
        give = self._give
        table: dict[str, Callable[..., Any]] = {
            "cudaGetDeviceCount": lambda out: give(out, devices),
            "cudaSetDeviceFlags": lambda flags: None,
            "cudaSetDevice": lambda number: None if number < devices else 101,
            "cudaGetDeviceProperties": lambda out, number: setattr(out, "value", b"Imagined GPU"),
            "cudaDeviceGetAttribute": lambda out, attribute, number: give(out, attributes[attribute]),
            "cudaRuntimeGetVersion": lambda out: give(out, version),
            "cudaDriverGetVersion": lambda out: give(out, version),
            "cudaMemGetInfo": lambda free, total: give(free, (1 << 33) - self.bytes()) or give(total, 1 << 33),
            "cudaMalloc": lambda out, size: self._allocate(out, size),
            "cudaFree": self._release,
            "cudaMallocHost": lambda out, size: self._allocate(out, size),
            "cudaFreeHost": self._release,
            "cudaMemcpyAsync": self._copy,
            "cudaStreamCreateWithFlags": lambda out, flags: self._make(out, Stream()),
            "cudaStreamSynchronize": lambda stream: self._drain(stream),
            "cudaStreamDestroy": self._release,
            "cudaEventCreateWithFlags": lambda out, flags: self._make(out, Event()),
            "cudaEventRecord": self._record,
            "cudaEventSynchronize": self._wait_for_event,
            "cudaEventElapsedTime": self._elapsed,
            "cudaEventDestroy": self._release,
            "cudaStreamBeginCapture": self._begin_capture,
            "cudaStreamEndCapture": self._end_capture,
            "cudaGraphInstantiateWithFlags": lambda out, graph, flags: self._make(out, list(self.alive[graph])),
            "cudaGraphLaunch": self._launch,
            "cudaGraphExecDestroy": self._release,
            "cudaGraphDestroy": self._release,
            "cudaGetLastError": lambda: None,
        }
        for name, work in table.items():
            setattr(self, name, Function(self, name, work))
        self.cudaGetErrorString = Function(self, "cudaGetErrorString", lambda code: TEXTS.get(code, b"some error"))

    def bytes(self) -> int:
        """Return how much memory is allocated."""
        return sum(len(thing) for thing in self.alive.values() if isinstance(thing, ctypes.Array))

    def stream(self, handle: int) -> Stream:
        found = self.alive.get(handle)
        if not isinstance(found, Stream):
            raise AssertionError(f"{handle:#x} is no stream that is alive")
        return found

    def compute(self, stream: int, work: Work) -> None:
        """Put a kernel on a stream."""

        def kernel() -> None:
            self.now_ms += KERNEL_MS
            work()

        self.stream(stream).put(kernel)

    def memory(self, address: int, size: int) -> None:
        """Fail unless the bytes from an address on were allocated here."""
        for start, thing in self.alive.items():
            if isinstance(thing, ctypes.Array) and start <= address and address + size <= start + len(thing):
                return
        raise AssertionError(f"{size} bytes at {address:#x} are not the device's")

    @staticmethod
    def _give(out: Any, value: Any) -> None:
        out._obj.value = value

    def _make(self, out: Any, thing: Any) -> None:
        handle = next(self._handles)
        self.alive[handle] = thing
        self._give(out, handle)

    def _allocate(self, out: Any, size: int) -> None:
        memory = ctypes.create_string_buffer(size)
        self.alive[ctypes.addressof(memory)] = memory
        self._give(out, ctypes.addressof(memory))

    def _release(self, handle: int) -> int:
        return 0 if self.alive.pop(handle, None) is not None else INVALID

    def _copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        def work() -> None:
            self.now_ms += COPY_MS
            self.memory(target if kind == 1 else source, size)
            ctypes.memmove(target, source, size)

        self.stream(stream).put(work)

    def _drain(self, stream: int) -> int:
        found = self.stream(stream)
        if found.captured is not None:
            return CAPTURE_REFUSED
        while found.waiting:
            found.waiting.pop(0)()
        return 0

    def _record(self, event: int, stream: int) -> None:
        recorded: Event = self.alive[event]
        recorded.at_ms = None
        self.stream(stream).put(lambda: setattr(recorded, "at_ms", self.now_ms))

    def _wait_for_event(self, event: int) -> int:
        recorded: Event = self.alive[event]
        for stream in [thing for thing in self.alive.values() if isinstance(thing, Stream)]:
            while stream.waiting and recorded.at_ms is None:
                stream.waiting.pop(0)()
        return 0

    def _elapsed(self, out: Any, first: int, second: int) -> int:
        times = [self.alive[event].at_ms for event in (first, second)]
        if None in times:
            return NOT_READY
        out._obj.value = times[1] - times[0]
        return 0

    def _begin_capture(self, stream: int, mode: int) -> None:
        self.stream(stream).captured = []

    def _end_capture(self, stream: int, out: Any) -> int:
        found = self.stream(stream)
        work, found.captured = found.captured, None
        if work is None:
            return INVALID
        self._make(out, work)
        return 0

    def _launch(self, graph: int, stream: int) -> None:
        for work in self.alive[graph]:
            self.stream(stream).put(work)
