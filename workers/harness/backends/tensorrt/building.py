"""From ONNX bytes to an engine."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ...errors import HarnessError
from . import dla
from .compat import MODULES, STRONG, WEAK, Library, find_library
from .parsing import Draft, Parsed, Refusal, parse

__all__ = ["BuildOptions", "Engine", "Library", "Parsed", "Refusal", "build", "libraries", "parse"]

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class BuildOptions:
    """How to build. Shapes are (batch, C, H, W); the engine takes those between `smallest` and `largest`.

    Without a shape there is no optimization profile, which does for a network without open sizes. `typing` is one of
    the library's typings and by default its preferred one. `capability`, such as "SM86", is the GPU to build for, where
    the library can build for one that is not here. `calibrator` is an object of `calibration`, `timings` a cache that
    an earlier build returned.
    """

    shape: Optional[Tuple[int, ...]] = None
    smallest: Optional[Tuple[int, ...]] = None
    largest: Optional[Tuple[int, ...]] = None
    precision: str = "fp32"
    typing: Optional[str] = None
    capability: Optional[str] = None
    tf32: bool = True
    optimization_level: Optional[int] = None
    dla_core: Optional[int] = None
    calibrator: Any = None
    timings: bytes = b""


@dataclass(frozen=True)
class Engine:
    """A built engine: its bytes, how long building took, the network's number of layers, the cache of timings.

    `facts` is what must be kept beside the bytes to understand the engine: see `dla.assign`.
    """

    plan: bytes
    seconds: float
    layers: int
    cache: bytes
    facts: Dict[str, Any] = field(default_factory=dict)


def libraries() -> List[Library]:
    """List those of the two libraries that are installed here."""
    found = []
    for name in sorted(MODULES):
        with contextlib.suppress(ImportError):
            found.append(find_library(name))
    return found


def build(onnx: bytes, library: Library, options: BuildOptions) -> Engine:
    """Build an engine.

    Raises HarnessError: `parse_rejected` for what the library refuses, `oom`, `bad_input` for options it cannot meet.
    """
    typing = options.typing or library.typings[0]
    _check(options, typing, library)
    draft = Draft(onnx, library, typing)
    if draft.refusals:
        raise HarnessError(
            "parse_rejected",
            "%s %s refuses the network: %s"
            % (library.name, library.version, "; ".join(map(str, dict.fromkeys(draft.refusals)))),
            value=sorted({refusal.operator for refusal in draft.refusals if refusal.operator}),
            remedy="Replace these operators, or measure on another runtime.",
        )
    carried = draft.carried()
    _check_precision(carried, options, typing, library)
    calibrator = options.calibrator if options.precision == "int8" != carried else None
    config = _configure(draft, options, typing, calibrator, library)
    facts = {}
    if options.dla_core is not None:
        facts = dla.assign(draft.builder, draft.network, config, options.dla_core, library)
    started = time.perf_counter()
    plan = draft.builder.build_serialized_network(draft.network, config)
    seconds = time.perf_counter() - started
    if calibrator is not None:
        calibrator.check()
    if plan is None:
        raise library.failure("parse_rejected", "cannot build the network")
    timings = b""
    if library.times_kernels:
        cache = library.made(config.get_timing_cache(), "a timing cache")
        timings = bytes(library.made(cache.serialize(), "a timing cache's bytes"))
    return Engine(bytes(plan), seconds, draft.network.num_layers, timings, facts)


def _check(options: BuildOptions, typing: str, library: Library) -> None:
    for name, value, known in (
        ("precision", options.precision, PRECISIONS),
        ("typing", typing, library.typings),
    ):
        if value not in known:
            raise HarnessError(
                "bad_input",
                "%s %s has no %s %r; it has: %s" % (library.name, library.version, name, value, ", ".join(known)),
                value=value,
                remedy="Ask for one of these.",
            )
    if options.dla_core is not None and options.precision == "fp32":
        raise HarnessError(
            "bad_input",
            "a DLA computes in fp16 and int8 only, not in fp32",
            value=options.precision,
            remedy="Ask for another precision, or leave out the setting dla.",
        )


def _check_precision(carried: str, options: BuildOptions, typing: str, library: Library) -> None:
    """Refuse a file whose own precision is not the one that the result would be labelled with.

    With weak typing the builder may go below what the file states, never above.
    """
    wanted = options.precision
    if carried == wanted:
        return
    if typing == WEAK and wanted == "int8":
        if options.calibrator is None:
            raise HarnessError(
                "bad_input",
                "the network is not quantised, and there are no images to find its int8 ranges with",
                value=wanted,
                remedy="Give calibration images, or a file with QuantizeLinear and DequantizeLinear nodes.",
            )
        return
    if typing == WEAK and carried == "fp32":
        return
    remedy = "Give a file in %s, or ask for %s." % (wanted, carried)
    if typing == STRONG and WEAK in library.typings:
        remedy += " With the setting typing=weak the builder chooses by itself."
    raise HarnessError(
        "bad_input",
        "the network's file carries %s, not %s, and with %s typing the file decides" % (carried, wanted, typing),
        value=wanted,
        remedy=remedy,
    )


def _configure(draft: Draft, options: BuildOptions, typing: str, calibrator: Any, library: Library) -> Any:
    api, config = library.api, library.made(draft.builder.create_builder_config(), "a configuration")
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    if not options.tf32:
        config.clear_flag(api.BuilderFlag.TF32)
    if typing == WEAK and options.precision != "fp32":
        config.set_flag(api.BuilderFlag.FP16)
    if typing == WEAK and options.precision == "int8":
        config.set_flag(api.BuilderFlag.INT8)
    if options.optimization_level is not None:
        _set_level(config, options.optimization_level, library)
    library.choose_capability(config, options.capability)
    profile = _profile(draft, options, library)
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise library.failure("parse_rejected", "does not take the optimization profile")
    if calibrator is not None:
        config.int8_calibrator = calibrator
        if profile is not None:
            config.set_calibration_profile(profile)
    if library.times_kernels:
        # A cache of another version or GPU is not taken; an empty one always is.
        for timings in (options.timings, b""):
            cache = library.made(config.create_timing_cache(timings), "a timing cache")
            if config.set_timing_cache(cache, False):
                break
        else:
            raise library.failure("crashed", "does not take an empty timing cache")
    return config


def _set_level(config: Any, level: int, library: Library) -> None:
    if not hasattr(config, "builder_optimization_level"):
        raise HarnessError(
            "bad_input",
            "%s %s has no optimization levels" % (library.name, library.version),
            value=level,
            remedy="Leave out the setting optimization_level.",
        )
    config.builder_optimization_level = level


def _profile(draft: Draft, options: BuildOptions, library: Library) -> Any:
    """Make the optimization profile; None if nothing is open or no shape was given."""
    shape = options.shape
    if shape is None:
        return None
    inputs = draft.inputs()
    if len(inputs) != 1:
        raise HarnessError(
            "parse_rejected",
            "the network must have one input, it has %d" % len(inputs),
            value=sorted(inputs),
            remedy="Export it with a single image input.",
        )
    ((name, sizes),) = inputs.items()
    shapes = (options.smallest or shape, shape, options.largest or shape)
    for wanted in shapes:
        if not _fits(wanted, sizes):
            raise HarnessError(
                "parse_rejected",
                "the network's input %r takes %s, not %s" % (name, list(sizes), list(wanted)),
                value=list(wanted),
                remedy="Ask for a shape that it takes (-1 stands for any size), or export it with an open batch size.",
            )
    if any(not low <= usual <= high for low, usual, high in zip(*shapes)):  # noqa: B905
        raise HarnessError(
            "bad_input",
            "the shapes %s, %s and %s are not in rising order" % tuple(map(list, shapes)),
            value=[list(wanted) for wanted in shapes],
            remedy="Give the smallest, the usual and the largest shape.",
        )
    if -1 not in sizes:
        return None
    profile = library.made(draft.builder.create_optimization_profile(), "an optimization profile")
    profile.set_shape(name, *shapes)
    return profile


def _fits(shape: Sequence[int], sizes: Sequence[int]) -> bool:
    return len(shape) == len(sizes) and all(size in (-1, shape[axis]) for axis, size in enumerate(sizes))
