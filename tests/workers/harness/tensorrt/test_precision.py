"""Weak and strong typing, fp32, fp16 and int8: what the builder may choose, and what a file must state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workers.harness.errors import HarnessError

Net = Callable[..., bytes]
Rigs = Callable[..., Any]


@pytest.mark.parametrize(
    ("version", "precision", "settings", "flags"),
    [
        ("8.5.2", "fp32", {}, {"TF32"}),
        ("8.5.2", "fp16", {}, {"TF32", "FP16"}),
        ("8.5.2", "fp32", {"tf32": False}, set()),
        ("10.3.0", "fp16", {"typing": "weak"}, {"TF32", "FP16"}),
        ("10.3.0", "fp16", {"typing": "weak", "dla": 1}, {"TF32", "FP16", "GPU_FALLBACK"}),
    ],
)
def test_weak_typing_lets_the_builder_choose(
    rig: Rigs, conv_net: Net, version: str, precision: str, settings: dict[str, Any], flags: set[str]
) -> None:
    found = rig(version)
    found.load(conv_net(), precision=precision, **settings)
    assert {flag.name for flag in found.module.last_config._flags} == flags


def test_strong_typing_sets_no_precision(rig: Rigs, half_net: Net) -> None:
    found = rig("10.3.0")
    found.load(half_net(), precision="fp16")
    assert {flag.name for flag in found.module.last_config._flags} == {"TF32"}


@pytest.mark.parametrize("version", ["10.3.0", "11.1.0", "rtx"])
def test_with_strong_typing_a_file_of_another_precision_is_refused(rig: Rigs, conv_net: Net, version: str) -> None:
    with pytest.raises(
        HarnessError, match="file carries fp32, not fp16, and with strong typing the file decides"
    ) as caught:
        rig(version).load(conv_net(), precision="fp16")
    assert caught.value.code == "bad_input"
    assert ("typing=weak" in caught.value.remedy) == (version == "10.3.0")


def test_a_half_file_is_never_called_fp32(rig: Rigs, half_net: Net) -> None:
    with pytest.raises(HarnessError, match="carries fp16, not fp32, and with weak typing"):
        rig("8.5.2").load(half_net())


def test_int8_of_a_file_that_is_quantised_needs_no_images(rig: Rigs, quantised_net: Net, images: np.ndarray) -> None:
    found = rig("8.5.2")
    found.load(quantised_net(), precision="int8", images=images)
    assert "int8_calibrator" not in vars(found.module.last_config)
    assert {"INT8", "FP16"} <= {flag.name for flag in found.module.last_config._flags}


def test_int8_is_calibrated_with_whole_batches_of_the_images(rig: Rigs, conv_net: Net, images: np.ndarray) -> None:
    found = rig("8.5.2")
    session = found.load(conv_net(), precision="int8", images=images)
    copied = found.cudart.calls.count("cudaMemcpyAsync")
    assert copied == 2 + 1  # two batches of two of five images, then the session's input
    assert found.module.last_config.int8_calibrator.get_batch_size() == 2
    session.close()
    assert found.cudart.alive == {}


def test_a_copy_that_fails_while_calibrating_is_the_error(rig: Rigs, conv_net: Net, images: np.ndarray) -> None:
    found = rig("8.5.2")
    found.cudart.faults["cudaMemcpyAsync"] = 700
    with pytest.raises(HarnessError, match="cudaMemcpyAsync failed"):
        found.load(conv_net(), precision="int8", images=images)
    assert found.cudart.alive == {}


def test_too_few_images_are_refused(rig: Rigs, conv_net: Net, images: np.ndarray) -> None:
    with pytest.raises(HarnessError, match="1 calibration images do not fill a batch of 2"):
        rig("8.5.2").load(conv_net(), precision="int8", images=images[:1])


@pytest.mark.parametrize(("version", "words"), [("8.5.2", "no images to find"), ("11.1.0", "carries fp32, not int8")])
def test_int8_without_ranges_is_refused(rig: Rigs, conv_net: Net, version: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        rig(version).load(conv_net(), precision="int8")
