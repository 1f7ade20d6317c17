"""Plans are judged on validation images before their training is paid for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.api.tasks import TrialPayload, TrialPlan, TrialResult
from layerprune.api.training import TrainingSpec
from layerprune.api.wire import Proportion
from layerprune.data.material import load_material
from layerprune.evaluate import evaluate
from layerprune.models import build
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.training.norms import reestimate_batch_norm_, statistics_batches
from workers.kinds import KINDS, load
from workers.tasks import trial

Put = Callable[[bytes], str]
MODEL = ModelSpec(
    name="cifar:resnet20", args={"width": 8}, preprocess=Preprocess(size=8, mean=[0.3] * 3, std=[0.4] * 3)
)
DIGITS = DatasetSpec(name="digits")
EXAMPLE = torch.zeros(2, 3, 8, 8)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Two threads that share a busy core wait for each other at every operation.
    torch.set_num_threads(1)


def _base() -> nn.Module:
    return build(MODEL.name, classes=10, args=MODEL.args).eval()


def _plan(*remove: str) -> Plan:
    return Plan(
        method="layer",
        criterion="weight_l1",
        base_architecture=architecture_hash(trace(_base(), EXAMPLE)),
        remove=remove,
    )


def _payload(put: Put, *plans: Plan, epochs: int = 0) -> TrialPayload:
    return TrialPayload(
        model=MODEL,
        dataset=DIGITS,
        training=TrainingSpec(),
        base_weights=put(save(dict(_base().state_dict()))),
        plans=[TrialPlan(plan=plan.to_dict(), plan_hash=plan.hash) for plan in plans],
        epochs=epochs,
        seed=0,
    )


def _run(payload: TrialPayload, folder: Path) -> TrialResult:
    return trial.run(payload, folder=folder, report=lambda progress: None, checkpoint=lambda: None)


def _expected(plan: Plan) -> Proportion:
    material = load_material(MODEL, DIGITS)
    graph = apply_plan_(trace(_base(), EXAMPLE), plan, EXAMPLE)
    reestimate_batch_norm_(graph, statistics_batches(material.train, batch_size=64, seed=0))
    return evaluate(graph, material.validation)[0]


def test_each_plan_is_judged_on_its_own_copy_of_the_base(put: Put, tmp_path: Path) -> None:
    plans = _plan("layer1.1"), _plan("layer2.1", "layer3.2")
    result = _run(_payload(put, *plans), tmp_path)
    assert result.accuracies == {plan.hash: _expected(plan) for plan in plans}


def test_a_little_training_helps(put: Put, tmp_path: Path) -> None:
    plan = _plan("layer1.1")
    accuracy = _run(_payload(put, plan, epochs=2), tmp_path).accuracies[plan.hash]
    assert accuracy.n == 158
    assert accuracy.correct > _expected(plan).correct + 30


def test_a_plan_that_does_not_match_its_hash_is_refused(put: Put, tmp_path: Path) -> None:
    payload = _payload(put, _plan("layer1.1"))
    payload.plans[0].plan_hash = "0" * 64
    with pytest.raises(BadInput, match="the plan's hash is"):
        _run(payload, tmp_path)


def test_workers_know_the_kind() -> None:
    assert load(KINDS["trial"].run) is trial.run
    assert load(KINDS["trial"].payload) is TrialPayload
    assert KINDS["trial"].role == "build"
