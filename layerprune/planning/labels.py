"""How a plan is shown to people."""

from __future__ import annotations

from layerprune.api.pruning import Family
from layerprune.api.tasks import Candidate
from layerprune.planning.outcome import Outcome
from layerprune.structure.plan import Plan


def describe(family: Family, plan: Plan, left: Outcome, *, base_macs: int) -> Candidate:
    """A plan as a candidate of its family."""
    amount = min(1.0, max(0.0, 1 - left.macs / base_macs)) if base_macs else 0.0
    layers = f"{len(plan.remove)} layer{'s' * (len(plan.remove) != 1)}"
    cut = f", -{amount:.0%} MACs" if plan.prune else ""
    parts = [layers] * bool(plan.remove) + ["channels"] * bool(plan.prune)
    aligned = f", aligned to {plan.alignment}" if plan.alignment > 1 else ""
    everywhere = ", global" if plan.scope == "global" else ""
    label = {
        "layer": f"{plan.criterion}, {layers}",
        "filter": f"{plan.criterion}, filters -{amount:.0%} MACs{aligned}{everywhere}",
        "hybrid": f"{plan.criterion}, {' and '.join(parts)}{cut}{aligned if plan.prune else ''}",
    }[plan.method]
    return Candidate(
        plan=plan.to_dict(),
        plan_hash=plan.hash,
        architecture=left.architecture,
        method=plan.method,
        family=family,
        criterion=plan.criterion,
        alignment=plan.alignment,
        scope=plan.scope,
        amount=amount,
        params=left.params,
        macs=left.macs,
        label=label,
    )
