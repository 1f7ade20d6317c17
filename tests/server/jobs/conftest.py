"""A scripted worker that also searches and tries plans."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest


@dataclass
class Searching:
    """Answers searches with plans whose ratios are `found`, and trials with `accuracies` (correct of 157)."""

    worker: Any
    make_candidate: Callable[..., dict[str, Any]]
    found: list[float] = field(default_factory=list)
    accuracies: dict[str, int] = field(default_factory=dict)

    def search(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        number = min(payload["round"], len(self.found))
        plan = self.make_candidate("hybrid", "weight_l1", number, 16)
        self.worker.ratios[plan["architecture"]] = self.found[number - 1]
        if plan not in self.worker.candidates:
            self.worker.candidates.append(plan)
        solution = {name: plan[name] for name in ("family", "criterion", "plan_hash", "architecture")}
        architecture = {name: plan[name] for name in ("architecture", "params", "macs")}
        return {
            "candidates": [plan],
            "architectures": [architecture | {"onnx": self.worker.upload(plan["architecture"].encode())}],
            "solved": [
                solution | {"place": place["place"], "target": target, "predicted": target}
                for place in payload["places"]
                for target in place["targets"]
            ],
            "seconds": {"solving": 1.0},
        }

    def trial(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        hashes = [plan["plan_hash"] for plan in payload["plans"]]
        return {"accuracies": {one: {"correct": self.accuracies.get(one, 100), "n": 157} for one in hashes}}


def edit(target: str, cost: float) -> dict[str, Any]:
    """One layer less, and nothing else."""
    return {
        "id": f"layer:{target}",
        "kind": "layer",
        "target": target,
        "costs": {"weight_l1": cost, "loss_increase": cost / 10},
        "architecture": hashlib.sha256(target.encode()).hexdigest(),
        "macs": 9000,
        "params": 900,
    }


@pytest.fixture
def searching(scripted: Any, make_candidate: Any) -> Searching:
    """The scripted worker with layer plans by one criterion and two edits; its searches hit 0.69 at once."""
    scripted.candidates = [
        one for one in scripted.candidates if (one["family"], one["criterion"]) == ("layer", "weight_l1")
    ]
    scripted.edits = [edit("layer1", 1.0), edit("layer2", 2.0)]
    scripted.ratios |= {one["architecture"]: 0.9 for one in scripted.edits}
    answers = Searching(scripted, make_candidate, [0.69])
    scripted.answers = {"search": answers.search, "trial": answers.trial}
    return answers


@pytest.fixture
def trying(scripted: Any, make_candidate: Any) -> Searching:
    """The scripted worker with all its plans, which answers trials."""
    answers = Searching(scripted, make_candidate)
    scripted.answers = {"trial": answers.trial}
    return answers


@pytest.fixture
def refused(post: Callable[..., httpx.Response]) -> Callable[..., dict[str, Any]]:
    """Submit the example request with sections replaced, and give the error it is refused with."""

    def refused(**changes: Any) -> dict[str, Any]:
        response = post(**changes)
        assert response.status_code == 422, response.text
        return dict(response.json()["error"])

    return refused
