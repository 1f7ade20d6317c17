"""The database's history: one file per step in versions/, applied by Alembic.

A new step is written from the difference between the models and a migrated database with

    python -m migrations "what changes"
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, NullPool, create_engine, text

ADVISORY_LOCK = 0x4C50  # any number that nobody else uses in this database


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to a revision; several processes may try at once, one does it."""
    engine = create_engine(url, poolclass=NullPool)
    with _alone(engine):
        command.upgrade(config(engine), revision)


def config(engine: Engine) -> Config:
    """Make Alembic's configuration in code, so that it works from a wheel too."""
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    configuration.set_main_option(
        "file_template", "%%(year)d-%%(month).2d-%%(day).2d-%%(hour).2d%%(minute).2d_%%(slug)s"
    )
    configuration.set_main_option("timezone", "UTC")
    configuration.attributes["engine"] = engine
    return configuration


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            yield
        return
    name = sha256(str(engine.url).encode()).hexdigest()[:16]
    folder = Path(engine.url.database).parent if engine.url.database else Path(tempfile.gettempdir())
    with open(folder / f".migrate-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
