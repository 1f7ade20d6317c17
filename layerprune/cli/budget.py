"""Plans for a budget, from single edits: of multiplications, or of latency that is measured on this machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..api.errors import BadInput
from .layers import removable
from .material import Work
from .progress import bar
from .score import need_layers, score_layers

if TYPE_CHECKING:
    from torch import fx

    from ..api.jobs import Progress
    from ..api.pruning import Family, PruningSpec
    from ..api.tasks import Candidate, Edit
    from ..criteria.observation import Scores
    from ..planning.budgets import Budgeted
    from ..planning.edits import Editor
    from ..planning.search import Unreachable
    from ..structure.layers import Layer
    from ..structure.plan import Plan

ROUNDS = 4
"""A first solution and three corrections by what was measured."""


def hybrid_by_amount(
    work: Work, spec: PruningSpec, layers: Sequence[Layer], scores: Scores, *, seed: int
) -> tuple[list[Candidate], list[str]]:
    """The hybrids that remove the fraction of the MACs that `spec` names, and notes on how they were chosen."""
    from ..planning.candidates import by_amounts
    from ..planning.edits import Editor

    editor = Editor(work.graph, work.example, layers, scores.filters, spec)
    edits, notes = _edits(work, editor, spec, seed=seed)
    return by_amounts(editor, edits, spec, base_macs=work.macs), notes


def by_ratio(work: Work, spec: PruningSpec, *, seed: int, threads: int) -> tuple[Plan, float, list[str]]:
    """The plan whose latency, measured here, meets the ratio that `spec` names, that ratio as measured, and notes."""
    from workers.hostlock import HostLock

    from ..planning.edits import Editor
    from ..planning.guide import with_guide
    from ..planning.search import families

    layers = removable(work, width_changing=spec.layers.width_changing, finer=spec.layers.finer_kinds)
    if spec.methods == ["layer"]:
        need_layers(work, layers)
    scores = score_layers(work, layers, with_guide(spec), seed=seed)
    target = spec.target_list()[0].ratio
    assert target is not None
    if not families(spec):  # unaligned filters, whose savings do not add up
        with bar("timing") as report, HostLock().measuring():
            return _nearest_swept(work, spec, scores, target, _Sweep(work, threads, seed, report))
    family = families(spec)[0]
    editor = Editor(work.graph, work.example, layers, scores.filters, spec)
    edits, notes = _edits(work, editor, spec, seed=seed) if family != "layer" else (editor.edits(), [])
    with bar("timing single edits") as report, HostLock().measuring():
        sweep = _Sweep(work, threads, seed, report)
        sweep.time({edit.architecture: partial(editor.apply, edit) for edit in edits})
        made, measured = _solved(work, spec, scores, editor, edits, family, target, sweep)
    if measured > target:
        notes.append(
            f"after {ROUNDS} rounds the nearest plan still takes {measured:.3f} of the latency, not {target:g}"
        )
    return made, measured, notes


def _edits(work: Work, editor: Editor, spec: PruningSpec, *, seed: int) -> tuple[list[Edit], list[str]]:
    """The single edits with what they cost, and a note where another criterion has to weigh them."""
    from ..planning.edits import LOSS
    from ..planning.held_out import loss_after_repair

    edits, notes, criterion = editor.edits(), list(editor.notes), spec.criteria[0]
    if not edits:
        raise BadInput(
            f"nothing of {work.given.model} can go: {'; '.join(editor.notes) or 'it has no removable layer'}",
            field="method",
            value=spec.methods[0],
            remedy="Use another network, or another method.",
        )
    if LOSS not in editor.criteria:
        return edits, notes
    if criterion != LOSS:
        notes.append(f"{criterion} cannot weigh layers and channels against each other: chosen by the rise of the loss")
    material = work.images("weighing layers and channels by the rise of the loss")
    loss_of = loss_after_repair(material.train, material.calibration, macs=work.macs, times=len(edits) + 1, seed=seed)
    with bar("weighing single edits"):
        return editor.with_loss(edits, loss_of, checkpoint=lambda: None), notes


def _solved(
    work: Work,
    spec: PruningSpec,
    scores: Scores,
    editor: Editor,
    edits: Sequence[Edit],
    family: Family,
    target: float,
    sweep: _Sweep,
) -> tuple[Plan, float]:
    """Solve, measure and correct; of what was measured, the slowest plan within the target, or else the fastest."""
    from ..planning.budgets import Budgeted
    from ..planning.search import AIM, Unreachable, costs_by_criterion
    from ..targets import is_met

    by_criterion = costs_by_criterion(edits, scores.layers, family)
    criterion = spec.criteria[0] if spec.criteria[0] in by_criterion else next(iter(by_criterion))
    solve = partial(_plan_within, work, editor, edits, sweep.ratios, family, criterion, by_criterion[criterion])
    tried: dict[str, tuple[Plan, float]] = {}
    miss = 0.0
    for _ in range(ROUNDS):
        # Room for the noise of a measurement, unless that is out of reach.
        found = solve(AIM * target, miss)
        found = found if isinstance(found, Budgeted) else solve(target, miss)
        if isinstance(found, Unreachable) and not tried:
            raise _out_of_reach(spec, target, f"{found.lowest:.2f} is the least that single edits promise")
        if isinstance(found, Unreachable) or found.plan.is_empty or found.plan.hash in tried:
            break
        sweep.time({found.left.architecture: partial(_applied, work, found.plan)})
        measured = sweep.ratios[found.left.architecture]
        tried[found.plan.hash] = (found.plan, measured)
        if is_met(measured, target, family=family, predicted=found.predicted):
            break
        miss += measured - found.predicted
    if not tried:
        raise _out_of_reach(spec, target, "nothing has to go to reach it")
    return _best(list(tried.values()), target)


def _plan_within(
    work: Work,
    editor: Editor,
    edits: Sequence[Edit],
    ratios: Mapping[str, float],
    family: Family,
    criterion: str,
    costs: Mapping[str, float],
    target: float,
    miss: float,
) -> Budgeted | Unreachable:
    from ..planning.budgets import plan_within

    return plan_within(
        target,
        editor,
        edits,
        ratios,
        family=family,
        criterion=criterion,
        costs=costs,
        base_macs=work.macs,
        correction=miss,
    )


def _nearest_swept(
    work: Work, spec: PruningSpec, scores: Scores, target: float, sweep: _Sweep
) -> tuple[Plan, float, list[str]]:
    """Time a ladder of filter plans, and take the slowest one within the target."""
    from ..planning.candidates import enumerate_candidates
    from ..structure.plan import Plan

    found = enumerate_candidates(work.graph, work.example, scores.layers, scores.filters, spec)
    sweep.time({name: partial(found.rebuild, name) for name in found.plans})
    swept = [(Plan.from_dict(one.plan), sweep.ratios[one.architecture]) for one in found.candidates]
    within = [pair for pair in swept if pair[1] <= target]
    if not within:
        least = (
            f"{min(ratio for _, ratio in swept):.2f} is the least that was measured" if swept else "no filter can go"
        )
        raise _out_of_reach(spec, target, "; ".join([least, *found.notes]))
    made, ratio = _best(within, target)
    return made, ratio, found.notes


def _out_of_reach(spec: PruningSpec, target: float, why: str) -> BadInput:
    return BadInput(
        f"no plan of the method {spec.methods[0]} takes {target:g} of the latency: {why}",
        field="ratio",
        value=target,
        code="target_unreachable",
        remedy="Ask for another ratio, give --alignment 8 or 16, or use --method hybrid.",
    )


def _best(measured: Sequence[tuple[Plan, float]], target: float) -> tuple[Plan, float]:
    within = [pair for pair in measured if pair[1] <= target]
    return max(within, key=lambda pair: pair[1]) if within else min(measured, key=lambda pair: pair[1])


def _applied(work: Work, plan: Plan) -> fx.GraphModule:
    from ..structure.surgery import apply_plan_

    return apply_plan_(copy.deepcopy(work.graph), plan, work.example)


@dataclass
class _Sweep:
    """Times untrained architectures interleaved with the network, as a device's sweep does for a job."""

    work: Work
    threads: int
    seed: int
    report: Callable[[Progress], None]
    ratios: dict[str, float] = field(default_factory=dict)
    _sweeps: int = 0

    def time(self, makers: Mapping[str, Callable[[], fx.GraphModule]]) -> None:
        """Measure the latency ratio of each architecture that was not measured before."""
        from workers.tasks.sweep import BUDGET
        from workers.tasks.timing import BASE, Timer

        from ..api.timings import Condition
        from ..export import export_onnx
        from ..samples import decode
        from ..stats import ratio

        self._sweeps += 1
        folder = self.work.folder / f"sweep-{self._sweeps}"
        folder.mkdir()
        base = folder / "base.onnx"
        export_onnx(self.work.graph, self.work.example, base)
        networks: dict[str, Path] = {}
        for architecture, make in makers.items():
            if architecture not in self.ratios and architecture not in networks:
                networks[architecture] = folder / f"{architecture[:16]}.onnx"
                export_onnx(make(), self.work.example, networks[architecture])
        timer = Timer(
            condition=Condition(threads=self.threads),
            shape=tuple(self.work.example.shape[1:]),
            budget=BUDGET,
            seed=self.seed + 100_000 * self._sweeps,
            folder=folder,
            report=self.report,
            checkpoint=lambda: None,
        )
        for group in timer.run(base, networks).groups if networks else []:
            samples = {one.session: decode((folder / one.samples).read_bytes()) for one in group.sessions}
            for name in samples.keys() & networks.keys():
                self.ratios[name] = ratio(samples[name], samples[BASE], seed=self.seed).low_value
