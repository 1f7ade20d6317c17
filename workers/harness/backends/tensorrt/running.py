"""A loaded engine with its input and output on the device: run it, time its parts, ask it for answers."""

from __future__ import annotations

import ctypes
import time
from functools import partial
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ...cuda import FROM_DEVICE, TO_DEVICE, Cuda
from ...errors import HarnessError
from .compat import Library
from .settings import Settings

_now = time.perf_counter_ns


class TensorRtSession:
    """One context of one engine on a stream of its own.

    The first run hands over kernel by kernel; the second records a CUDA graph, if that is wanted, and from then on the
    graph is replayed. Where recording fails `facts["cuda_graph"]` says why and runs go on without.
    """

    def __init__(
        self,
        library: Library,
        cuda: Cuda,
        plan: bytes,
        *,
        shape: Tuple[int, ...],
        data: np.ndarray,
        settings: Settings,
        facts: Dict[str, Any],
    ) -> None:
        self.parts: Tuple[str, ...] = ("device", "enqueue") + (
            ("to_device", "from_device") if settings.transfers else ()
        )
        self.facts = dict(facts, engine_bytes=len(plan), cuda_graph="not wanted")
        self._library, self._cuda, self._settings = library, cuda, settings
        self._undo: List[Callable[[], None]] = []
        self._enqueued_ns = self._graph = 0
        free_bytes, began = cuda.free_bytes(), _now()
        try:
            self._load(plan)
            self._bind(shape)
            self._hold(data)
        except BaseException:
            self.close()
            raise
        self.facts["load_ns"] = _now() - began
        self.facts["device_memory_bytes"] = max(0, free_bytes - cuda.free_bytes())
        self.facts["workspace_bytes"] = library.device_memory_bytes(self.engine)
        self.facts["engine_layers"] = int(self.engine.num_layers)
        self._launch: Callable[[], None] = self._enqueue
        self._step: Callable[[], None] = self._first_run

    def run(self) -> None:
        self._step()

    def parts_ns(self) -> Tuple[int, ...]:
        elapsed = self._cuda.elapsed_ns
        before, start, end, after = self._events
        found = (elapsed(start, end), self._enqueued_ns)
        return found + ((elapsed(before, start), elapsed(end, after)) if self._settings.transfers else ())

    def infer(self, batch: np.ndarray) -> np.ndarray:
        kept = self._input.copy()
        self._input[...] = batch
        try:
            self._to_device()
            self._launch()
            self._from_device()
            self._cuda.wait_for_stream(self.stream)
            return self._output.astype(np.float32).reshape(len(batch), -1)
        finally:
            self._input[...] = kept
            self._to_device()
            self._cuda.wait_for_stream(self.stream)

    def close(self) -> None:
        while self._undo:
            self._undo.pop()()

    # --- loading ---

    def _load(self, plan: bytes) -> None:
        library = self._library
        library.log.errors.clear()
        # In this order of life: logger, runtime, engine, context.
        self._runtime = library.construct("Runtime")
        if self._settings.dla is not None:
            self._runtime.DLA_core = self._settings.dla
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise library.failure("parse_rejected", "cannot load the engine")
        self.context = library.execution_context(self.engine)
        if self.context is None:
            raise library.failure("oom", "cannot make a context for the engine")
        self._undo.append(self._forget)
        self.stream = self._cuda.stream()
        self._undo.append(partial(self._cuda.destroy_stream, self.stream))
        self._events: List[int] = []
        for _ in range(4):
            self._events.append(self._cuda.event())
            self._undo.append(partial(self._cuda.destroy_event, self._events[-1]))

    def _bind(self, shape: Tuple[int, ...]) -> None:
        """Give every input and output memory on the device, and the first of each also on the host."""
        api, engine, context = self._library.api, self.engine, self.context
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == api.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or any(engine.is_shape_inference_io(name) for name in names):
            raise HarnessError(
                "parse_rejected",
                "the engine must have one input, an image; it has %s" % ", ".join(inputs),
                value=inputs,
                remedy="Export the network with a single image input.",
            )
        if not context.set_input_shape(inputs[0], shape):
            smallest, _, largest = engine.get_tensor_profile_shape(inputs[0], 0)
            raise HarnessError(
                "bad_input",
                "the engine was built for inputs from %s to %s, not for %s"
                % (list(smallest), list(largest), list(shape)),
                value=list(shape),
                remedy="Build the engine for this shape.",
            )
        try:
            open_sizes = list(context.infer_shapes())
        except RuntimeError as error:
            raise self._library.failure("crashed", "cannot infer shapes") from error
        open_sizes += [name for name in names if -1 in tuple(context.get_tensor_shape(name))]
        if open_sizes:
            raise HarnessError(
                "parse_rejected",
                "the sizes of %s depend on what is computed" % ", ".join(open_sizes),
                value=open_sizes,
                remedy="Give a network whose outputs have one size for one size of its input.",
            )
        self._addresses = {}
        for name in names:
            size = int(np.prod(tuple(context.get_tensor_shape(name)))) * self._type(name).itemsize
            address = self._cuda.allocate(size)
            self._undo.append(partial(self._cuda.free, address))
            if not context.set_tensor_address(name, address):
                raise self._library.failure("crashed", "does not take the memory of %r" % name)
            self._addresses[name] = address
        self._input, self._input_address = self._pinned(inputs[0])
        self._output, self._output_address = self._pinned(outputs[0])
        self._input_name, self._output_name = inputs[0], outputs[0]

    def _pinned(self, name: str) -> Tuple[np.ndarray, int]:
        shape, kind = tuple(self.context.get_tensor_shape(name)), self._type(name)
        count = int(np.prod(shape))
        address = self._cuda.allocate_host(count * kind.itemsize)
        self._undo.append(partial(self._cuda.free_host, address))
        memory = (ctypes.c_byte * (count * kind.itemsize)).from_address(address)
        return np.ctypeslib.as_array(memory).view(kind).reshape(shape), address

    def _hold(self, data: np.ndarray) -> None:
        self._input[...] = data
        self._to_device()
        self._cuda.wait_for_stream(self.stream)

    def _type(self, name: str) -> np.dtype:
        return self._library.host_type(name, self.engine.get_tensor_dtype(name))

    def _forget(self) -> None:
        del self.context, self.engine, self._runtime

    # --- one inference ---

    def _to_device(self) -> None:
        self._cuda.copy(
            self._addresses[self._input_name], self._input_address, self._input.nbytes, TO_DEVICE, self.stream
        )

    def _from_device(self) -> None:
        self._cuda.copy(
            self._output_address, self._addresses[self._output_name], self._output.nbytes, FROM_DEVICE, self.stream
        )

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(self.stream):
            raise self._library.failure("crashed", "could not enqueue the network")

    def _replay(self) -> None:
        self._cuda.launch(self._graph, self.stream)

    def _first_run(self) -> None:
        self._step = self._second_run if self._settings.cuda_graph else self._timed_run()
        self._timed_run()()

    def _second_run(self) -> None:
        try:
            self._graph = self._cuda.capture(self.stream, self._enqueue)
            self._undo.append(partial(self._cuda.destroy_graph, self._graph))
            self._launch = self._replay
            self.facts["cuda_graph"] = "used"
        except HarnessError as error:
            self.facts["cuda_graph"] = "not possible: %s" % error.message
        self._step = self._timed_run()
        self._step()

    def _timed_run(self) -> Callable[[], None]:
        return self._run_with_transfers if self._settings.transfers else self._run

    def _run(self) -> None:
        cuda, (_, start, end, _) = self._cuda, self._events
        began = _now()
        cuda.record(start, self.stream)
        self._launch()
        cuda.record(end, self.stream)
        self._enqueued_ns = _now() - began
        cuda.wait_for_event(end)

    def _run_with_transfers(self) -> None:
        cuda, (before, start, end, after) = self._cuda, self._events
        began = _now()
        cuda.record(before, self.stream)
        self._to_device()
        cuda.record(start, self.stream)
        self._launch()
        cuda.record(end, self.stream)
        self._from_device()
        cuda.record(after, self.stream)
        self._enqueued_ns = _now() - began
        cuda.wait_for_event(after)
