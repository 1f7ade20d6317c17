"""Loading: what a backend is given, and what the first inference may raise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.harness.backends.null import NullBackend
from workers.harness.errors import HarnessError
from workers.harness.loading import Loader, first_run
from workers.harness.loop import Plan
from workers.harness.spec import CalibrationSpec, Spec


def spec(**changes: Any) -> Spec:
    asked = {
        "backend": "null",
        "precision": "fp32",
        "threads": 1,
        "shape": (1, 3, 8, 8),
        "networks": {},
        "plan": Plan(),
        "seed": 5,
        "folder": Path(),
        "evaluate": None,
    }
    return Spec(**{**asked, **changes})


def test_calibration_images_are_normalised(tmp_path: Path) -> None:
    header = {"format": "lp-eval-1", "n": 2, "height": 4, "width": 4, "channels": 1, "classes": 10}
    pixels = np.full((2, 4, 4, 1), 255, dtype=np.uint8)
    (tmp_path / "pack").write_bytes(json.dumps(header).encode() + b"\n" + pixels.tobytes() + bytes(4))
    calibration = CalibrationSpec(tmp_path / "pack", {"channels": 3, "mean": [0.5], "std": [0.25]})
    images = Loader.of(spec(calibration=calibration), NullBackend()).options.calibration
    assert images is not None
    assert (images.shape, images.dtype) == ((2, 3, 4, 4), np.float32)
    assert set(images.ravel()) == {2.0}


def test_the_folder_of_the_runtimes_is_this_users_alone(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "runtimes"
    assert Loader.of(spec(cache=cache), NullBackend()).options.cache == cache
    assert cache.stat().st_mode & 0o077 == 0


def test_the_input_is_noise_of_the_seed() -> None:
    noise = Loader.of(spec(), NullBackend()).noise((2, 3, 8, 8))
    assert noise.tolist() == Loader.of(spec(), NullBackend()).noise((2, 3, 8, 8)).tolist()
    assert 0.8 < float(noise.std()) < 1.2


@pytest.mark.parametrize(
    ("words", "code"), [("std::bad_alloc", "oom"), ("CUDA out of memory", "oom"), ("no kernel", "parse_rejected")]
)
def test_whatever_a_runtime_raises_at_its_first_run_has_a_reason(words: str, code: str) -> None:
    class Failing:
        parts = ()

        def run(self) -> None:
            raise RuntimeError(words)

    failing: Any = Failing()
    with pytest.raises(HarnessError, match=f"null cannot run the network: {words}") as caught:
        first_run(failing, NullBackend())
    assert caught.value.code == code
