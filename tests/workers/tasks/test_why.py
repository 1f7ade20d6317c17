"""Base and variant side by side: what matches what, where time is missing, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from layerprune.api.timings import Condition, MeasuredGroup, MeasurePayload
from layerprune.api.why import Why
from workers.harness.layouts import Rule
from workers.tasks.why import compare_profiles, disappointing, explain_slow, short_name

RULE = Rule(input_step=4, output_step=1, depthwise_step=16, few_inputs=15)


def layer(
    name: str, ns: float | None, channels: tuple[int, int], layout: str = "blocked", **changes: Any
) -> dict[str, Any]:
    ins, outs = channels
    found = {
        "name": f"/{name}/Conv",
        "weight": f"{name}.weight",
        "op": "Conv",
        "ns": ns,
        "macs": 9 * ins * outs,
        "layout": layout,
        "in_channels": ins,
        "out_channels": outs,
        "groups": 1,
        "kernel": [3, 3],
    }
    return found | changes


def profile(*layers: dict[str, Any], reorders: tuple[int, float] = (0, 0.0), more: float = 0.0) -> dict[str, Any]:
    others = [{"op": "ReorderInput", "count": reorders[0], "ns": reorders[1]}] if reorders[0] else []
    return {
        "run_ns": sum(one["ns"] or 0 for one in layers) + reorders[1] + more,
        "layers": list(layers),
        "others": others,
    }


def test_what_is_missing_is_added_up_by_its_cause() -> None:
    base = profile(layer("a", 1000, (16, 32)), layer("b", 2000, (32, 32)), layer("c", 1000, (32, 32)))
    variant = profile(
        layer("a", 600, (16, 16)),  # half of the MACs: 500 promised, 100 more
        layer("b", 1900, (27, 32), "plain"),  # 27/32 of 2000 promised: 1687.5
        layer("c", 1000, (32, 32)),
        reorders=(3, 250),
    )
    why = compare_profiles(base, variant, RULE, Condition())
    assert why.lost_layout_ns == 1900 - 2000 * 27 / 32
    assert why.less_efficient_ns == 100
    assert (why.reorders_ns, why.variant_reorders.count, why.base_reorders.count) == (250, 3, 0)
    assert why.macs_ratio == (16 * 16 + 27 * 32 + 32 * 32) / (16 * 32 + 2 * 32 * 32)
    assert why.missing_ns == why.variant_ns - why.base_ns * why.macs_ratio
    assert (why.base_blocked, why.variant_blocked) == (3, 2)


def test_a_lost_layout_names_the_counts_that_regain_it() -> None:
    base, variant = profile(layer("b", 2000, (32, 32))), profile(layer("b", 1900, (27, 32), "plain"))
    why = compare_profiles(base, variant, RULE, Condition())
    (pair,) = why.layers
    assert pair.lost_layout
    assert pair.regain == {"in_channels": [24, 28]}
    assert "1 convolution lost the runtime's blocked layout" in why.sentences[1]
    assert "b: 24 or 28 input channels instead of 27 would regain it." in why.sentences
    assert any("input channels in multiples of 4, or at most 15" in said for said in why.sentences)


def test_a_layer_that_was_never_blocked_has_lost_nothing() -> None:
    why = compare_profiles(
        profile(layer("b", 9, (30, 30), "plain")), profile(layer("b", 9, (27, 30), "plain")), RULE, Condition()
    )
    assert not why.layers[0].lost_layout
    assert why.lost_layout_ns == 0


def test_a_removed_layer_saves_its_time_and_stays_in_the_list() -> None:
    base = profile(layer("a", 1000, (32, 32)), layer("b", 1000, (32, 32)))
    why = compare_profiles(base, profile(layer("a", 1000, (32, 32))), RULE, Condition())
    assert [(pair.name, pair.variant is None, pair.excess_ns) for pair in why.layers] == [
        ("/a/Conv", False, 0),
        ("/b/Conv", True, 0),
    ]
    assert why.missing_ns == 0
    assert why.sentences == [
        "It has 50% of the base's MACs and takes 50% of its time, profiled.",
        "It is as fast as its MACs promise, or faster.",
    ]


def test_a_layer_that_was_folded_away_counts_for_nothing() -> None:
    base = profile(layer("a", 1000, (32, 32)), layer("b", 100, (32, 32)))
    variant = profile(layer("a", 1000, (32, 32)), layer("b", None, (32, 32)))
    assert [pair.excess_ns for pair in compare_profiles(base, variant, RULE, Condition()).layers] == [0, 0]


def test_names_are_shown_without_what_exporters_put_around_them() -> None:
    assert short_name("/layer1/layer1.0/conv1/Conv") == "layer1/layer1.0/conv1"
    assert short_name("node_conv2d_3") == "node_conv2d_3"


def payload(backend: str = "null", **macs: int | None) -> MeasurePayload:
    def given(name: str) -> dict[str, Any]:
        return {"variant": name, "onnx": name, "reference_outputs": "r", "macs": macs[name]}

    return MeasurePayload.model_validate(
        {
            "condition": {"backend": backend},
            "base": given("base"),
            "variants": [given(name) for name in macs if name != "base"],
            "evaluation_pack": "pack",
            "preprocess": {"size": 16, "channels": 3, "mean": [0.5], "std": [0.5]},
            "seed": 1,
        }
    )


def timed(**p50_ns: int) -> MeasuredGroup:
    sessions = [{"session": name, "samples": "s", "n_samples": 9, "p50_ns": p50} for name, p50 in p50_ns.items()]
    return MeasuredGroup.model_validate({"sessions": sessions})


def test_what_is_far_above_its_macs_disappoints_the_worst_first() -> None:
    asked = payload(base=1000, fine=500, worse=500, worst=500, unknown=None)
    groups = [timed(base=1000, aa=1000, fine=540, worse=600), timed(base=2000, aa=2000, worst=1400, unknown=1999)]
    assert disappointing(asked, groups) == ["worst", "worse"]


def test_an_older_server_names_no_macs_and_nothing_disappoints() -> None:
    assert disappointing(payload(base=None, v=None), [timed(base=1000, aa=1000, v=999)]) == []


def test_a_slow_variant_leaves_its_layer_profile(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "base").write_bytes(conv_net(depth=4, channels=32, size=16))
    (tmp_path / "inputs" / "v").write_bytes(conv_net(depth=4, channels=27, size=16))
    asked, groups = payload("onnxruntime", base=1000, v=100), [timed(base=1000, aa=1000, v=900)]
    files = explain_slow(asked, groups, folder=tmp_path, report=lambda _: None)
    why = Why.model_validate_json((tmp_path / files["v"]).read_text())
    assert len(why.layers) == 5
    assert why.macs_ratio < 0.8
    assert all(pair.variant is not None for pair in why.layers)


def test_a_runtime_without_layer_profiles_leaves_none(tmp_path: Path) -> None:
    asked, groups = payload("null", base=1000, v=100), [timed(base=1000, aa=1000, v=900)]
    assert explain_slow(asked, groups, folder=tmp_path, report=lambda _: None) == {}


def test_a_network_that_cannot_be_profiled_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    for name in ("base", "v"):
        (tmp_path / "inputs" / name).write_bytes(b"nonsense")
    asked, groups = payload("onnxruntime", base=1000, v=100), [timed(base=1000, aa=1000, v=900)]
    assert explain_slow(asked, groups, folder=tmp_path, report=lambda _: None) == {}
