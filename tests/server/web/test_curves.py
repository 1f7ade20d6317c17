"""Curves of networks that are still being trained, from the progress that their workers reported."""

from __future__ import annotations

from server.web.curves import by_epoch, version
from server.web.figures import Curve


def test_the_last_loss_of_an_epoch_counts_and_the_next_epoch_brings_its_accuracy() -> None:
    losses, accuracies = by_epoch(
        [
            {"phase": "preparing"},
            {"epoch": 1, "loss": 2.0},
            {"epoch": 1, "loss": 1.0},
            {"epoch": 2, "loss": 0.9, "accuracy": 0.8},
            {"epoch": 2, "loss": 0.5, "accuracy": 0.9},
            {"epoch": 3, "loss": 0.4, "accuracy": 0.9},
        ]
    )
    assert losses == {1: 1.0, 2: 0.5, 3: 0.4}
    assert accuracies == {1: 0.8, 2: 0.9}


def test_a_version_counts_what_is_known() -> None:
    assert version([Curve("a", "base", [1, 2], [1.0, 0.5], [0.8, None])]) == 3
