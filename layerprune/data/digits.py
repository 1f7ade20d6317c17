"""scikit-learn's handwritten digits: 1797 grey images of 8x8, bundled with the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from layerprune.api.dataset import DatasetSpec
from layerprune.api.network import Preprocess

from .source import ArraySource, Dataset
from .splits import split


def load(spec: DatasetSpec, *, folder: Path | None) -> Dataset:  # noqa: ARG001 (unpacks nothing)
    """Load the digits; 30 per cent of them are the test set."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, :, :, None]
    classes = tuple(str(name) for name in bunch.target_names)
    source = ArraySource(pixels, bunch.target.astype(np.int64))
    train, calibration, validation, test = split(classes, source, first=spec.max_train_images)
    seen = pixels[train.positions] / 255.0
    return Dataset(
        name="digits",
        classes=classes,
        train=train,
        calibration=calibration,
        validation=validation,
        test=test,
        preprocess=Preprocess(
            size=16, channels=1, mean=[round(float(seen.mean()), 4)], std=[round(float(seen.std()), 4)]
        ),
        base_epochs=20,
        flip=False,
    )
