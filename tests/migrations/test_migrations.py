"""The migrations end where the models are, on both databases, and can be taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, NullPool, create_engine, inspect, text

from migrations import config, upgrade
from server.models import Base


def difference(url: str) -> list[object]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        )
        return list(compare_metadata(context, Base.metadata))


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def constraints(url: str) -> dict[str, str]:
    """Every index and check by name, as text."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        indexes = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''"))
        found = {name: " ".join(sql.split()) for name, sql in indexes}
    for table in tables(engine):
        found |= {str(check["name"]): check["sqltext"] for check in inspect(engine).get_check_constraints(table)}
    return found


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def test_migrated_sqlite_equals_the_models(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    assert difference(sqlite_url) == []


@pytest.mark.postgres
def test_migrated_postgresql_equals_the_models(empty_postgres: Callable[[], str]) -> None:
    assert difference(empty_postgres()) == []


def test_checks_and_partial_indexes_are_migrated_too(sqlite_url: str, tmp_path: Path) -> None:
    """The comparison above knows neither checks nor conditions of indexes; SQLite keeps both as text."""
    upgrade(sqlite_url)
    direct_url = f"sqlite:///{tmp_path / 'direct.db'}"
    Base.metadata.create_all(create_engine(direct_url, poolclass=NullPool))
    assert constraints(sqlite_url) == constraints(direct_url)


def test_upgrading_twice_changes_nothing(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    upgrade(sqlite_url)
    assert difference(sqlite_url) == []


def test_every_migration_can_be_taken_back(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    engine = create_engine(sqlite_url, poolclass=NullPool)
    command.downgrade(config(engine), "base")
    assert tables(engine) == set()


def test_two_processes_may_migrate_at_once(sqlite_url: str) -> None:
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            upgrade(sqlite_url)
        except BaseException as error:  # noqa: B036  # a thread's failure must reach the test
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert difference(sqlite_url) == []
