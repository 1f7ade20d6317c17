"""What other tools measured: kept apart from `measurement`, so that no query can rank it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.ids import new_id

from .base import Base, Key


class External(Base):
    """One file of another tool, as a project understood it."""

    __tablename__ = "external"
    __table_args__ = (
        UniqueConstraint("project_id", "sha256", "device", "model"),
        CheckConstraint("p50_ns > 0", name="latency_positive"),
    )
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)
    format: Mapped[str] = mapped_column(String(40))
    tool: Mapped[str]
    device: Mapped[str]
    model: Mapped[str]
    precision: Mapped[str | None]
    batch_size: Mapped[int | None]
    note: Mapped[str]
    p50_ns: Mapped[int]
    p90_ns: Mapped[int | None]
    p99_ns: Mapped[int | None]
    n_samples: Mapped[int | None]
    details: Mapped[dict[str, Any]]
    created_at: Mapped[int]
