"""Figures say what the rows say."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from layerprune.api.leaderboard import LeaderboardRow
from layerprune.api.pruning import Family
from server.web import assets
from server.web.board import Query
from server.web.figures import FAMILIES, SYMBOLS, Curve, Figure, accuracy_latency, slices, training_curves
from server.web.formats import FAMILY_NAMES


def _points(figure: Figure) -> dict[str, Figure]:
    return {trace["legendgroup"]: trace for trace in figure["data"] if trace["meta"]["points"]}


def _fronts(figure: Figure) -> dict[str, Figure]:
    return {trace["legendgroup"]: trace for trace in figure["data"] if not trace["meta"]["points"]}


def test_every_row_is_one_point(board: list[LeaderboardRow]) -> None:
    points = _points(accuracy_latency(board))
    assert {family: len(trace["x"]) for family, trace in points.items()} == {
        "base": 1,
        "layer": 3,
        "filter": 2,
        "filter_aligned": 1,
    }


def test_a_point_stands_at_milliseconds_and_per_cent(board: list[LeaderboardRow]) -> None:
    layer = _points(accuracy_latency(board))["layer"]
    assert layer["x"][0] == pytest.approx(0.64)
    assert layer["y"][0] == pytest.approx(100 * 528 / 540)


def test_whiskers_are_the_ratio_interval_and_wilson(board: list[LeaderboardRow]) -> None:
    layer = _points(accuracy_latency(board))["layer"]
    assert layer["error_x"]["array"][0] == pytest.approx(0.0064)
    assert layer["error_x"]["arrayminus"][0] == pytest.approx(0.0064)
    high = board[1].accuracy.ci_high
    assert layer["y"][0] + layer["error_y"]["array"][0] == pytest.approx(100 * high)


def test_the_base_has_a_star_and_dashed_lines_and_no_latency_whisker(board: list[LeaderboardRow]) -> None:
    figure = accuracy_latency(board)
    base = _points(figure)["base"]
    assert base["marker"]["symbol"] == ["star"]
    assert base["error_x"]["array"] == [0]
    assert [shape["line"]["dash"] for shape in figure["layout"]["shapes"]] == ["dash", "dash"]


def test_each_of_a_few_bases_has_its_lines(row: Callable[..., LeaderboardRow]) -> None:
    figure = accuracy_latency([row("base", "base", 1.0, 530), row("base 2", "base", 1.25, 531, job="job-2")])
    assert [line["x0"] for line in figure["layout"]["shapes"] if line["yref"] == "paper"] == pytest.approx([0.8, 1.0])


def test_many_bases_have_stars_but_no_lines(row: Callable[..., LeaderboardRow]) -> None:
    figure = accuracy_latency([row(f"base {job}", "base", 1.0, 530, job=f"job-{job}") for job in range(4)])
    assert "shapes" not in figure["layout"]


def test_a_doubtful_row_is_hollow_and_bears_no_front(board: list[LeaderboardRow]) -> None:
    figure = accuracy_latency(board)
    assert _points(figure)["layer"]["marker"]["symbol"] == ["circle", "circle", "circle-open"]
    assert _fronts(figure)["layer"]["x"] == pytest.approx([0.52, 0.64])


def test_a_front_leaves_out_what_is_slower_and_less_accurate(row: Callable[..., LeaderboardRow]) -> None:
    rows = [row("a", "layer", 0.5, 500), row("b", "layer", 0.6, 490), row("c", "layer", 0.7, 510)]
    assert _fronts(accuracy_latency(rows))["layer"]["x"] == pytest.approx([0.4, 0.56])


def test_a_label_cannot_bring_markup_into_the_hover_text(row: Callable[..., LeaderboardRow]) -> None:
    figure = accuracy_latency([row("<a href='javascript:x'>", "layer", 0.5, 500)])
    assert "<a" not in figure["data"][0]["customdata"][0][1]


def test_rows_are_grouped_by_what_makes_them_comparable(row: Callable[..., LeaderboardRow]) -> None:
    rows = [
        row("a", "layer", 0.5, 500),
        row("b", "layer", 0.5, 500, comparable_key="b" * 64),
        row("c", "layer", 0.5, 500, model="cifar:resnet32"),
        row("d", "layer", 0.5, 500),
    ]
    assert [[r.label for r in group.rows] for group in slices(rows)] == [["a", "d"], ["b"], ["c"]]


def test_two_devices_of_equal_conditions_have_a_plot_each(row: Callable[..., LeaderboardRow]) -> None:
    rows = [row("base", "base", 1.0, 530, device=device) for device in ("left", "right")]
    first, second = slices(rows)
    assert first.title == "cifar:resnet20 on digits: left, onnxruntime 1.23.2, fp32, batch 1, 1 thread"
    assert "device=right" in Query().for_slice(second)


def test_training_curves_show_accuracy_and_loss_and_mark_what_runs() -> None:
    curves = [
        Curve("layer 8/9", "layer", [1, 2], [0.5, 0.25], [0.9, 0.95]),
        Curve("base", "base", [1], [1.5], [None], running=True),
    ]
    base, base_loss, layer, layer_loss = training_curves(curves)["data"]
    assert (base["y"], base["line"]["dash"]) == ([None], "dot")
    assert base_loss["y"] == [1.5]
    assert (layer["y"], layer["line"]["dash"]) == ([90.0, 95.0], "solid")
    assert layer_loss["yaxis"] == "y2"


def test_every_family_has_a_name_a_sign_and_a_colour_of_its_own(row: Callable[..., LeaderboardRow]) -> None:
    assert set(FAMILIES) == set(get_args(Family)) == set(FAMILY_NAMES)
    assert len(set(SYMBOLS.values())) == len(FAMILIES)
    points = _points(accuracy_latency([row(family, family, 0.5, 500) for family in FAMILIES]))
    css = assets.read("style.css").decode()
    for family in FAMILIES:
        colour = points[family]["marker"]["color"]
        assert css.count(f"{colour.removeprefix('var(').removesuffix(')')}: #") == 2, "one for light, one for dark"
