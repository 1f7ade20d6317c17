"""The pages: they translate between addresses and templates; what they show comes from the services."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy import select

from layerprune import __version__
from layerprune.api.errors import BadInput
from layerprune.api.pruning import PruningSpec
from layerprune.api.training import TrainingSpec
from layerprune.flags import FLAGS
from server.auth import UserDep
from server.catalogue import service as catalogue
from server.context import ContextDep
from server.devices import proofs, reports
from server.devices import service as devices
from server.external import service as external
from server.jobs import service as jobs
from server.jobs.endpoints import ReadContextDep
from server.leaderboard import pairs
from server.leaderboard import service as leaderboard
from server.leaderboard.comparison import compare
from server.leaderboard.matrix import matrix
from server.leaderboard.repository import Filters
from server.leaderboard.repository import waiting as waiting_rows
from server.models import Worker

from . import apidocs, assets, board, curves, figures, pages
from .table import as_csv

router = APIRouter(include_in_schema=False)
FOR_EVER = "private, max-age=31536000, immutable"
PRESET_CRITERIA = ("weight_l1", "imprinting", "random")
PRESET_MODEL = "cifar:resnet20"
JOBS_PER_PAGE = 30


@router.get("/static/{name}")
def static(request: Request, name: str, _: UserDep) -> Response:
    """Serve a static file; its address changes with its content, so browsers may keep it."""
    headers = {"Vary": "Accept-Encoding"}
    if request.query_params.get("v") == assets.version(name):
        headers["Cache-Control"] = FOR_EVER
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(assets.compressed(name), media_type=assets.media_type(name), headers=headers)
    return Response(assets.read(name), media_type=assets.media_type(name), headers=headers)


@router.get("/")
def leaderboard_page(request: Request, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Show the leaderboard with its filters and a plot per set of comparable rows."""
    problem, query = None, board.Query()
    try:
        query = board.parse(request.query_params)
    except BadInput as error:
        problem = error
    rows = board.all_rows(ctx.session, user.project_id, query)
    page = board.page(ctx.session, user.project_id, query)
    return pages.render(
        request,
        "leaderboard.html",
        status=problem.status if problem else 200,
        problem=problem,
        query=query,
        page=page,
        slices=figures.slices(rows),
        truncated=page.total > board.MAX_ROWS,
        choices=board.choices(ctx.session, user.project_id, now=ctx.now),
        families=figures.FAMILIES,
        flags=FLAGS,
        external=external.list_rows(ctx.session, user.project_id, device=query.device, model=query.model),
    )


