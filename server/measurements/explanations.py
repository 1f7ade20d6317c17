"""Keep what workers say about why a variant is slow, and give it back."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api import why as api
from layerprune.api.errors import BadInput
from server.models import Attempt, Conditions, Device, Explanation, Variant

from .groups import PathOf

MAX_BYTES = 2 * 2**20


def store(
    session: Session,
    explanations: Mapping[str, str],
    variants: Mapping[str, Variant],
    attempt: Attempt,
    key_row: Conditions,
    path_of: PathOf,
    *,
    now: int,
) -> None:
    """Store the explanations (variant -> digest) of a measurement.

    Raises BadInput for a variant that was not measured, and for content that is no explanation.
    """
    for name, digest in explanations.items():
        if name not in variants:
            raise BadInput(
                f"an explanation of {name!r}, which was not asked for",
                field=f"explanations.{name}",
                value=name,
                remedy="Explain variants of the task alone.",
            )
        session.add(
            Explanation(
                variant_id=variants[name].id,
                attempt_id=attempt.id,
                conditions_id=key_row.id,
                why=_read(name, digest, path_of).model_dump(mode="json"),
                created_at=now,
            )
        )


def list_of(session: Session, variant: Variant) -> list[api.Explanation]:
    """List what was found about a variant, the latest first."""
    statement = (
        select(Explanation, Device.name)
        .join(Explanation.attempt)
        .join(Device, Attempt.device_id == Device.id)
        .where(Explanation.variant_id == variant.id)
        .options(joinedload(Explanation.conditions))
        .order_by(Explanation.id.desc())
    )
    return [
        api.Explanation(
            device=device,
            comparable_key=row.conditions.comparable_key,
            why=api.Why.model_validate(row.why),
            measured_at=row.created_at,
        )
        for row, device in session.execute(statement)
    ]


def _read(name: str, digest: str, path_of: PathOf) -> api.Why:
    with path_of(digest).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        return api.Why.model_validate_json(content)
    except (ValueError, ValidationError) as error:
        raise BadInput(
            f"the explanation of {name!r} cannot be read: {str(error)[:300]}",
            field=f"explanations.{name}",
            value=digest,
            remedy="Send it as the worker of this version writes it.",
        ) from error
