"""Engine, sessions and the only place that commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from .clock import Clock, system_clock
from .notify import CHANNEL, Notifier

Sessions = sessionmaker[Session]
SQLITE_BEGIN = "sqlite_begin"


def make_engine(url: str) -> Engine:
    """Connect to SQLite or PostgreSQL (`postgresql+psycopg://`).

    SQLite transactions begin IMMEDIATE, so that a reader never finds, when it wants to write, that somebody else did in
    between; reading sessions ask for DEFERRED and wait for nobody.
    """
    engine = create_engine(url, pool_size=20, max_overflow=30, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def make_sessions(engine: Engine, notifier: Notifier, *, read_only: bool = False) -> Sessions:
    """Make sessions that wake the announced topics when they have committed."""
    if read_only and engine.dialect.name == "sqlite":
        engine = engine.execution_options(**{SQLITE_BEGIN: "DEFERRED"})
    sessions = sessionmaker(engine, expire_on_commit=False)

    def before_commit(session: Session) -> None:
        if engine.dialect.name == "postgresql":
            for topic in session.info.get("topics", ()):
                session.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": topic})

    def after_commit(session: Session) -> None:
        for topic in session.info.pop("topics", ()):
            notifier.wake(topic)

    event.listen(sessions, "before_commit", before_commit)
    event.listen(sessions, "after_commit", after_commit)
    return sessions


@contextmanager
def transaction(sessions: Sessions) -> Iterator[Session]:
    """Give a session; commit when the block ends, roll back when it raises."""
    with sessions() as session, session.begin():
        yield session


@contextmanager
def session_scope(app: FastAPI) -> Iterator[Session]:
    """A short transaction for code outside a request's dependencies, such as the check of a long poll."""
    with transaction(app.state.sessions) as session:
        yield session


def get_session(request: Request) -> Iterator[Session]:
    """Give the request its session; it is committed before the answer is sent."""
    with session_scope(request.app) as session:
        yield session


def get_read_session(request: Request) -> Iterator[Session]:
    """Give a session for reading alone: it takes no lock on SQLite, and nothing is committed."""
    with request.app.state.read_sessions() as session:
        yield session


# Scope "function" commits before the answer goes out: a failing commit must not look like a success.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
ReadSessionDep = Annotated[Session, Depends(get_read_session, scope="function")]


def read_clock(session: Session, clock: Clock) -> int:
    """Tell the time in microseconds: on PostgreSQL the database's, so that several servers agree."""
    if clock is system_clock and session.get_bind().dialect.name == "postgresql":
        return int(session.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")) or 0)
    return clock()


def insert_missing(session: Session, table: type[DeclarativeBase], values: Mapping[str, Any]) -> bool:
    """Insert a row unless one with the same unique key is there; tell whether it was inserted."""
    name = session.get_bind().dialect.name
    insert = postgresql.insert(table) if name == "postgresql" else sqlite.insert(table)
    # Not by the number of rows: with PostgreSQL the driver does not tell it for an insert.
    key = inspect(table).primary_key
    return session.execute(insert.values(**values).on_conflict_do_nothing().returning(*key)).first() is not None


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin late and by its own rules; `_begin_sqlite` does it instead.
    connection.isolation_level = None
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get(SQLITE_BEGIN, "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")
