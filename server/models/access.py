"""Who may do what, and with what: projects, tokens, devices, workers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from server.ids import new_id

from .base import Base, Key


class Project(Base):
    """Who owns what; there is one, `default`, until somebody makes more."""

    __tablename__ = "project"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)


class Token(Base):
    """A secret's hash and its kind: admin, user, registration, worker, login (single use) or session (browser)."""

    __tablename__ = "token"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(default="")
    secret_hash: Mapped[str] = mapped_column(unique=True)
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("worker.id"))
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    used_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


class Device(Base):
    """One piece of hardware."""

    __tablename__ = "device"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[int]


class Worker(Base):
    """A process that claims tasks; its row outlives the process, a restart brings a new incarnation."""

    __tablename__ = "worker"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    name: Mapped[str]
    roles: Mapped[list[Any]]
    catalogue: Mapped[dict[str, Any]]
    incarnation: Mapped[str]
    protocol_version: Mapped[int]
    allow_null: Mapped[bool] = mapped_column(Boolean, default=False)
    registered_at: Mapped[int]
    last_seen_at: Mapped[int]
    device: Mapped[Device | None] = relationship()
