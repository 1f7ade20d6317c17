"""Why a variant is slower than its MACs promise."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, Key
from .results import Conditions
from .work import Attempt


class Explanation(Base):
    """Layer profiles of a variant beside its base, under one set of conditions; see layerprune.api.why."""

    __tablename__ = "explanation"
    __table_args__ = (UniqueConstraint("variant_id", "attempt_id"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    variant_id: Mapped[int] = mapped_column(ForeignKey("variant.id"))
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"))
    conditions_id: Mapped[int] = mapped_column(ForeignKey("conditions.id"))
    why: Mapped[dict[str, Any]]
    created_at: Mapped[int]
    attempt: Mapped[Attempt] = relationship()
    conditions: Mapped[Conditions] = relationship()