@router.get("/leaderboard.csv")
def leaderboard_csv(request: Request, ctx: ReadContextDep, user: UserDep) -> Response:
    """Give every row that passes the filters as a table."""
    rows = board.all_rows(ctx.session, user.project_id, board.parse(request.query_params))
    headers = {"Content-Disposition": 'attachment; filename="leaderboard.csv"'}
    return Response(as_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/figures/leaderboard.json")
def leaderboard_figure(request: Request, ctx: ReadContextDep, user: UserDep) -> JSONResponse:
    """Give the plot of the rows that pass the filters and were measured under one set of conditions."""
    rows = board.all_rows(ctx.session, user.project_id, board.parse(request.query_params))
    return JSONResponse(figures.accuracy_latency(rows))


@router.get("/jobs")
def jobs_page(request: Request, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """List the jobs, the newest first."""
    cursor = request.query_params.get("cursor")
    page = jobs.list_page(ctx, user.project_id, limit=JOBS_PER_PAGE, cursor=cursor, state=None)
    live = any(job.state in ("queued", "running") for job in page.jobs)
    return pages.render(request, "jobs.html", jobs=page.jobs, next_cursor=page.next_cursor, live=live)


@router.get("/jobs/new")
def new_job_page(request: Request, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Show a form for the usual fields of a job."""
    offered = catalogue.offered(ctx.session, user.project_id, now=ctx.now)
    return pages.render(
        request,
        "new.html",
        models=offered.models,
        datasets=offered.datasets,
        criteria=offered.criteria,
        devices=devices.list_all(ctx.session, user.project_id),
        backends=offered.backends,
        preset=PRESET_CRITERIA,
        preset_methods=PruningSpec().methods,
        preset_model=PRESET_MODEL,
        epochs=TrainingSpec().epochs,
    )


@router.get("/jobs/{job_id}")
def job_page(request: Request, job_id: str, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Show how far a job is and what it found; a script keeps the page fresh while the job runs."""
    job = jobs.get(ctx.session, user.project_id, job_id)
    view = jobs.view(ctx, job)
    live = view.state in ("queued", "running")
    query = board.Query(job=job_id)
    page = board.page(ctx.session, user.project_id, query, limit=board.MAX_ROWS)
    # While the page refreshes itself it leaves out what needs resampling.
    comparison = compare(ctx.session, ctx.store, job, with_fronts=not live) if page.rows else None
    return pages.render(
        request,
        "job.html",
        job=view,
        live=live,
        running=[task for task in view.tasks if task.state == "leased"] if live else [],
        comparison=comparison,
        matrix=matrix(job.model, job.dataset, [comparison]) if comparison else None,
        curve_version=curves.version(curves.of_job(ctx.session, job)),
        query=query,
        page=page,
        slices=figures.slices(page.rows),
        flags=FLAGS,
    )


@router.get("/matrix")
def matrix_page(
    request: Request, ctx: ReadContextDep, user: UserDep, model: str | None = None, dataset: str | None = None
) -> HTMLResponse:
    """Show which family wins where, over the newest jobs of one model and data set; without them, let one choose."""
    if not model or not dataset:
        measured = leaderboard.list_measured(ctx.session, user.project_id)
        return pages.render(request, "matrix.html", matrix=None, measured=measured)
    found = leaderboard.jobs_of(ctx.session, user.project_id, model, dataset)
    compared = [compare(ctx.session, ctx.store, job, with_fronts=False) for job in found]
    return pages.render(request, "matrix.html", matrix=matrix(model, dataset, compared))


@router.get("/compare")
def compare_page(request: Request, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Compare the latency of the ticked rows with the first one's, or say which conditions differ."""
    ticked = request.query_params.getlist("measurement")[: pairs.MAX_COMPARED]
    try:
        found = pairs.compare(ctx.session, ctx.store, user.project_id, ticked)
    except BadInput as problem:
        return pages.render(request, "compare.html", status=problem.status, problem=problem, found=None)
    return pages.render(request, "compare.html", problem=None, found=found)


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: str, ctx: ContextDep, user: UserDep) -> RedirectResponse:
    """Cancel a job and go back to its page."""
    job = jobs.cancel(ctx, user.project_id, job_id)
    return RedirectResponse(f"/jobs/{job.public_id}", status_code=303)


@router.get("/figures/jobs/{job_id}/training.json")
def job_training_figure(job_id: str, ctx: ReadContextDep, user: UserDep) -> JSONResponse:
    """Give the plot of how the job's networks learn."""
    job = jobs.get(ctx.session, user.project_id, job_id)
    return JSONResponse(figures.training_curves(curves.of_job(ctx.session, job)))


@router.get("/variants/{variant_id}")
def variant_page(request: Request, variant_id: str, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Show one trained network: what went, how accurate it is, where it was measured, its files."""
    variant = leaderboard.variant(ctx.session, user.project_id, variant_id)
    return pages.render(request, "variant.html", variant=variant, flags=FLAGS)


@router.get("/figures/variants/{variant_id}/training.json")
def variant_training_figure(variant_id: str, ctx: ReadContextDep, user: UserDep) -> JSONResponse:
    """Give the plot of how a network learnt."""
    variant = leaderboard.variant(ctx.session, user.project_id, variant_id)
    return JSONResponse(figures.training_curves([curves.of_network(variant.label, variant.family, variant.curve)]))


@router.get("/devices")
def devices_page(request: Request, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Show devices and workers, and how to add one."""
    offline_us = ctx.settings.offline_us
    listed = devices.list_all(ctx.session, user.project_id)
    workers = ctx.session.scalars(select(Worker).where(Worker.project_id == user.project_id).order_by(Worker.name))
    return pages.render(
        request,
        "devices.html",
        devices=devices.views(ctx.session, listed, now=ctx.now, offline_us=offline_us),
        workers=[(worker, worker.last_seen_at > ctx.now - offline_us) for worker in workers],
        origin=str(request.base_url).rstrip("/"),
        version=__version__,
    )


@router.get("/devices/{name}")
def device_page(request: Request, name: str, ctx: ReadContextDep, user: UserDep) -> HTMLResponse:
    """Show one device, and what checks of it found."""
    device = reports.get(ctx.session, user.project_id, name)
    waiting = waiting_rows(ctx.session, user.project_id, Filters(device=device.name))
    return pages.render(
        request,
        "device.html",
        device=devices.views(ctx.session, [device], now=ctx.now, offline_us=ctx.settings.offline_us)[0],
        reports=reports.list_of(ctx.session, device),
        unranked=proofs.unranked(ctx.session, *waiting),
    )


@router.get("/docs")
def docs_page(request: Request, _: UserDep) -> HTMLResponse:
    """Show the HTTP API from its own description."""
    document = request.app.openapi()
    types = apidocs.types(document)
    operations = apidocs.operations(document)
    return pages.render(request, "docs.html", groups=operations, schemas=types, names={t.name for t in types})
