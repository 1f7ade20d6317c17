"""PyTorch on the first CUDA device, timed by the host and by CUDA events; from the second run on as a CUDA graph."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Tuple

import numpy as np

from .base import PARTS, Options, Session, check_settings
from .onnxruntime_gpu import check_driver
from .torch import foreign_errors, imported, installed_version, read_program


class TorchCudaBackend:
    """cuDNN chooses algorithms by trying them; input and output stay on the device. TF32 is a precision of its own.

    The setting `transfers` adds the copies of the image and the answer, from and to pinned memory; `cuda_graph: false`
    launches every operator from Python.
    """

    name = "torch-cuda"
    max_opset = 21
    precisions: Tuple[str, ...] = ("fp32", "tf32")
    settings: Dict[str, type] = {"cuda_graph": bool, "transfers": bool, "channels_last": bool}
    clock = staticmethod(time.perf_counter_ns)

    def __init__(self) -> None:
        self.version = installed_version()
        check_driver(self.name)
        if not imported(1).cuda.is_available():
            raise ImportError("this build of torch sees no CUDA device")

    def flags(self) -> Dict[str, Any]:
        return {"device": "cuda", "mode": "eager", "cudnn_benchmark": True}

    def hardware(self) -> Dict[str, Any]:
        import torch

        return {"device_model": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,
        precision: str,
        data: np.ndarray,
        options: Options,
    ) -> Session:
        check_settings(self.name, options.settings, self.settings)
        torch = imported(threads)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = True
        with foreign_errors():
            layout = torch.channels_last if options.settings.get("channels_last", False) else torch.contiguous_format
            network = read_program(onnx, shape).to("cuda", memory_format=layout)
            host = torch.from_numpy(np.ascontiguousarray(np.broadcast_to(data, shape), dtype=np.float32))
            image = host.to("cuda", memory_format=layout)
            return TorchCudaSession(
                network,
                image,
                transfers=options.settings.get("transfers", False),
                cuda_graph=options.settings.get("cuda_graph", True),
            )


class TorchCudaSession:
    """A network on the device with the image that it is called with, on a stream of its own."""

    def __init__(self, network: Callable[[Any], Any], image: Any, *, transfers: bool, cuda_graph: bool) -> None:
        import torch

        self._torch: Any = torch
        self._network = network
        self._image = image
        self._pinned = image.cpu().pin_memory()
        self._output: Any = None
        self._answer: Any = None
        self._transfers = transfers
        self._stream = self._torch.cuda.Stream()
        self._events = [self._torch.cuda.Event(enable_timing=True) for _ in range(4)]
        self._enqueued_ns = 0
        self._wants_graph = cuda_graph
        self._launch: Callable[[], None] = self._first
        self.parts: Tuple[str, ...] = PARTS if transfers else PARTS[:2]
        self.facts: Dict[str, Any] = {}
        torch.cuda.synchronize()

    def run(self) -> None:
        begun = time.perf_counter_ns()
        start, before, after, end = self._events
        with self._torch.inference_mode(), self._torch.cuda.stream(self._stream):
            if self._transfers:
                start.record()
                self._image.copy_(self._pinned, non_blocking=True)
            before.record()
            self._launch()
            after.record()
            if self._transfers:
                self._answer.copy_(self._output, non_blocking=True)
                end.record()
        self._enqueued_ns = time.perf_counter_ns() - begun
        (end if self._transfers else after).synchronize()

    def parts_ns(self) -> Tuple[int, ...]:
        start, before, after, end = self._events
        found = (round(before.elapsed_time(after) * 1e6), self._enqueued_ns)
        if not self._transfers:
            return found
        return (*found, round(start.elapsed_time(before) * 1e6), round(after.elapsed_time(end) * 1e6))

    def infer(self, batch: np.ndarray) -> np.ndarray:
        with foreign_errors():
            images = self._torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
            kept = self._pinned.clone()
            self._pinned.copy_(images)
            self._image.copy_(self._pinned)
            try:
                self.run()
                outputs: np.ndarray = self._output.cpu().numpy().reshape(len(batch), -1).copy()
            finally:
                self._pinned.copy_(kept)
                self._image.copy_(kept)
        return outputs

    def close(self) -> None:
        self._torch.cuda.synchronize()
        del self._launch, self._network, self._output

    def _first(self) -> None:
        """Run operator by operator, which also lets the libraries set themselves up; a graph comes next."""
        self._eager()
        self._answer = self._torch.empty_like(self._output, device="cpu").pin_memory()
        self._launch = self._capture if self._wants_graph else self._eager

    def _eager(self) -> None:
        self._output = self._network(self._image)

    def _capture(self) -> None:
        graph = self._torch.cuda.CUDAGraph()
        try:
            with self._torch.cuda.graph(graph, stream=self._stream):
                self._eager()
        except RuntimeError as error:
            self.facts["cuda_graph"] = "not captured: %s" % " ".join(str(error).split())[:500]
            self._launch = self._eager
        else:
            self.facts["cuda_graph"] = True
            self._launch = graph.replay
        self._launch()
