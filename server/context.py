"""What a stage of a job needs: session, artifacts, time and settings, put together once per transaction."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy.orm import Session

from .db import SessionDep, read_clock
from .jobs.stages import StageContext


def make_context(app: FastAPI, session: Session) -> StageContext:
    """Put the context of one transaction together."""
    state = app.state
    return StageContext(
        session=session, store=state.store, now=read_clock(session, state.clock), settings=state.settings
    )


def get_context(request: Request, session: SessionDep) -> StageContext:
    return make_context(request.app, session)


ContextDep = Annotated[StageContext, Depends(get_context, scope="function")]
