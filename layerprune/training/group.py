"""Several processes that train one network together, one per GPU, by torch's DistributedDataParallel.

They are forked, so that network and data need not travel, and all run the same function; the first of them, which is
the caller itself, alone judges, reports and writes. A fork cannot use CUDA if its parent has: form the group first.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
_IMAGES_EACH = 16
_PATIENCE = timedelta(days=1)  # the others wait while the first one evaluates, or makes room for a measurement


@dataclass(frozen=True)
class Group:
    """One process's place among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process judges, reports and writes."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The device that this process trains on: its GPU if there are any, else the CPU."""
        return torch.device("cuda", self.rank) if torch.cuda.device_count() else torch.device("cpu")

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what averages the gradients over the group in its backward pass; the model itself if alone.

        Batch norm sees each process's own part of the batch; its buffers are the first process's.
        """
        if self.size == 1:
            return model
        return DistributedDataParallel(model)

    def part(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return this process's part of a batch, and how much more than an average part it is."""
        if self.size == 1:
            return images, labels, 1.0
        own = labels.tensor_split(self.size)[self.rank]
        share = len(own) * self.size / len(labels)
        return images.tensor_split(self.size)[self.rank], own, share

    def mean(self, value: Tensor, share: float) -> Tensor:
        """Return the mean of a value over the whole batch."""
        if self.size == 1:
            return value
        total = value * (share / self.size)
        distributed.all_reduce(total)
        return total

    def meet(self) -> None:
        """Wait until all are here; raises RuntimeError if one of them has died. No GPU is busy meanwhile."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1))

    def agree(self, decide: Callable[[], T]) -> T:
        """Have the first process decide, and all know."""
        if self.size == 1:
            return decide()
        told: list[T | None] = [decide() if self.leads else None]
        distributed.broadcast_object_list(told, src=0)
        decision = told[0]
        assert decision is not None
        return decision


ALONE = Group()


def processes_for(batch_size: int) -> int:
    """Say how many processes are to share a batch: one per visible GPU, as long as each has 16 images at least.

    CUDA_VISIBLE_DEVICES is how to lend a training fewer GPUs.
    """
    return max(1, min(torch.cuda.device_count(), batch_size // _IMAGES_EACH))


def together(work: Callable[[Group], T], *, processes: int) -> T:
    """Run the function in so many processes and return what it gives in this one, the first.

    Raises what the function raises here, which it also does soon after another process has died.
    """
    if processes == 1:
        return work(ALONE)
    with tempfile.TemporaryDirectory(prefix="layerprune-group-") as folder:
        place = Path(folder) / "meeting"
        context = multiprocessing.get_context("fork")
        others = [
            context.Process(target=_join, args=(work, rank, processes, place), daemon=True)
            for rank in range(1, processes)
        ]
        for other in others:
            other.start()
        try:
            result = _join(work, 0, processes, place)
            for other in others:
                other.join()
            return result
        finally:
            for other in others:
                other.kill()


def _join(work: Callable[[Group], T], rank: int, size: int, place: Path) -> T:
    group = Group(rank, size)
    if rank > 0:
        torch.set_num_threads(1)  # a fork has none of the threads that its parent's pool counts on
    backend = "cpu:gloo"
    if group.device.type == "cuda":
        torch.cuda.set_device(group.device)
        backend += ",cuda:nccl"
    distributed.init_process_group(
        backend, init_method=f"file://{place}", rank=rank, world_size=size, timeout=_PATIENCE
    )
    try:
        return work(group)
    finally:
        distributed.destroy_process_group()
