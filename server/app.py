"""Put the app together. `uvicorn --factory server.app:create_app` serves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

import layerprune
from layerprune.api.errors import ErrorResponse, LayerPruneError

from . import errors, login
from .artifacts import endpoints as artifacts
from .artifacts.store import LocalStore
from .bootstrap import bootstrap
from .catalogue import endpoints as catalogue
from .clock import Clock, system_clock
from .config import Settings
from .context import make_context
from .db import make_engine, make_sessions, session_scope
from .devices import endpoints as devices
from .external import endpoints as external
from .gate import Gate
from .jobs import endpoints as jobs
from .jobs import outcome
from .leaderboard import endpoints as leaderboard
from .notify import Notifier
from .strict import refuse_unknown_query, refuse_unstorable
from .tasks import checkpoints, leases
from .tasks import endpoints as tasks
from .web import endpoints as web
from .workers import endpoints as workers

log = logging.getLogger(__name__)
REAP_EVERY_S = 5.0
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in (
        (401, "no valid token"),
        (403, "a token of another kind is needed"),
        (404, "there is no such thing, or not for this token"),
        (409, "contradicts what is stored"),
        (413, "over the limit"),
        (422, "a value is wrong; the answer names it and the remedy"),
    )
}


def create_app(settings: Settings | None = None, clock: Clock = system_clock) -> FastAPI:
    """Make the app: everything it needs is in its state, and nothing runs before it is started."""
    settings = settings or Settings()
    app = FastAPI(
        title="LayerPrune",
        version=layerprune.__version__,
        description=str(layerprune.__doc__),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_unstorable), Depends(refuse_unknown_query)],
        responses=ERRORS,
    )
    app.state.settings = settings
    app.state.clock = clock
    app.state.notifier = Notifier()
    app.state.store = LocalStore(settings.data / "artifacts")
    errors.install(app)
    app.add_middleware(Gate, owner=app, settings=settings)
    app.add_api_route("/healthz", healthz, include_in_schema=False)
    for module in (jobs, leaderboard, catalogue, devices, external, artifacts, workers, tasks, login, web):
        app.include_router(module.router)
    return app


def healthz() -> dict[str, str]:
    """Say that the server answers."""
    return {"status": "ok", "version": layerprune.__version__}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    await run_in_threadpool(bootstrap, settings, app.state.clock)
    engine = make_engine(settings.url)
    app.state.engine = engine
    app.state.sessions = make_sessions(engine, app.state.notifier)
    app.state.read_sessions = make_sessions(engine, app.state.notifier, read_only=True)
    app.state.notifier.listen(engine)
    reaper = asyncio.create_task(_reap_forever(app))
    try:
        yield
    finally:
        reaper.cancel()
        with suppress(asyncio.CancelledError):
            await reaper
        await run_in_threadpool(app.state.notifier.close)
        engine.dispose()


async def _reap_forever(app: FastAPI) -> None:
    """End expired leases now and then; claims do it too, so that nothing depends on this."""
    pause_s = min(REAP_EVERY_S, app.state.settings.lease_s / 4)
    while True:
        try:
            await run_in_threadpool(reap, app)
        except (SQLAlchemyError, LayerPruneError):
            log.exception("could not end the expired leases, trying again")
        await asyncio.sleep(pause_s)


def reap(app: FastAPI) -> None:
    """End the leases that ran out and the jobs that waited too long, and tidy up; safe at any time, in any process."""
    with session_scope(app) as session:
        leases.expire_leases(make_context(app, session))
    with session_scope(app) as session:
        outcome.expire(make_context(app, session))
    with session_scope(app) as session:
        checkpoints.drop_ended(make_context(app, session))
