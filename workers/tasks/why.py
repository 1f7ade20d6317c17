"""Say why a variant is slower than its MACs promise, from layer profiles of base and variant on this device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from layerprune.api.errors import LayerPruneError
from layerprune.api.jobs import Progress
from layerprune.api.timings import Condition, MeasuredGroup, MeasurePayload
from layerprune.api.why import LayerPair, LayerSide, Reorders, Why
from workers.harness.layouts import Rule
from workers.harness.loop import Plan
from workers.harness.power import without_mode
from workers.harness.profiling import RUNTIME

from .alignment import align
from .harness import Event, run_harness

BASE = "base"
REORDERS = ("ReorderInput", "ReorderOutput")
SHOWN = 3
WORDS = {"in_channels": "input channels", "out_channels": "output channels"}
DISAPPOINTING = 1.1
"""A latency ratio that is this many times the ratio of MACs is worth a look."""
MOST_EXPLAINED = 4
"""Profiling takes some two seconds a variant; the most disappointing ones come first."""

log = logging.getLogger(__name__)


def explain(
    base: Path,
    variants: Mapping[str, Path],
    *,
    condition: Condition,
    shape: Sequence[int],
    folder: Path,
    seed: int = 0,
    python: str | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Why]:
    """Profile base and variants together, in a process of their own, and compare each variant with the base.

    `shape` is that of one image. Raises BadInput for a runtime without layer profiles.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = {
        "profile": True,
        "backend": condition.backend,
        "precision": condition.precision,
        "threads": condition.threads,
        "settings": dict(without_mode(condition.settings)),
        "shape": [condition.batch_size, *shape],
        "networks": {BASE: str(base), **{name: str(path) for name, path in variants.items()}},
        "plan": asdict(Plan()),
        "seed": seed,
        "folder": str(folder),
    }

    def tell(event: Event) -> None:
        report(Progress(phase=event["phase"]))

    found = run_harness(request, log=folder / "log.txt", on_progress=tell, python=python)
    profiles, rule = found["networks"], Rule(**found["rule"])
    return {name: compare_profiles(profiles[BASE], profiles[name], rule, condition) for name in variants}


def explain_slow(
    payload: MeasurePayload,
    groups: Sequence[MeasuredGroup],
    *,
    folder: Path,
    report: Callable[[Progress], None],
) -> dict[str, str]:
    """Explain the variants that disappoint; returns by variant the file in `folder` that holds its `Why` as JSON.

    A measurement stands without it: what cannot be profiled has no explanation.
    """
    slow = disappointing(payload, groups)[:MOST_EXPLAINED]
    if payload.condition.backend != RUNTIME or payload.condition.precision != "fp32" or not slow:
        return {}
    onnx = {one.variant: folder / "inputs" / one.onnx for one in payload.variants}
    size = payload.preprocess.size
    try:
        found = explain(
            folder / "inputs" / payload.base.onnx,
            {name: onnx[name] for name in slow},
            condition=payload.condition,
            shape=(payload.preprocess.channels, size, size),
            folder=folder / "profiles",
            seed=payload.seed,
            report=report,
        )
    except LayerPruneError as error:
        log.warning("no layer profiles: %s", error.told)
        return {}
    files = {}
    for i, (name, why) in enumerate(found.items()):
        files[name] = f"profiles/why-{i}.json"
        (folder / files[name]).write_text(why.model_dump_json(), encoding="utf-8")
    return files


def disappointing(payload: MeasurePayload, groups: Sequence[MeasuredGroup]) -> list[str]:
    """Name the variants whose latency ratio is more than a tenth above their ratio of MACs, the worst first."""
    if not payload.base.macs:
        return []
    macs = {one.variant: one.macs / payload.base.macs for one in payload.variants if one.macs}
    excess: dict[str, float] = {}
    for group in groups:
        p50 = {one.session: one.p50_ns for one in group.sessions}
        excess |= {name: p50[name] / p50[BASE] / macs[name] for name in p50.keys() & macs.keys()}
    return sorted((name for name in excess if excess[name] > DISAPPOINTING), key=lambda name: -excess[name])


