"""Whether a latency budget holds: random targets, solved as a job solves them, and measured at length in the end.

    python benchmarks/budgets.py [--quick] [--targets 20] [--state FILE] [--output FILE]

Untrained networks on ONNX Runtime, 1 thread, batch 1. As in a job, every single edit is swept, each target is solved
from these ratios by weight_l1 (layers alone, and hybrids), the solutions are swept, and what missed is solved again, in
three rounds at most; among what was swept for a target, the slowest within it counts. What judges is another, longer
measurement, which nothing was chosen by: does the upper end of its interval lie within the budget, and how far below it
is the plan? A layer plan may lie below by up to its step: the least that one of its layers saves.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from interleaved import Ledger, Make, Place, machine, weight_scores
from torch import fx

from layerprune import models
from layerprune.api.pruning import Family, PruningSpec
from layerprune.api.tasks import Edit, Solved, Tried
from layerprune.planning.budgets import Budgeted, plan_within
from layerprune.planning.edits import Editor
from layerprune.planning.search import AIM, correction, costs_by_criterion
from layerprune.stats import RatioEstimate
from layerprune.structure.layers import candidates_of, find_layers
from layerprune.structure.macs import count
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.targets import is_met
from workers.harness.loop import Plan as Timing
from workers.tasks.sweep import BUDGET as SWEEP
from workers.tasks.timing import Budget

NETWORKS = {"cifar:resnet56": 32, "torchvision:resnet50": 224}
QUICK = {"cifar:resnet20": 32, "cifar:resnet56": 32}
FAMILIES: tuple[Family, ...] = ("layer", "hybrid")
CRITERION, ROUNDS, SLACK = "weight_l1", 3, 0.03
LONG = Budget(processes=5, plan=Timing(cycles=10, block_ms=50.0))
SHORT = Budget(processes=5, plan=Timing(cycles=4, block_ms=20.0, warmup_min_s=0.3, warmup_later_min_s=0.1))


@dataclass
class Goal:
    """One target of one family: what was tried, and by which plans."""

    target: float
    family: Family
    tried: list[Tried] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        if not self.tried:
            return False
        last = self.tried[-1]
        return is_met(last.measured, self.target, family=self.family, predicted=last.solved.predicted)

    @property
    def best(self) -> Tried:
        """The slowest solution within the target; the fastest if none is."""
        within = [one for one in self.tried if one.measured <= self.target]
        if within:
            return max(within, key=lambda one: one.measured)
        return min(self.tried, key=lambda one: one.measured)


class Bench:
    """One network, its edits, and what they were swept at."""

    def __init__(self, name: str, size: int, ledger: Ledger) -> None:
        self.name, self.size, self.ledger = name, size, ledger
        self.example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        graph = self.base()
        self.base_macs = count(graph, self.example)
        spec = PruningSpec(criteria=[CRITERION], methods=["layer", "hybrid"])
        layers = candidates_of(find_layers(graph), spec.layers)
        scores = weight_scores(graph, layers, self.example)
        self.editor = Editor(graph, self.example, layers, scores.filters, spec)
        self.edits = self.editor.edits()
        self.costs = {family: costs_by_criterion(self.edits, scores.layers, family)[CRITERION] for family in FAMILIES}
        singles: dict[str, Make] = {edit.architecture: partial(self.editor.apply, edit) for edit in self.edits}
        self.ratios = {name: found.low_value for name, found in self.timed(singles, "sweep", SWEEP).items()}

    def base(self) -> fx.GraphModule:
        return trace(models.build(self.name, classes=10, seed=1).eval(), self.example)

    def timed(self, makes: Mapping[str, Make], purpose: str, budget: Budget) -> dict[str, RatioEstimate]:
        place = Place(self.name, self.size, threads=1)
        return self.ledger.ratios(place, self.base, makes, purpose=purpose, budget=budget)

    def targets(self, count: int) -> list[float]:
        """Random ratios that layers can reach, since theirs is the shorter reach."""
        lowest = 1 - sum(1 - self.ratios[edit.architecture] for edit in self.edits if edit.kind == "layer")
        drawn = random.Random(0)
        return [drawn.uniform(max(0.2, lowest + 0.05), 0.92) for _ in range(count)]

    def solve(self, goal: Goal) -> None:
        """Add the next solution of a goal, its measured ratio still to come."""
        for aim in (AIM * goal.target, goal.target):
            found = plan_within(
                aim,
                self.editor,
                self.edits,
                self.ratios,
                family=goal.family,
                criterion=CRITERION,
                costs=self.costs[goal.family],
                base_macs=self.base_macs,
                correction=correction(goal.tried),
            )
            if isinstance(found, Budgeted):
                solved = Solved(
                    place="here",
                    target=goal.target,
                    family=goal.family,
                    criterion=CRITERION,
                    plan_hash=found.plan.hash,
                    architecture=found.left.architecture,
                    predicted=max(1e-3, found.predicted),
                )
                goal.plans[found.left.architecture] = found.plan
                goal.tried.append(Tried(solved=solved, measured=1.0))
                return

    def sweep(self, goals: Sequence[Goal]) -> None:
        """Measure the latest solution of each goal."""
        timed = self.timed(self._makes(goals, [goal.tried[-1] for goal in goals]), "sweep", SWEEP)
        for goal in goals:
            last = goal.tried[-1]
            goal.tried[-1] = last.model_copy(update={"measured": timed[last.solved.architecture].low_value})

    def judge(self, goals: Sequence[Goal], budget: Budget) -> dict[str, RatioEstimate]:
        """Measure the best solution of each goal at length."""
        return self.timed(self._makes(goals, [goal.best for goal in goals]), f"final {budget.plan.cycles}", budget)

    def step(self, goal: Goal) -> float:
        """The least that one layer of a goal's plan saves."""
        gone = goal.plans[goal.best.solved.architecture].remove
        edits: list[Edit] = [edit for edit in self.edits if edit.kind == "layer" and edit.target in gone]
        return min((1 - self.ratios[edit.architecture] for edit in edits), default=0.0)

    def _makes(self, goals: Sequence[Goal], tried: Sequence[Tried]) -> dict[str, Make]:
        plans = {one.solved.architecture: goal.plans for goal, one in zip(goals, tried, strict=True)}
        return {name: partial(self._applied, found[name]) for name, found in plans.items()}

    def _applied(self, plan: Plan) -> fx.GraphModule:
        return apply_plan_(self.base(), plan, self.example)


