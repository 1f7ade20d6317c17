"""Run the evaluation pack through the very session that was timed.

A pack is one line of JSON, `{"format": "lp-eval-1", "n", "height", "width", "channels", "classes"}`, then the images as
uint8 (n, height, width, channels), already resized and cropped, then n little-endian uint16 labels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from .backends.base import Session
from .errors import HarnessError

FORMAT = "lp-eval-1"
MAX_HEADER_BYTES = 1 << 24
MAX_RELATIVE_DIFFERENCE = 1e-2
MIN_ARGMAX_AGREEMENT = 0.99
COARSE = ("bf16", "int8")
"""Precisions whose steps alone are larger than MAX_RELATIVE_DIFFERENCE: they are held to a direction instead."""
MIN_COARSE_COSINE = 0.99
MIN_COARSE_ARGMAX_AGREEMENT = 0.9
WORST_DIFFERENCE = 1e6
"""Stands for every larger difference, and for outputs that are not finite."""


@dataclass(frozen=True)
class Pack:
    """Images (n, height, width, channels) as uint8, mapped from the file, and their labels."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Preprocess:
    """How pixels become the network's input; mean and std per channel, for pixels scaled to 0..1."""

    channels: int
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def from_dict(cls, record: Dict[str, Any]) -> Preprocess:
        channels = int(record["channels"])
        mean, std = (np.asarray(record[name], dtype=np.float32) for name in ("mean", "std"))
        if mean.shape not in ((channels,), (1,)) or std.shape not in ((channels,), (1,)):
            raise HarnessError(
                "bad_input",
                "preprocessing has %d means and %d deviations for %d channels" % (mean.size, std.size, channels),
                value=record,
                remedy="Give one of each per channel.",
            )
        return cls(channels, mean, std)


@dataclass(frozen=True)
class Evaluation:
    """How a session answered: one outcome per image in stored order, and how far its outputs are from the reference."""

    outcomes: np.ndarray
    max_relative_difference: float
    agrees: bool


def read_pack(path: Path) -> Pack:
    """Map an evaluation pack into memory; raises HarnessError if sizes and header disagree."""
    with path.open("rb") as file:
        line = file.readline(MAX_HEADER_BYTES)
    try:
        header = json.loads(line)
        n, shape = int(header["n"]), tuple(int(header[name]) for name in ("n", "height", "width", "channels"))
    except (ValueError, TypeError, KeyError) as error:
        raise HarnessError(
            "bad_input", "the evaluation pack's header is broken: %s" % error, value=str(line[:80])
        ) from error
    pixels, size = int(np.prod(shape)), path.stat().st_size
    if header.get("format") != FORMAT or min(shape) < 1 or size != len(line) + pixels + 2 * n:
        raise HarnessError(
            "bad_input",
            "the evaluation pack of %d bytes is not %s with %s images" % (size, FORMAT, shape),
            value=header,
            remedy="Score the model again; its worker writes a new pack.",
        )
    images = np.memmap(str(path), dtype=np.uint8, mode="r", offset=len(line), shape=shape)
    labels = np.fromfile(str(path), dtype="<u2", count=n, offset=len(line) + pixels)
    return Pack(images, labels)


def normalise(images: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Turn uint8 (n, H, W, C) into float32 (n, channels, H, W); one grey channel is repeated where three are wanted."""
    if images.shape[3] == 1 and preprocess.channels == 3:
        images = np.repeat(images, 3, axis=3)
    if images.shape[3] != preprocess.channels:
        raise HarnessError(
            "bad_input",
            "the network takes %d channels, the images have %d" % (preprocess.channels, images.shape[3]),
            value=int(images.shape[3]),
            remedy="Use a preprocessing that fits the data set.",
        )
    scaled = (images.astype(np.float32) / np.float32(255) - preprocess.mean) / preprocess.std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def evaluate(
    session: Session,
    pack: Pack,
    preprocess: Preprocess,
    *,
    batch: int,
    reference: Optional[Path],
    precision: str = "fp32",
) -> Evaluation:
    """Answer every image in batches of the session's own size, the last one padded by its first image."""
    outputs = []
    for start in range(0, len(pack.labels), batch):
        images = normalise(np.asarray(pack.images[start : start + batch]), preprocess)
        padded = np.concatenate([images] + [images[:1]] * (batch - len(images)))
        outputs.append(session.infer(padded)[: len(images)].copy())
    answers = np.concatenate(outputs)
    outcomes = (answers.argmax(axis=1) == pack.labels) & np.isfinite(answers).all(axis=1)
    expected = None if reference is None else np.load(str(reference), allow_pickle=False)
    difference, agrees = compare(answers, expected, precision)
    return Evaluation(outcomes, difference, agrees)


def compare(outputs: np.ndarray, reference: Optional[np.ndarray], precision: str = "fp32") -> Tuple[float, bool]:
    """Compare outputs to the reference's first images: the largest difference over the reference's largest value.

    They agree if that is at most 1e-2 and the answers are the same for at least 99 % of the images. In bf16 and int8
    they agree if the cosine of all outputs is at least 0.99 and 90 % of the answers are the same: what such a network
    got wrong beyond that shows in its accuracy, which is measured.
    """
    if not np.isfinite(outputs).all():
        return WORST_DIFFERENCE, False
    if reference is None:
        return 0.0, True
    ours = outputs[: len(reference)]
    if ours.shape != reference.shape or not np.isfinite(reference).all():
        return WORST_DIFFERENCE, False
    scale = max(float(np.abs(reference).max()), float(np.finfo(np.float32).tiny))
    difference = min(float(np.abs(ours - reference).max()) / scale, WORST_DIFFERENCE)
    same = float((ours.argmax(axis=1) == reference.argmax(axis=1)).mean())
    if precision in COARSE:
        return difference, _cosine(ours, reference) >= MIN_COARSE_COSINE and same >= MIN_COARSE_ARGMAX_AGREEMENT
    return difference, difference <= MAX_RELATIVE_DIFFERENCE and same >= MIN_ARGMAX_AGREEMENT


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.sum(a * b)) / lengths if lengths else float(not np.any(a - b))
