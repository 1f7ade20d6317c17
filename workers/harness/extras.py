"""What is measured besides latency, each in a pass of its own: images per second at larger batches, and energy."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

from .backends.base import Session
from .energy import Meter
from .errors import HarnessError
from .loading import Loader, first_run

MIN_RUNS = 3


def throughput(
    loader: Loader,
    onnx: bytes,
    image_shape: Tuple[int, ...],
    batches: Sequence[int],
    *,
    seconds: float,
    most_images: float,
) -> List[Dict[str, Any]]:
    """Return {"batch_size", "images_per_s"} of each batch size, or {"batch_size", "refused": why}.

    Each is a session of its own, run alone, one batch after the other: after a third of `seconds` to warm up, for
    `seconds`, and at least three times. A network that was exported for one batch size refuses the others. Batches of
    more than `most_images` are not tried: a process that runs out of memory loses all that it measured before.
    """
    found: List[Dict[str, Any]] = []
    for batch in batches:
        if batch > most_images:
            found.append({"batch_size": batch, "refused": "there may not be memory for it"})
            continue
        try:
            session = loader.load(onnx, (batch,) + image_shape)
            first_run(session, loader.backend)
        except HarnessError as error:
            found.append({"batch_size": batch, "refused": error.message[:300]})
            continue
        clock = loader.backend.clock
        _run_for(session, clock, seconds / 3)
        runs, elapsed_ns = _run_for(session, clock, seconds)
        session.close()
        found.append({"batch_size": batch, "images_per_s": round(batch * runs * 1e9 / elapsed_ns, 3)})
    return found


def energy(session: Session, clock: Callable[[], int], meter: Meter, *, seconds: float) -> Dict[str, Any]:
    """Return the millijoules of one inference, over a run of `seconds`, with what was measured and by what.

    All that the source counts is in it, what it takes when idle too. Nothing if the hardware stopped answering.
    """
    _run_for(session, clock, seconds / 3)
    meter.start()
    runs, _ = _run_for(session, clock, seconds)
    reading = meter.stop()
    if reading is None:
        return {}
    return {
        "energy_mj": reading.millijoules / runs,
        "energy_source": meter.source,
        "energy_s": reading.seconds,
        "energy_samples": reading.samples,
    }


def _run_for(session: Session, clock: Callable[[], int], seconds: float) -> Tuple[int, int]:
    """Run until the time is over; the number of runs and the nanoseconds they took."""
    runs, began = 0, clock()
    while True:
        session.run()
        runs += 1
        elapsed = clock() - began
        if runs >= MIN_RUNS and elapsed >= seconds * 1e9:
            return runs, max(1, elapsed)
