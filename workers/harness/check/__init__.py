"""The three networks of `layerprune device check`; benchmarks/check_networks.py makes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from ..evaluate import FORMAT

FOLDER = Path(__file__).resolve().parent
INDEX = "networks.json"
SIZE, CLASSES = 64, 10
TILE = 8


@dataclass(frozen=True)
class Bundled:
    """One network: its file, and its outputs (images, classes) as the onnx package's evaluator computes them."""

    name: str
    onnx: Path
    reference: Path


@dataclass(frozen=True)
class Bundle:
    """All networks, the seeds of the images that they answer, and how pixels become input."""

    networks: List[Bundled]
    seeds: List[int]
    preprocess: Dict[str, Any]


def bundle() -> Bundle:
    """Find what is bundled."""
    index = json.loads((FOLDER / INDEX).read_text(encoding="utf-8"))
    networks = [Bundled(name, FOLDER / (name + ".onnx"), FOLDER / (name + ".npy")) for name in index["networks"]]
    return Bundle(networks, index["seeds"], index["preprocess"])


def image(seed: int) -> np.ndarray:
    """Draw one image, uint8 (SIZE, SIZE, 3): tiles of random colours, more or less bright and contrasting."""
    draw = np.random.RandomState(seed)
    colours = draw.standard_normal((SIZE // TILE, SIZE // TILE, 3))
    level, contrast = draw.uniform(60, 190, 3), draw.uniform(5, 60, 3)
    pixels = np.clip(np.rint(level + contrast * colours), 0, 255).astype(np.uint8)
    return np.kron(pixels, np.ones((TILE, TILE, 1), dtype=np.uint8))


def write_pack(network: Bundled, seeds: List[int], path: Path) -> None:
    """Write the images as an evaluation pack (see `evaluate`); an image's label is the reference's answer."""
    images = np.stack([image(seed) for seed in seeds])
    labels = np.load(str(network.reference), allow_pickle=False).argmax(axis=1)
    n, height, width, channels = images.shape
    header = {"format": FORMAT, "n": n, "height": height, "width": width, "channels": channels, "classes": CLASSES}
    path.write_bytes(json.dumps(header).encode() + b"\n" + images.tobytes() + labels.astype("<u2").tobytes())
