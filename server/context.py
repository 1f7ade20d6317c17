"""What a stage of a job needs: session, artifacts, time and settings, put together once per transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy.orm import Session

from .artifacts.store import LocalStore
from .config import Settings
from .db import SessionDep, read_clock


@dataclass(frozen=True)
class StageContext:
    """What one transaction may use; `now` is in microseconds UTC."""

    session: Session
    store: LocalStore
    now: int
    settings: Settings


def make_context(app: FastAPI, session: Session) -> StageContext:
    """Put the context of one transaction together."""
    state = app.state
    return StageContext(
        session=session, store=state.store, now=read_clock(session, state.clock), settings=state.settings
    )


def get_context(request: Request, session: SessionDep) -> StageContext:
    return make_context(request.app, session)


ContextDep = Annotated[StageContext, Depends(get_context, scope="function")]
