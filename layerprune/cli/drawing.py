"""Scores as a drawing: one panel of bars per criterion, the layers from input to output below each other."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..api.errors import BadInput

if TYPE_CHECKING:
    from ..api.tasks import LayerInfo

SUFFIXES = (".svg", ".html")
_ROW, _PANEL, _GAP, _HEAD, _CHARACTER = 18, 180, 90, 56, 7.2


def check_drawing(path: Path) -> None:
    """Raise BadInput for a file that cannot be drawn to."""
    if path.suffix not in SUFFIXES:
        raise BadInput(
            f"cannot draw to {path}: drawings are {' or '.join(SUFFIXES)} files",
            field="draw",
            value=str(path),
            remedy="Give a file that ends in .svg or .html; browsers show and print both.",
        )


def write_drawing(path: Path, title: str, rows: Sequence[LayerInfo]) -> None:
    """Draw the scores as SVG, or as a page that holds it."""
    drawing = svg(title, rows)
    if path.suffix == ".html":
        drawing = f"<!doctype html>\n<meta charset='utf-8'>\n<title>{escape(title)}</title>\n{drawing}"
    path.write_text(drawing, encoding="utf-8")


def svg(title: str, rows: Sequence[LayerInfo]) -> str:
    """Bars to the right of zero are positive scores, to the left negative ones; each panel has its own scale."""
    names = list(rows[0].scores)
    left = 16 + _CHARACTER * max(len(row.name) for row in rows)
    width, height = left + len(names) * (_PANEL + _GAP) + 16, _HEAD + _ROW * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        'font-family="monospace" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for place, row in enumerate(rows):
        parts.append(f'<text x="8" y="{_HEAD + _ROW * place + 13}">{escape(row.name)}</text>')
    for panel, name in enumerate(names):
        x = left + panel * (_PANEL + _GAP)
        values = [row.scores[name] for row in rows]
        low, high = min(0.0, *values), max(0.0, *values)
        scale = _PANEL / ((high - low) or 1.0)
        zero = x - low * scale
        parts.append(f'<text x="{x:.1f}" y="44" font-weight="bold">{escape(name)}</text>')
        for place, value in enumerate(values):
            y = _HEAD + _ROW * place
            parts.append(
                f'<rect x="{min(zero, zero + value * scale):.1f}" y="{y + 2}" width="{abs(value) * scale:.1f}" '
                f'height="{_ROW - 4}" fill="{"#2b6cb0" if value >= 0 else "#c05621"}">'
                f"<title>{escape(rows[place].name)}: {value:.6g}</title></rect>"
                f'<text x="{x + _PANEL + 4:.1f}" y="{y + 13}" fill="#444">{value:.4g}</text>'
            )
        parts.append(
            f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="{_HEAD}" y2="{_HEAD + _ROW * len(rows)}" stroke="#444"/>'
        )
    return "\n".join([*parts, "</svg>\n"])
