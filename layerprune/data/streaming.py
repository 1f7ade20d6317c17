"""Splits too large to lie decoded in memory: decoded when they are asked for, some batches ahead."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from layerprune.api.network import Preprocess

from .feed import Batch, Device, Feed, mirror, split_evenly
from .preprocess import crop_at_random, fit, normalise
from .source import Labels, Pixels, Source

_AHEAD = 2
"""Batches that are decoded while one is used: memory stays flat however large the set is."""

_CHUNK = 16
"""Images that one thread decodes in a row: handing them over one by one takes longer than to decode a small one."""


class StreamedFeed(Feed):
    """Images of a source, decoded and brought to the network's size by a pool of threads (PIL works without the lock).

    For training, a crop of 35 to 100 per cent of the area and of 3/4 to 4/3 of the aspect is cut at random and resized,
    as in Szegedy et al. 2015 (arXiv 1409.4842, section 6), there from 8 per cent on; variants are only fine-tuned.
    """

    def __init__(self, source: Source, positions: Labels, labels: Tensor, preprocess: Preprocess) -> None:
        super().__init__(labels, preprocess)
        self._source, self._positions = source, positions

    def epoch(
        self,
        batch_size: int,
        *,
        generator: torch.Generator,
        device: Device = "cpu",
        flip: bool = False,
        skip: int = 0,
    ) -> Iterator[Batch]:
        parts = split_evenly(torch.randperm(len(self), generator=generator), batch_size)[skip:]
        # One draw for the whole epoch, since batches are begun long before they are yielded.
        seed = int(torch.randint(2**62, (1,), generator=generator))
        draws = [_draws(seed, skip + number, len(part)) for number, part in enumerate(parts)]
        jobs = (list(zip(part.tolist(), draw[:, :4], strict=True)) for part, draw in zip(parts, draws, strict=True))
        for part, draw, pixels in zip(parts, draws, self._decoded(jobs), strict=True):
            placed = pixels.to(device)
            turned = mirror(placed, draw[:, 4] < 0.5) if flip else placed
            yield normalise(turned, self.preprocess), self.labels[part].to(device)

    def pixels(self, positions: Tensor) -> Tensor:
        return next(self.read([positions]))

    def read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        return self._decoded([(position, None) for position in part.tolist()] for part in parts)

    def subset(self, positions: Tensor) -> StreamedFeed:
        chosen = self._positions[positions.numpy()]
        return StreamedFeed(self._source, chosen, self.labels[positions], self.preprocess)

    def _decoded(self, jobs: Iterable[Sequence[tuple[int, Tensor | None]]]) -> Iterator[Tensor]:
        waiting: deque[list[Future[list[Pixels]]]] = deque()
        try:
            for batch in jobs:
                chunks = (batch[start : start + _CHUNK] for start in range(0, len(batch), _CHUNK))
                waiting.append([_pool().submit(self._decode, chunk) for chunk in chunks])
                if len(waiting) > _AHEAD:
                    yield _stack(waiting.popleft())
            while waiting:
                yield _stack(waiting.popleft())
        finally:
            for futures in waiting:
                for future in futures:
                    future.cancel()

    def _decode(self, chunk: Sequence[tuple[int, Tensor | None]]) -> list[Pixels]:
        images = ((self._source.image(int(self._positions[position])), draw) for position, draw in chunk)
        return [
            fit(image, self.preprocess) if draw is None else crop_at_random(image, self.preprocess, draw.tolist())
            for image, draw in images
        ]


def decode_all(source: Source, positions: Labels, preprocess: Preprocess) -> Tensor:
    """Decode these images at once (uint8 N x C x H x W)."""
    feed = StreamedFeed(source, positions, torch.zeros(len(positions), dtype=torch.int64), preprocess)
    parts = torch.split(torch.arange(len(positions)), 256)
    return torch.cat(list(feed.read(parts)))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode")


# A fork has the pool, but none of its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


# A forked process (one of several that train together) has its parent's pool without the threads in it.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _stack(futures: Sequence[Future[list[Pixels]]]) -> Tensor:
    pixels = np.stack([pixels for future in futures for pixels in future.result()])
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _draws(seed: int, number: int, count: int) -> Tensor:
    """Uniform draws from 0..1 for the images of one batch (count x 5): area, aspect, top, left, mirror."""
    generator = torch.Generator().manual_seed((seed + number) % 2**63)
    return torch.rand(count, 5, generator=generator)
