"""Layers of a variant are found again in its base, whatever the exporter calls them."""

from __future__ import annotations

from typing import Any

from workers.tasks.alignment import align


def layer(name: str, ins: int, outs: int, *, size: int = 8, kernel: int = 3, groups: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "weight": f"onnx::Conv_{hash(name)}",
        "op": "Conv",
        "macs": size * size * kernel * kernel * ins * outs // groups,
        "in_channels": ins,
        "out_channels": outs,
        "groups": groups,
        "kernel": [kernel, kernel],
    }


def names(base: list[dict[str, Any]], variant: list[dict[str, Any]]) -> list[tuple[str | None, str | None]]:
    return [(one and one["name"], two and two["name"]) for one, two in align(base, variant)]


def test_pruned_filters_leave_every_layer_in_its_place() -> None:
    base = [layer("a", 3, 16), layer("b", 16, 32), layer("c", 32, 32)]
    variant = [layer("x", 3, 5), layer("y", 5, 7), layer("z", 7, 32)]
    assert names(base, variant) == [("a", "x"), ("b", "y"), ("c", "z")]


def test_a_removed_layer_is_the_one_without_its_like() -> None:
    base = [layer("a", 3, 16), layer("b", 16, 32), layer("c", 32, 32, size=4), layer("d", 32, 64, size=4)]
    variant = [layer("a", 3, 16), layer("b", 16, 32), layer("c", 32, 64, size=4)]
    assert names(base, variant) == [("a", "a"), ("b", "b"), ("c", None), ("d", "c")]


def test_of_layers_that_are_alike_the_one_with_the_name_stays() -> None:
    base = [layer(name, 16, 16) for name in ("a", "b", "c")]
    assert names(base, [layer("a", 16, 16), layer("c", 16, 16)]) == [("a", "a"), ("b", None), ("c", "c")]


def test_other_kernels_and_resolutions_are_other_layers() -> None:
    base = [layer("a", 8, 8, kernel=7), layer("b", 8, 8, kernel=1), layer("c", 8, 8), layer("d", 8, 8, size=4)]
    variant = [layer("w", 8, 8, kernel=7), layer("x", 8, 8), layer("y", 8, 8, size=4)]
    assert names(base, variant) == [("a", "w"), ("b", None), ("c", "x"), ("d", "y")]


def test_layers_and_filters_may_go_together() -> None:
    base = [layer("a", 3, 16), layer("b", 16, 16), layer("c", 16, 16), layer("d", 16, 32, size=4)]
    variant = [layer("x", 3, 16), layer("y", 16, 12), layer("z", 12, 32, size=4)]
    assert [bool(two) for _, two in align(base, variant)].count(False) == 1
    assert names(base, variant)[-1] == ("d", "z")


def test_a_layer_that_only_the_variant_has_is_listed() -> None:
    assert names([layer("a", 3, 8)], [layer("a", 3, 8), layer("new", 8, 8)]) == [("a", "a"), (None, "new")]
