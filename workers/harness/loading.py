"""Load the networks of a process one by one, and keep what each took: time, first inference, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Tuple

import numpy as np

from .backends.base import Backend, Options, Session
from .errors import HarnessError
from .evaluate import Preprocess, normalise, read_pack
from .host import Host
from .memory import Watermark, check_fits
from .spec import Spec

LOAD_S = 5.0
MAX_CALIBRATION_IMAGES = 512

Facts = Dict[str, Any]


@dataclass(frozen=True)
class Loader:
    """Loads networks as the spec wants them, with the options that the backend is given."""

    spec: Spec
    backend: Backend
    options: Options

    @classmethod
    def of(cls, spec: Spec, backend: Backend) -> Loader:
        if spec.cache is not None:
            spec.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        calibration = None
        if spec.calibration is not None:
            pack, preprocess = read_pack(spec.calibration.pack), Preprocess.from_dict(spec.calibration.preprocess)
            calibration = normalise(np.asarray(pack.images[:MAX_CALIBRATION_IMAGES]), preprocess)
        return cls(spec, backend, Options(settings=spec.settings, calibration=calibration, cache=spec.cache))

    @property
    def load_s(self) -> float:
        """How long loading one network may take; a backend that builds engines has a `load_s` of its own."""
        return float(getattr(self.backend, "load_s", LOAD_S))

    def load(self, onnx: bytes, shape: Tuple[int, ...]) -> Session:
        """Load one network for inputs of that shape; raises HarnessError."""
        spec = self.spec
        return self.backend.load(
            onnx,
            shape=shape,
            threads=spec.threads,
            precision=spec.precision,
            data=self.noise(shape),
            options=self.options,
        )

    def noise(self, shape: Tuple[int, ...]) -> np.ndarray:
        """Return the input that a network of that shape is timed on.

        Noise like a normalised image: zeros would let a runtime skip work, and draw less power.
        """
        return np.random.RandomState(self.spec.seed % 2**32).standard_normal(shape).astype(np.float32)

    def load_all(self, host: Host, say: Callable[..., None]) -> Tuple[Dict[str, Session], Dict[str, Facts]]:
        """Load every network of the spec and run it once; return the sessions, and what each took.

        Raises HarnessError (`oom`) if they cannot fit, before any is loaded where that can be told.
        """
        check_fits(host, list(self.spec.networks.values()))
        sessions, facts = {}, {}
        for name, path in self.spec.networks.items():
            say("loading", expect_s=self.load_s)
            onnx = path.read_bytes()
            check_quantised(onnx, self.spec.precision, calibrates=self.options.calibration is not None)
            memory, clock = Watermark(), self.backend.clock
            began = clock()
            session = self.load(onnx, self.spec.shape)
            loaded = clock()
            first_run(session, self.backend)
            sessions[name] = session
            facts[name] = {
                "load_ns": max(1, loaded - began),
                "first_inference_ns": max(1, clock() - loaded),
                "peak_memory_bytes": memory.grown_bytes(),
                "peak_memory_exact": memory.is_peak,
                "session": session.facts,
            }
        return sessions, facts


def check_quantised(onnx: bytes, precision: str, *, calibrates: bool) -> None:
    """Raise HarnessError for a file whose result would be labelled with a precision that it does not have."""
    quantised = b"QuantizeLinear" in onnx
    if quantised and precision != "int8":
        raise HarnessError(
            "bad_input",
            "the network is quantised, so it would not be measured in %s" % precision,
            value=precision,
            remedy="Ask for int8, or give the file that was not quantised.",
        )
    if precision == "int8" and not quantised and not calibrates:
        raise HarnessError(
            "bad_input",
            "the network's file holds no QuantizeLinear, so it would not be measured in int8",
            value=precision,
            remedy="Give a quantised file, or ask for another precision.",
        )


def first_run(session: Session, backend: Backend) -> None:
    """Do a session's first inference; raises HarnessError for whatever its runtime raises."""
    try:
        session.run()
    except (HarnessError, MemoryError):
        raise
    except Exception as error:  # each runtime has its own, and no timed run can afford to translate them
        raise HarnessError(
            _code(error),
            "%s cannot run the network: %s" % (backend.name, error),
            remedy="Check the network by hand in this runtime on this device.",
        ) from error


def _code(error: Exception) -> str:
    text = str(error).lower()
    return (
        "oom" if any(words in text for words in ("bad_alloc", "out of memory", "allocate memory")) else "parse_rejected"
    )
