"""Device reports as they came, and what they prove."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from server.ids import new_id

from .access import Device
from .base import Base, Key


class DeviceReport(Base):
    """What `layerprune device check` found on one device; the same report sent again is the same row."""

    __tablename__ = "device_report"
    __table_args__ = (UniqueConstraint("device_id", "report_hash"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"))
    report_hash: Mapped[str] = mapped_column(String(64))
    report: Mapped[dict[str, Any]]
    made_at: Mapped[int]
    received_at: Mapped[int]
    ranked_rows: Mapped[int] = mapped_column(default=0)
    device: Mapped[Device] = relationship()


class Proof(Base):
    """Whether a report proves a class of devices: model, runtime, and the first two numbers of its version."""

    __tablename__ = "proof"
    __table_args__ = (
        UniqueConstraint("report_id", "device_model", "backend", "version"),
        Index("ix_proof_class", "project_id", "device_model", "backend", "version", "passed"),
    )
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("device_report.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    device_model: Mapped[str]
    backend: Mapped[str]
    version: Mapped[str]
    passed: Mapped[bool] = mapped_column(Boolean)
    problems: Mapped[list[Any]]
