"""TensorRT and TensorRT for RTX: two libraries with one API, so one backend with two names.

`building` and `parsing` need no GPU with TensorRT for RTX; everything else needs CUDA.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ...cuda import INTEGRATED, open_cuda
from ...errors import HarnessError
from ..base import Options, Session
from . import calibration, dla, profile
from .building import PRECISIONS, BuildOptions, Engine, build
from .compat import WEAK, find_library
from .running import TensorRtSession
from .settings import NAMES, Settings
from .store import EngineStore

ENGINES = "engines"
"""The folder below the worker's cache that only this backend writes and reads."""
PROFILED_RUNS = 50


class TensorRtBackend:
    """TensorRT for data-centre cards and Jetson boards, from 8.5 to 11.

    Raises ImportError if the library or CUDA is not installed, HarnessError if there is no GPU.
    """

    name = "tensorrt"
    precisions: Tuple[str, ...] = PRECISIONS
    settings: Tuple[str, ...] = NAMES
    clock = staticmethod(time.perf_counter_ns)
    load_s = 120.0
    """How long loading one network may take: an engine is built, and a board does that slowly."""

    def __init__(self) -> None:
        self._library = find_library(self.name)
        self._cuda = open_cuda()
        self.version = self._library.version
        self.max_opset = self._library.max_opset
        self._last = Settings.read({}, self._library)
        self._temporary: Optional[Path] = None

    def flags(self) -> Dict[str, Any]:
        """Return the settings that the last network was loaded with, defaults among them."""
        return dict(self._last.flags(), wait="spin")

    def hardware(self) -> Dict[str, Any]:
        """Return the GPU and CUDA's versions. A board's GPU does not name the board, so there the host's word stays."""
        cuda = self._cuda
        found = {
            "gpu": cuda.device_name(),
            "compute_capability": cuda.capability(),
            "cuda": cuda.runtime_version(),
            "cuda_driver": cuda.driver_version(),
        }
        return found if cuda.attribute(INTEGRATED) else dict(found, device_model=found["gpu"])

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,  # noqa: ARG002
        precision: str,
        data: np.ndarray,
        options: Options,
    ) -> Session:
        return self._load(onnx, shape, precision, data, options, Settings.read(options.settings, self._library))

    def profile(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        precision: str,
        data: np.ndarray,
        options: Options,
        runs: int = PROFILED_RUNS,
    ) -> List[Dict[str, Any]]:
        """Time every layer of the engine that `load` would use; see `profile.profile_layers`."""
        wanted = replace(Settings.read(options.settings, self._library), cuda_graph=False)
        session = self._load(onnx, shape, precision, data, options, wanted)
        try:
            return profile.profile_layers(self._library, self._cuda, session, runs=runs)
        finally:
            session.close()

    def _load(
        self,
        onnx: bytes,
        shape: Tuple[int, ...],
        precision: str,
        data: np.ndarray,
        options: Options,
        wanted: Settings,
    ) -> TensorRtSession:
        self._last = wanted
        store, key = self._store(options.cache), self._key(onnx, shape, precision, options, wanted)
        number = store.next_number(key, builds=wanted.builds)
        engine = store.read(key, number)
        kept = engine is not None
        if engine is None:
            engine = self._build(onnx, shape, precision, options, wanted, store.timings(key, number))
            store.write(key, number, engine)
        facts = {
            "build_ms": round(engine.seconds * 1e3, 1),
            "engine_kept": kept,
            "build": number,
            "builds": wanted.builds,
            "engine_sha256": hashlib.sha256(engine.plan).hexdigest(),
            "network_layers": engine.layers,
        }
        try:
            session = TensorRtSession(
                self._library, self._cuda, engine.plan, shape=shape, data=data, settings=wanted, facts=facts
            )
        except HarnessError as error:
            if error.code != "oom":  # the next attempt shall not find this engine again
                store.drop(key, number)
            raise
        if wanted.dla is not None:
            layers = profile.inspect_engine(self._library, session.engine)
            session.facts["dla_share"] = round(dla.share(engine.facts, layers), 4)
        return session

    def _build(
        self,
        onnx: bytes,
        shape: Tuple[int, ...],
        precision: str,
        options: Options,
        wanted: Settings,
        timings: bytes,
    ) -> Engine:
        how = BuildOptions(
            shape=shape,
            precision=precision,
            typing=wanted.typing,
            tf32=wanted.tf32,
            optimization_level=wanted.optimization_level,
            dla_core=wanted.dla,
            timings=timings,
        )
        images = options.calibration
        if images is None or precision != "int8" or wanted.typing != WEAK or not self._library.calibrates:
            return build(onnx, self._library, how)
        calibrator = calibration.make_calibrator(self._library, self._cuda, images, batch=shape[0])
        try:
            return build(onnx, self._library, replace(how, calibrator=calibrator))
        finally:
            calibrator.close()

    def _key(self, onnx: bytes, shape: Tuple[int, ...], precision: str, options: Options, wanted: Settings) -> str:
        """Name an engine by everything that it depends on."""
        images = b"" if options.calibration is None else np.ascontiguousarray(options.calibration).tobytes()
        facts = {
            "onnx": hashlib.sha256(onnx).hexdigest(),
            "library": [self._library.name, self._library.version],
            "hardware": self.hardware(),
            "shape": list(shape),
            "precision": precision,
            "typing": wanted.typing,
            "tf32": wanted.tf32,
            "optimization_level": wanted.optimization_level,
            "dla": wanted.dla,
            "images": hashlib.sha256(images).hexdigest() if precision == "int8" else "",
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _store(self, cache: Optional[Path]) -> EngineStore:
        """Open the worker's folder of engines; without a cache they are kept for as long as this backend."""
        if cache is None:
            if self._temporary is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="layerprune-engines-"))
                weakref.finalize(self, shutil.rmtree, str(self._temporary), ignore_errors=True)
            cache = self._temporary
        return EngineStore(cache / ENGINES)


class TensorRtRtxBackend(TensorRtBackend):
    """TensorRT for GeForce and RTX cards: always strongly typed, kernels compiled when an engine is loaded."""

    name = "tensorrt-rtx"
