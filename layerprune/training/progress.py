"""What a training says of itself while it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from layerprune.api.jobs import Progress
from layerprune.api.training import EpochRecord

_REPORT_EVERY_S = 0.4
_SMOOTHED_STEPS = 20


class Reporter:
    """Turns steps and epochs into progress, at most every 0.4 s, and keeps the time that was not spent waiting.

    `steps` counts from the start of the whole training, also of one that was resumed.
    """

    def __init__(
        self, phase: str, *, epochs: int, total: int, send: Callable[[Progress], None] | None, steps: int = 0
    ) -> None:
        self.steps = self._first = steps
        self._phase, self._epochs, self._total, self._send = phase, epochs, total, send
        self._losses: deque[float] = deque(maxlen=_SMOOTHED_STEPS)
        self._accuracy: float | None = None
        self._waited = 0.0
        self._started = self._reported = self.clock()

    def clock(self) -> float:
        return time.monotonic() - self._waited

    def wait(self, pause: Callable[[], None]) -> None:
        """Call what may block, off the clock."""
        before = time.monotonic()
        pause()
        self._waited += time.monotonic() - before

    def step(self, epoch: int, loss: float) -> None:
        self.steps += 1
        self._losses.append(loss)
        if self.clock() - self._reported >= _REPORT_EVERY_S:
            self._report(epoch, sum(self._losses) / len(self._losses))

    def epoch(self, record: EpochRecord) -> None:
        self._accuracy = record.validation_accuracy
        self._losses.clear()
        self._report(record.epoch, record.loss)

    def _report(self, epoch: int, loss: float) -> None:
        self._reported = self.clock()
        if self._send is not None:
            per_step = (self._reported - self._started) / max(1, self.steps - self._first)
            self._send(
                Progress(
                    phase=self._phase,
                    message=f"epoch {epoch} of {self._epochs}",
                    fraction=self.steps / self._total,
                    epoch=epoch,
                    epochs=self._epochs,
                    loss=loss,
                    accuracy=self._accuracy,
                    seconds_left=per_step * (self._total - self.steps),
                )
            )
