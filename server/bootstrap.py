"""Bring a data folder into a state in which the server can run."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.orm import Session

from layerprune.api.errors import NotAuthenticated
from migrations import upgrade

from .auth import authenticate, default_project, issue
from .clock import Clock, system_clock
from .config import Settings
from .db import insert_missing, make_engine, make_sessions, read_clock, transaction
from .ids import new_id
from .models import Project
from .notify import Notifier


def bootstrap(settings: Settings, clock: Clock = system_clock) -> None:
    """Create the folder, migrate the database, make the default project and the admin's token; safe to repeat."""
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(settings.url)
    engine = make_engine(settings.url)
    try:
        with transaction(make_sessions(engine, Notifier())) as session:
            insert_missing(session, Project, {"public_id": new_id(), "name": "default"})
            now = read_clock(session, clock)
            token_file = settings.data / "admin-token"
            if not _is_valid(session, token_file, now=now):
                _write_secret(token_file, issue(session, "admin", default_project(session).id, now=now))
    finally:
        engine.dispose()


def _is_valid(session: Session, token_file: Path, *, now: int) -> bool:
    try:
        return authenticate(session, token_file.read_text().strip(), now=now).kind == "admin"
    except (FileNotFoundError, NotAuthenticated):
        return False


def _write_secret(path: Path, secret: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
