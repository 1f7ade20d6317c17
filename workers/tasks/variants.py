"""What is trained and in which stages: a pruned base, or a rival."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.api.network import RivalSpec, rival_hash
from layerprune.api.tasks import BuildPayload
from layerprune.criteria import list_criteria
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import Scores, score_all
from layerprune.data.material import Material
from layerprune.models import Origin
from layerprune.models.weights import load_weights_
from layerprune.planning.schedule import apply_in_steps
from layerprune.structure.layers import candidates_of, find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.training.group import Group
from layerprune.training.snapshots import Snapshots

from .base import make_model

Stages = Generator[fx.GraphModule, None, dict[str, Any]]
_SCORING_BATCH = 64


@dataclass
class Variant:
    """A network on its device, stage by stage; each stage is to be trained for its epochs before the next is taken.

    `stages` returns the description that is stored with the network: its plan, or what the rival is. `teacher` is the
    unpruned network.
    """

    stages: Stages
    epochs: list[int]
    teacher: nn.Module | None
    origin: Origin
    phase: str
    notes: list[str]


def make_variant(
    payload: BuildPayload, material: Material, folder: Path, *, group: Group, snapshots: Snapshots
) -> Variant:
    """Make what the payload asks for; raises BadInput if its hash is another's."""
    base, _ = make_model(payload.model, material, seed=payload.seed, folder=folder, weights=payload.base_weights)
    base.to(group.device)
    # A graph shares its modules with the network it was traced from, so the teacher must be a copy.
    teacher = copy.deepcopy(base) if payload.training.distillation > 0 else None
    if payload.rival is not None:
        return _rival(payload, payload.rival, material, folder, teacher=teacher, device=group.device)
    plan = Plan.from_dict(payload.plan)
    _check_hash(payload, plan.hash, "the plan's")
    schedule, epochs = payload.training.schedule, payload.training.epochs
    steps = min(schedule.steps, epochs) if schedule.kind == "iterative" else 1
    notes = [f"pruned in {steps} steps: there are no more epochs"] if 1 < steps < schedule.steps else []
    graph = trace(base, example := material.example.to(group.device))
    if steps == 1:
        stages = _at_once(graph, plan, example)
    else:
        stages = _in_steps(graph, plan, example, steps, _Rescorer(payload, plan, material, group, snapshots))
    return Variant(stages, split_epochs(epochs, steps), teacher, models.origin(payload.model), "fine-tuning", notes)


def split_epochs(epochs: int, stages: int) -> list[int]:
    """Share the epochs out evenly; what is left over goes to the last stages, which have the most to repair."""
    return [epochs * (stage + 1) // stages - epochs * stage // stages for stage in range(stages)]


def _at_once(graph: fx.GraphModule, plan: Plan, example: Tensor) -> Stages:
    yield apply_plan_(graph, plan, example)
    return plan.to_dict()


def _in_steps(graph: fx.GraphModule, plan: Plan, example: Tensor, steps: int, rescorer: _Rescorer) -> Stages:
    actual = yield from apply_in_steps(
        graph,
        plan,
        example,
        steps=steps,
        rescore=rescorer.filters if rescorer.has_filter_form else None,
        layer_importance=rescorer.layers(graph),
    )
    return actual.to_dict()


def _rival(
    payload: BuildPayload,
    rival: RivalSpec,
    material: Material,
    folder: Path,
    *,
    teacher: nn.Module | None,
    device: torch.device,
) -> Variant:
    """Make a network that is small by design, with the base as its teacher.

    With random weights it trains for as long as the base and a variant together did, with uploaded ones for as long as
    a variant.
    """
    _check_hash(payload, rival_hash(rival), "the rival's")
    epochs = payload.training.epochs
    classes, seed = len(material.dataset.classes), payload.training_seed
    network = models.build(rival.name, classes=classes, args=rival.args, seed=seed)
    if rival.weights is not None:
        load_weights_(network, folder / "inputs" / rival.weights)
    else:
        epochs += payload.training.base_epochs or material.dataset.base_epochs

    def stages() -> Stages:
        yield trace(network.to(device), material.example.to(device))
        return {"method": "handcrafted", **rival.model_dump(mode="json")}

    origin: Origin = "scratch" if rival.weights is None else "weights"
    return Variant(stages(), [epochs], teacher, origin, "training the rival", [])


class _Rescorer:
    """Scores the network anew before each step of an iterative schedule, by the plan's criterion.

    What it found is kept with the training's snapshots: a resumed build repeats the earlier steps without their
    training, and must come to the same structure.
    """

    def __init__(
        self, payload: BuildPayload, plan: Plan, material: Material, group: Group, snapshots: Snapshots
    ) -> None:
        found = next((info for info in list_criteria() if info.name == plan.criterion), None)
        self.has_filter_form = found is not None and found.has_filter_form
        self._is_known = found is not None
        self._payload, self._plan, self._material, self._group = payload, plan, material, group
        before = snapshots.found.facts["context"] if snapshots.found is not None else {}
        self._recorded: list[dict[str, list[float]]] = list(before.get("scores", []))
        self._record: list[dict[str, list[float]]] = snapshots.context.setdefault("scores", [])

    def layers(self, graph: fx.GraphModule) -> Mapping[str, float] | None:
        """Return the importance of the base's layers; None if the criterion is none of ours."""
        return self._score(graph).layers[self._plan.criterion] if self._is_known else None

    def filters(self, graph: fx.GraphModule) -> Mapping[str, Tensor]:
        """Return the filters' scores in the network as it is now."""
        step = len(self._record)
        if step < len(self._recorded):
            scores = self._recorded[step]
        else:
            scores = self._group.agree(
                lambda: {k: v.tolist() for k, v in self._score(graph).filters[self._plan.criterion].items()}
            )
        self._record.append(scores)
        return {name: torch.tensor(values) for name, values in scores.items()}

    def _score(self, graph: fx.GraphModule) -> Scores:
        options = self._payload.pruning.layers
        context = ScoringContext(
            graph=graph,
            layers=candidates_of(find_layers(graph, width_changing=options.width_changing), options),
            batches=self._material.calibration.batches(_SCORING_BATCH, device=self._group.device),
            classes=len(self._material.dataset.classes),
            seed=self._payload.seed,
            layer_score=self._payload.pruning.layer_score,
        )
        return score_all([self._plan.criterion], context)


def _check_hash(payload: BuildPayload, found: str, whose: str) -> None:
    if found != payload.plan_hash:
        raise BadInput(
            f"{whose} hash is {found}, the task says {payload.plan_hash}",
            field="plan_hash",
            value=payload.plan_hash,
            remedy="Send the plan as the scoring task wrote it.",
        )
