"""The table of flags, and the verdict that follows."""

from __future__ import annotations

import pytest

from layerprune.api.errors import BadInput
from layerprune.flags import FLAGS, verdict


def test_flags_decide_the_verdict() -> None:
    assert verdict([]) == "stable"
    assert verdict(["single_process"]) == "stable"
    assert verdict(["single_process", "steal"]) == "flagged"
    assert verdict(["steal", "output_mismatch"]) == "invalid"
    with pytest.raises(BadInput, match=r"unknown flag 'sunny'.*aa_off"):
        verdict(["sunny"])


def test_every_flag_says_what_it_means_and_what_to_do() -> None:
    assert all(flag.meaning and flag.remedy for flag in FLAGS.values())
