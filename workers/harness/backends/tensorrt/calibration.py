"""Int8 ranges from images, for TensorRT up to 10: newer ones take them from the file only."""

from __future__ import annotations

from typing import Any, Iterator, List, Optional

import numpy as np

from ...cuda import TO_DEVICE, Cuda
from ...errors import HarnessError
from .compat import Library


def make_calibrator(library: Library, cuda: Cuda, images: np.ndarray, *, batch: int) -> Any:
    """Return a calibrator (entropy, version 2: the one that also a DLA takes) that shows the images in whole batches.

    `images` are normalised, float32 (n, C, H, W). Call `check()` after building and `close()` at the end.
    Raises HarnessError if there is not even one batch.
    """
    if len(images) < batch:
        raise HarnessError(
            "bad_input",
            "%d calibration images do not fill a batch of %d" % (len(images), batch),
            value=len(images),
            remedy="Give more calibration images, or ask for a smaller batch.",
        )
    whole = np.ascontiguousarray(images[: len(images) // batch * batch], dtype=np.float32)
    batches = whole.reshape((-1, batch) + images.shape[1:])

    class Calibrator(library.api.IInt8EntropyCalibrator2):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.api.IInt8EntropyCalibrator2.__init__(self)
            self._batches: Iterator[np.ndarray] = iter(batches)
            self._stream = cuda.stream()
            self._buffer = cuda.allocate(batches[0].nbytes)
            self._failure: Optional[HarnessError] = None

        def get_batch_size(self) -> int:
            return batch

        def get_batch(self, names: List[str]) -> Optional[List[int]]:  # noqa: ARG002
            shown = next(self._batches, None)
            if shown is None:
                return None
            try:
                cuda.copy(self._buffer, shown.ctypes.data, shown.nbytes, TO_DEVICE, self._stream)
                cuda.wait_for_stream(self._stream)
            except HarnessError as error:  # the binding would print it and go on as if the images had ended
                self._failure = error
                return None
            return [self._buffer]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:  # noqa: ARG002
            return None

        def check(self) -> None:
            """Raise what went wrong while images were shown."""
            if self._failure is not None:
                raise self._failure

        def close(self) -> None:
            """Give back the memory."""
            cuda.free(self._buffer)
            cuda.destroy_stream(self._stream)

    return Calibrator()
