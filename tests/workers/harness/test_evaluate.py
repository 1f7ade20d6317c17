"""The evaluation pack: read, normalised, answered, compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.harness.errors import HarnessError
from workers.harness.evaluate import WORST_DIFFERENCE, Preprocess, compare, evaluate, normalise, read_pack

IDENTITY = Preprocess(channels=1, mean=np.zeros(1, np.float32), std=np.ones(1, np.float32))


class Brightest:
    """Answers with the index of the brightest pixel of an image, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def run(self) -> None:
        return

    def infer(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch)
        return batch.reshape(len(batch), -1)

    def close(self) -> None:
        return


def write_pack(path: Path, images: np.ndarray, labels: list[int], **changes: Any) -> Path:
    n, height, width, channels = images.shape
    header = {"format": "lp-eval-1", "n": n, "height": height, "width": width, "channels": channels, "classes": 4}
    line = json.dumps(header | changes).encode() + b"\n"
    path.write_bytes(line + images.astype(np.uint8).tobytes() + np.array(labels, dtype="<u2").tobytes())
    return path


def images() -> np.ndarray:
    """Five images of 2x2 whose brightest pixels are 0, 1, 2, 3 and 0."""
    return np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9], [9, 1, 1, 1]]).reshape(5, 2, 2, 1)


def test_a_pack_is_read_as_it_was_written(tmp_path: Path) -> None:
    pack = read_pack(write_pack(tmp_path / "pack", images(), [0, 1, 2, 3, 300]))
    assert pack.images.tolist() == images().tolist()
    assert pack.labels.tolist() == [0, 1, 2, 3, 300]


@pytest.mark.parametrize(
    "changes",
    [{"format": "lp-eval-2"}, {"n": 6}, {"height": -2, "width": -2}, {"channels": 3}, {"n": None}],
    ids=lambda changes: str(changes),
)
def test_a_pack_that_contradicts_its_header_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="evaluation pack"):
        read_pack(write_pack(tmp_path / "pack", images(), [0] * 5, **changes))


def test_pixels_are_scaled_shifted_and_put_channels_first() -> None:
    preprocess = Preprocess.from_dict({"channels": 3, "mean": [0.0, 0.5, 1.0], "std": [1.0, 0.5, 2.0]})
    found = normalise(np.array([[[[255, 0, 51]]]], dtype=np.uint8), preprocess)
    assert found.shape == (1, 3, 1, 1)
    assert found.ravel().tolist() == pytest.approx([1.0, -1.0, -0.4])


def test_a_grey_image_is_repeated_for_three_channels() -> None:
    preprocess = Preprocess.from_dict({"channels": 3, "mean": [0.0], "std": [1.0]})
    assert normalise(np.full((1, 2, 2, 1), 255, dtype=np.uint8), preprocess).tolist() == np.ones((1, 3, 2, 2)).tolist()


def test_other_channels_are_refused() -> None:
    with pytest.raises(HarnessError, match="takes 1 channels, the images have 3"):
        normalise(np.zeros((1, 2, 2, 3), dtype=np.uint8), IDENTITY)


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_every_image_is_answered_once_in_batches_of_the_sessions_size(tmp_path: Path, batch: int) -> None:
    session = Brightest()
    pack = read_pack(write_pack(tmp_path / "pack", images(), [0, 1, 0, 3, 0]))
    found = evaluate(session, pack, IDENTITY, batch=batch, reference=None)
    assert found.outcomes.tolist() == [True, True, False, True, True]
    assert {len(b) for b in session.batches} == {batch}


def test_outputs_are_compared_to_the_reference_of_the_first_images(tmp_path: Path) -> None:
    reference = tmp_path / "reference.npy"
    np.save(reference, normalise(images().astype(np.uint8), IDENTITY).reshape(5, 4)[:3])
    pack = read_pack(write_pack(tmp_path / "pack", images(), [0] * 5))
    found = evaluate(Brightest(), pack, IDENTITY, batch=2, reference=reference)
    assert (found.max_relative_difference, found.agrees) == (0.0, True)


def test_the_difference_is_relative_to_the_largest_reference() -> None:
    difference, agrees = compare(np.array([[1.0, 200.0], [2.0, 100.0]]), np.array([[1.0, 200.0], [3.0, 100.0]]))
    assert difference == pytest.approx(1 / 200)
    assert agrees


def test_other_answers_do_not_agree_however_small_the_difference() -> None:
    assert compare(np.array([[1.0, 1.001]]), np.array([[1.001, 1.0]]))[1] is False


@pytest.mark.parametrize(
    "outputs", [[[np.nan, 1.0]], [[np.inf, 1.0]], [[1.0, 2.0, 3.0]]], ids=["nan", "infinite", "other shape"]
)
def test_broken_outputs_do_not_agree(outputs: list[list[float]]) -> None:
    assert compare(np.array(outputs), np.array([[0.0, 1.0]])) == (WORST_DIFFERENCE, False)


def test_nan_is_never_a_correct_answer(tmp_path: Path) -> None:
    class Broken(Brightest):
        def infer(self, batch: np.ndarray) -> np.ndarray:
            return np.full((len(batch), 4), np.nan, dtype=np.float32)

    pack = read_pack(write_pack(tmp_path / "pack", images(), [0] * 5))
    found = evaluate(Broken(), pack, IDENTITY, batch=5, reference=None)
    assert not found.outcomes.any()
    assert not found.agrees


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_coarse_precisions_agree_by_direction(precision: str) -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((50, 10))
    reference[np.arange(50), rng.integers(0, 10, 50)] += 5
    rough = reference + rng.normal(0, 0.05, reference.shape)
    assert compare(rough, reference)[1] is False
    difference, agrees = compare(rough, reference, precision)
    assert difference > 1e-2
    assert agrees


def test_a_coarse_precision_may_not_answer_something_else() -> None:
    reference = np.eye(10) * 5
    assert compare(np.roll(reference, 1, axis=1), reference, "int8")[1] is False
