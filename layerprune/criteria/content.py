"""Which image is used for what, decided by what it shows, so that neither order nor grouping of the images matters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE = 32
"""Images in the small sample for what is too slow to be done on all."""
_PIXELS = 4096
"""About so many evenly spread values tell an image from another; images that share them all go by their order."""


@dataclass(frozen=True)
class Content:
    """Per calibration image, in stored order: its label (int64), and whether it is held out or in the sample (bool)."""

    labels: Tensor
    held_out: Tensor
    drawn: Tensor


def read_content(batches: Sequence[tuple[Tensor, Tensor]]) -> Content:
    """Look at every image once: of each class every other one is held out, in the order of the images' hashes."""
    keys: list[tuple[bytes, int]] = []
    seen: list[Tensor] = []
    for images, labels in batches:
        flat = images.flatten(1)
        for image in flat[:, :: max(1, flat.shape[1] // _PIXELS)].cpu().contiguous().numpy():
            keys.append((hashlib.sha256(image.tobytes()).digest(), len(keys)))
        seen.append(labels.cpu())
    labels = torch.cat(seen) if seen else torch.zeros(0, dtype=torch.int64)
    held_out, drawn = (torch.zeros(len(keys), dtype=torch.bool) for _ in range(2))
    ranks: dict[int, int] = {}
    for rank, (_, place) in enumerate(sorted(keys)):
        label = int(labels[place])
        held_out[place] = ranks.setdefault(label, 0) % 2 == 1
        ranks[label] += 1
        drawn[place] = rank < SAMPLE
    return Content(labels, held_out, drawn)
