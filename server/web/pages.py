"""Templates and what they share: how a page, an error page and the sign-in page are rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerprune.api.errors import LayerPruneError
from layerprune.api.pruning import PruningSpec

from . import assets, formats


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a page; it is never cached, because every page shows what is true now."""
    html = _TEMPLATES.get_template(template).render(here=request.url.path, **context)
    return HTMLResponse(html, status, {"Cache-Control": "no-store"})


def render_error(request: Request, error: LayerPruneError) -> HTMLResponse:
    """Render an error for a browser: the sign-in page when nobody is signed in, else the sentence and the remedy.

    The page brings its style along, because the static files need a token like everything else.
    """
    css = assets.read("style.css").decode()
    if error.status == 401 or request.url.path == "/login":
        tried = "token" in request.query_params or "cookie" in request.headers
        problem = error.message if tried else None
        return render(request, "signin.html", status=error.status, problem=problem, css=css)
    return render(request, "error.html", status=error.status, error=error, css=css)


def goals(pruning: PruningSpec) -> str:
    """Say in words what latencies (or amounts) a job aims at."""
    if pruning.amounts:
        return "removing " + ", ".join(formats.percent(amount, 0) for amount in pruning.amounts) + " of the MACs"
    targets = pruning.target_list()
    texts = [f"{t.ratio:g} of the base" if t.ratio is not None else f"{t.latency_ms:g} ms" for t in targets]
    places = [f" on {t.device}" if t.device else "" for t in targets]
    return "latency " + ", ".join(text + place for text, place in zip(texts, places, strict=True))


def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(formats.FILTERS)
    environment.globals.update(static=assets.address, goals=goals)
    return environment


_TEMPLATES = _environment()
