"""What a condition may ask of TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workers.harness.errors import HarnessError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"graph": True}, "tensorrt has no setting 'graph'; it has: typing, cuda_graph"),
        ({"cuda_graph": 1}, "cuda_graph of tensorrt 10.3.0 is 1; it can be true or false"),
        ({"typing": "loose"}, "typing of tensorrt 10.3.0 is 'loose'; it can be strong or weak"),
        ({"builds": 0}, "builds of tensorrt 10.3.0 is 0; it can be an integer from 1 to 8"),
        ({"builds": True}, "builds of tensorrt 10.3.0 is True"),
        ({"optimization_level": 6}, "it can be an integer from 0 to 5"),
        ({"dla": -1}, "it can be an integer from 0 to 7"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(HarnessError, match=words) as caught:
        rig("10.3.0").load(conv_net(), **settings)
    assert caught.value.code == "bad_input"
    assert caught.value.remedy


@pytest.mark.parametrize(("version", "typing"), [("8.5.2", "weak"), ("10.3.0", "strong"), ("11.1.0", "strong")])
def test_the_flags_hold_the_defaults_and_how_precision_is_chosen(
    rig: Callable[..., Any], version: str, typing: str
) -> None:
    assert rig(version).backend.flags() == {
        "typing": typing,
        "cuda_graph": True,
        "transfers": False,
        "builds": 1,
        "tf32": True,
        "wait": "spin",
    }


def test_the_flags_follow_the_last_load(rig: Callable[..., Any], conv_net: Callable[..., bytes]) -> None:
    found = rig("10.3.0")
    found.load(conv_net(), typing="weak", optimization_level=5, builds=2)
    flags = found.backend.flags()
    assert (flags["typing"], flags["optimization_level"], flags["builds"]) == ("weak", 5, 2)