def compare_profiles(base: Event, variant: Event, rule: Rule, condition: Condition) -> Why:
    """Put two profiles side by side and add up where time is missing."""
    pairs = [_pair(*sides, rule) for sides in align(base["layers"], variant["layers"])]
    macs = [sum(layer["macs"] for layer in profile["layers"]) for profile in (base, variant)]
    macs_ratio = macs[1] / macs[0] if macs[0] else 1.0
    reorders = [_reorders(profile) for profile in (base, variant)]
    blocked = [sum(layer["layout"] == "blocked" for layer in profile["layers"]) for profile in (base, variant)]
    why = Why(
        runtime=condition.backend,
        threads=condition.threads,
        batch_size=condition.batch_size,
        base_ns=base["run_ns"],
        variant_ns=variant["run_ns"],
        ratio=variant["run_ns"] / base["run_ns"],
        macs_ratio=macs_ratio,
        missing_ns=variant["run_ns"] - base["run_ns"] * macs_ratio,
        lost_layout_ns=sum(pair.excess_ns for pair in pairs if pair.lost_layout),
        reorders_ns=reorders[1].ns - reorders[0].ns,
        less_efficient_ns=sum(pair.excess_ns for pair in pairs if not pair.lost_layout),
        base_reorders=reorders[0],
        variant_reorders=reorders[1],
        base_blocked=blocked[0],
        variant_blocked=blocked[1],
        layers=pairs,
        sentences=[],
    )
    return why.model_copy(update={"sentences": _sentences(why, rule)})


def _pair(base: Event | None, variant: Event | None, rule: Rule) -> LayerPair:
    named = base or variant
    assert named is not None
    excess, is_lost, regain = 0.0, False, dict[str, list[int]]()
    if variant is not None and variant["ns"] is not None:
        promised = 0.0
        if base is not None and base["ns"] is not None and base["macs"]:
            promised = base["ns"] * variant["macs"] / base["macs"]
        excess = variant["ns"] - promised
        is_lost = base is not None and base["layout"] == "blocked" and variant["layout"] == "plain"
        if variant["layout"] == "plain":
            regain = rule.regaining(variant["in_channels"], variant["out_channels"], variant["groups"])
    return LayerPair(
        name=named["name"],
        op=named["op"],
        kernel=list(named["kernel"]),
        base=_side(base),
        variant=_side(variant),
        excess_ns=excess,
        lost_layout=is_lost,
        regain=regain,
    )


def _side(layer: Event | None) -> LayerSide | None:
    if layer is None:
        return None
    return LayerSide(**{name: layer[name] for name in LayerSide.model_fields})


def _reorders(profile: Event) -> Reorders:
    found = [other for other in profile["others"] if other["op"] in REORDERS]
    return Reorders(count=sum(one["count"] for one in found), ns=sum(one["ns"] for one in found))


def _sentences(why: Why, rule: Rule) -> list[str]:
    """Say in words what the numbers amount to."""
    said = [f"It has {why.macs_ratio:.0%} of the base's MACs and takes {why.ratio:.0%} of its time, profiled."]
    lost = [pair for pair in why.layers if pair.lost_layout]
    if lost:
        plural = "s" * (len(lost) > 1)
        said.append(
            f"{len(lost)} convolution{plural} lost the runtime's blocked layout and take{'s' * (len(lost) == 1)} "
            f"{_ms(why.lost_layout_ns)} more than their MACs promise; {why.base_blocked} were blocked in the base, "
            f"{why.variant_blocked} are now."
        )
        regained = [pair for pair in lost if pair.regain]
        for pair in sorted(regained, key=lambda one: -one.excess_ns)[:SHOWN]:
            said.append(f"{short_name(pair.name)}: {_regain_words(pair)}.")
        if regained:
            said.append(f"Here that layout takes {_rule_words(rule)}: prune filters with such an alignment.")
    if why.variant_reorders.count > why.base_reorders.count:
        said.append(
            f"{why.variant_reorders.count} nodes only convert between layouts ({why.base_reorders.count} in the base), "
            f"which costs {_ms(why.reorders_ns)} more."
        )
    if not lost and why.missing_ns > 0 and why.less_efficient_ns > why.missing_ns / 2:
        said.append(
            f"No layout was lost: its layers do less work at a time, and take {_ms(why.less_efficient_ns)} more than "
            "their MACs promise."
        )
    if why.missing_ns <= 0:
        said.append("It is as fast as its MACs promise, or faster.")
    return said


def short_name(name: str) -> str:
    """Write a layer's name without what exporters put around it: `/layer1/conv1/Conv` is `layer1/conv1`."""
    bare = name.strip("/")
    return bare.rpartition("/")[0] if bare.endswith(("/Conv", "/Gemm", "/MatMul")) else bare


def _regain_words(pair: LayerPair) -> str:
    side: Any = pair.variant
    return " and ".join(
        f"{' or '.join(str(count) for count in counts)} {WORDS[name]} instead of {getattr(side, name)} would regain it"
        for name, counts in pair.regain.items()
    )


def _rule_words(rule: Rule) -> str:
    parts = []
    if rule.input_step > 1:
        few = f", or at most {rule.few_inputs}" if rule.few_inputs else ""
        parts.append(f"input channels in multiples of {rule.input_step}{few}")
    if rule.output_step > 1:
        parts.append(f"output channels in multiples of {rule.output_step}")
    if rule.depthwise_step > 1:
        parts.append(f"depthwise channels in multiples of {rule.depthwise_step}")
    return "; ".join(parts) or "any channel counts"


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.3f} ms"
