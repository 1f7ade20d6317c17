"""Content by digest, and who refers to it."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, Key


class Artifact(Base):
    """Content by digest; knowing a digest grants nothing, a reference of the project does."""

    __tablename__ = "artifact"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int]
    created_at: Mapped[int]


class ArtifactRef(Base):
    """Why a project holds an artifact."""

    __tablename__ = "artifact_ref"
    __table_args__ = (UniqueConstraint("project_id", "sha256", "kind"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)
    kind: Mapped[str]
    created_at: Mapped[int]


class Upload(Base):
    """A file that a user uploaded on purpose: a network, weights or images, under the name it had."""

    __tablename__ = "upload"
    __table_args__ = (UniqueConstraint("project_id", "sha256", "kind"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    created_at: Mapped[int]
    artifact: Mapped[Artifact] = relationship()