def settle(bench: Bench, goals: Sequence[Goal]) -> list[Goal]:
    """Solve and sweep, in three rounds at most; gives the goals that have a solution."""
    for _ in range(ROUNDS):
        before = {id(goal): len(goal.tried) for goal in goals}
        for goal in goals:
            if not goal.is_settled:
                bench.solve(goal)
        new = [goal for goal in goals if len(goal.tried) > before[id(goal)]]
        if new:
            bench.sweep(new)
    return [goal for goal in goals if goal.tried]


def report(bench: Bench, *, targets: int, budget: Budget) -> Iterator[str]:
    """A row per target and family, and a summary of each family."""
    goals = [Goal(target, family) for family in FAMILIES for target in sorted(bench.targets(targets))]
    solved = settle(bench, goals)
    final = bench.judge(solved, budget)
    verdicts: dict[Family, list[tuple[bool, bool]]] = {family: [] for family in FAMILIES}
    for goal in solved:
        best = goal.best.solved
        found, step = final[best.architecture], bench.step(goal)
        slack, allowed = 1 - found.value / goal.target, SLACK if goal.family == "hybrid" else step / goal.target
        verdicts[goal.family].append((found.ci_high <= goal.target, slack <= allowed))
        yield (
            f"| {bench.name} | {goal.family} | {goal.target:.3f} | {found.value:.3f} ({found.ci_low:.3f} to "
            f"{found.ci_high:.3f}) | {'yes' if found.ci_high <= goal.target else 'no'} | {slack:.1%} | {allowed:.1%} "
            f"| {len(goal.tried)} |"
        )
    yield ""
    for family, found_of in verdicts.items():
        held, tight = (sum(one[place] for one in found_of) for place in range(2))
        yield (
            f"{bench.name}, {family}: upper end within the budget in {held} of {len(found_of)}, slack within what is "
            f"allowed in {tight}; {sum(goal.family == family for goal in goals) - len(found_of)} unreachable.\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks, few targets, short final measurements")
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--state", type=Path, default=Path("budgets.jsonl"), help="what was timed so far")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ledger, budget = Ledger(asked.state), SHORT if asked.quick else LONG
    head = [
        "| network | family | target | measured (95 %) | upper end within | slack | allowed | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines = [f"{machine()}, 1 thread; final: {budget.processes} processes of {budget.plan.cycles} mirrored cycles", ""]
    for name, size in (QUICK if asked.quick else NETWORKS).items():
        bench = Bench(name, size, ledger)
        rows = list(report(bench, targets=min(asked.targets, 5) if asked.quick else asked.targets, budget=budget))
        print("\n".join([*head, *rows]), flush=True)
        lines += [*head, *rows]
    if asked.output is not None:
        title = "# Whether a latency budget holds\n\n`python benchmarks/budgets.py`\n\n"
        asked.output.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
