"""Run by Alembic: connects, and applies or compares."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Engine

from server.models import Base

engine: Engine = context.config.attributes["engine"]
with engine.connect() as connection:
    # SQLite cannot alter most things: its tables are copied instead ("batch").
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
