"""Figures as plotly JSON, built from rows by pure functions.

Colours are names of CSS variables, which the script resolves for light and dark. Traces of points are named after their
family and have `meta.points` true; fronts have it false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from layerprune.api.leaderboard import LeaderboardRow
from layerprune.stats import pareto_front

from . import formats

Figure = dict[str, Any]
FAMILIES = ("base", "layer", "filter", "filter_aligned", "hybrid", "handcrafted")
MAX_BASE_LINES = 3
"""Each job has its own base; the lines of more bases than this would hide the points."""
SYMBOLS = {
    "base": "star",
    "layer": "circle",
    "filter": "square",
    "filter_aligned": "diamond",
    "hybrid": "triangle-up",
    "handcrafted": "cross",
}


@dataclass(frozen=True)
class Slice:
    """Rows of one plot: one comparable key, one model, one data set, one device.

    Rows of two equal devices may be compared, but each device has its own bases, to which its ratios refer.
    """

    comparable_key: str
    model: str
    dataset: str
    device: str
    rows: tuple[LeaderboardRow, ...]

    @property
    def title(self) -> str:
        """What is equal for all rows, in words."""
        row = self.rows[0]
        threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
        conditions = f"{self.device}, {row.runtime}, {row.precision}, batch {row.batch_size}, {threads}"
        return f"{self.model} on {self.dataset}: {conditions}"


@dataclass(frozen=True)
class Curve:
    """One network's training, epoch by epoch; loss and validation accuracy may be missing while it runs."""

    label: str
    family: str
    epochs: Sequence[int]
    losses: Sequence[float | None]
    accuracies: Sequence[float | None]
    running: bool = field(default=False, kw_only=True)


def slices(rows: Sequence[LeaderboardRow]) -> list[Slice]:
    """Group rows by what makes them comparable and by device, in the order of first appearance."""
    groups: dict[tuple[str, str, str, str], list[LeaderboardRow]] = {}
    for row in rows:
        groups.setdefault((row.comparable_key, row.model, row.dataset, row.device), []).append(row)
    return [Slice(*key, rows=tuple(group)) for key, group in groups.items()]


def accuracy_latency(rows: Sequence[LeaderboardRow]) -> Figure:
    """Plot one slice: latency p50 in ms against test accuracy in %, with 95 % whiskers and a front per family."""
    traces: list[Figure] = []
    for family in FAMILIES:
        # Stable rows first: the legend shows the first point's symbol.
        members = sorted((row for row in rows if row.family == family), key=lambda row: row.verdict != "stable")
        if not members:
            continue
        front = _front(family, members)
        traces += [front] if front else []
        traces.append(_points(family, members))
    layout = _layout(xaxis=_axis("latency p50 (ms)"), yaxis=_axis("test accuracy (%)"))
    bases = [row for row in rows if row.family == "base"]
    if 0 < len(bases) <= MAX_BASE_LINES:
        layout["shapes"] = [line for base in bases for line in _base_lines(base)]
    return {"data": traces, "layout": layout}


def training_curves(curves: Sequence[Curve]) -> Figure:
    """Plot validation accuracy above and loss below, by epoch; a running network's line is dotted."""
    traces: list[Figure] = []
    named: set[str] = set()
    last = max((epoch for curve in curves for epoch in curve.epochs), default=1)
    for curve in sorted(curves, key=lambda c: FAMILIES.index(c.family)):
        text = escape(curve.label) + (" (running)" if curve.running else "")
        shared = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": formats.family(curve.family),
            "legendgroup": curve.family,
            "x": list(curve.epochs),
            "line": {"color": _colour(curve.family), "width": 1.5, "dash": "dot" if curve.running else "solid"},
            "marker": {"symbol": SYMBOLS[curve.family], "size": 6},
            "meta": {"points": True},
        }
        accuracies = [None if a is None else a * 100 for a in curve.accuracies]
        above = {"y": accuracies, "hovertemplate": f"<b>{text}</b><br>epoch %{{x}}: %{{y:.1f}} %<extra></extra>"}
        below = {
            "y": list(curve.losses),
            "hovertemplate": f"<b>{text}</b><br>epoch %{{x}}: loss %{{y:.3f}}<extra></extra>",
        }
        traces.append({**shared, **above, "showlegend": curve.family not in named})
        traces.append({**shared, **below, "showlegend": False, "yaxis": "y2"})
        named.add(curve.family)
    layout = _layout(
        xaxis=_axis("epoch") | {"anchor": "y2", "dtick": 1 + last // 16},
        yaxis=_axis("validation (%)") | {"domain": [0.46, 1]},
        yaxis2=_axis("loss") | {"domain": [0, 0.38], "rangemode": "tozero"},
    )
    return {"data": traces, "layout": layout}


def _points(family: str, rows: Sequence[LeaderboardRow]) -> Figure:
    latency = [_milliseconds(row) for row in rows]
    colour = _colour(family)
    whisker = {"type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": colour}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": formats.family(family),
        "legendgroup": family,
        "x": [mid for mid, _, _ in latency],
        "y": [row.accuracy.value * 100 for row in rows],
        "error_x": whisker
        | {"array": [high - mid for mid, _, high in latency], "arrayminus": [mid - low for mid, low, _ in latency]},
        "error_y": whisker
        | {
            "array": [(row.accuracy.ci_high - row.accuracy.value) * 100 for row in rows],
            "arrayminus": [(row.accuracy.value - row.accuracy.ci_low) * 100 for row in rows],
        },
        "marker": {
            "color": colour,
            "size": 14 if family == "base" else 10,
            "symbol": [SYMBOLS[family] + ("" if row.verdict == "stable" else "-open") for row in rows],
            "line": {"width": 1.5, "color": colour},
        },
        "customdata": [_hover(row) for row in rows],
        "hovertemplate": (
            "<b>%{customdata[1]}</b><br>%{customdata[2]} ms, ratio %{customdata[3]}<br>"
            "%{customdata[4]}<br>%{customdata[5]}<extra></extra>"
        ),
        "meta": {"points": True},
    }


def _front(family: str, rows: Sequence[LeaderboardRow]) -> Figure | None:
    """Draw the family's best accuracy at each latency as a staircase; doubtful rows bear no part of it."""
    if family == "base":
        return None
    stable = [row for row in rows if row.verdict == "stable"]
    marks = pareto_front([row.p50_ns for row in stable], [row.accuracy.value for row in stable])
    best = sorted((row for row, on in zip(stable, marks, strict=True) if on), key=lambda row: row.p50_ns)
    if len(best) < 2:
        return None
    return {
        "type": "scatter",
        "mode": "lines",
        "legendgroup": family,
        "showlegend": False,
        "hoverinfo": "skip",
        "x": [row.p50_ns / 1e6 for row in best],
        "y": [row.accuracy.value * 100 for row in best],
        "line": {"shape": "hv", "color": _colour(family), "width": 1.5},
        "opacity": 0.6,
        "meta": {"points": False},
    }


def _base_lines(base: LeaderboardRow) -> list[Figure]:
    line = {"color": _colour("base"), "width": 1, "dash": "dash"}
    x, y = base.p50_ns / 1e6, base.accuracy.value * 100
    shared = {"type": "line", "layer": "below", "line": line}
    return [
        shared | {"xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1},
        shared | {"xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": y, "y1": y},
    ]


def _milliseconds(row: LeaderboardRow) -> tuple[float, float, float]:
    """Return p50 with the bounds that the ratio's interval puts on it; the base is the unit and has none."""
    mid = row.p50_ns / 1e6
    if row.ratio is None:
        return mid, mid, mid
    low, high = (mid * bound / row.ratio.value for bound in (row.ratio.ci_low, row.ratio.ci_high))
    return mid, min(low, mid), max(high, mid)


def _hover(row: LeaderboardRow) -> list[str]:
    verdict = row.verdict + (f": {', '.join(row.flags)}" if row.flags else "")
    texts = [
        row.label,
        formats.ms(row.p50_ns),
        formats.ratio(row.ratio),
        f"{formats.proportion(row.accuracy)} ({formats.interval(row.accuracy)})",
        verdict,
    ]
    return [f"/variants/{row.variant}"] + [escape(text) for text in texts]


def _colour(family: str) -> str:
    return f"var(--family-{family.replace('_', '-')})"


def _axis(title: str) -> Figure:
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "var(--grid)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": "var(--line)",
        "showline": True,
    }


def _layout(**axes: Mapping[str, Any]) -> Figure:
    return {
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink)", "family": "var(--font)", "size": 13},
        "hoverlabel": {
            "bgcolor": "var(--surface)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
            "align": "left",
        },
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 56, "r": 16, "t": 40, "b": 48},
        **axes,
    }
