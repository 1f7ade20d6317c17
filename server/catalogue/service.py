"""The union of what workers offer."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.catalogue import Catalogue
from server.models import Worker

REMEMBERED_US = 7 * 86_400 * 1_000_000
"""An offline worker's offers count this long: a job for it waits instead of being refused."""


def offered(session: Session, project_id: int, *, now: int) -> Catalogue:
    """Give everything that can be asked for, each name once, as the worker seen last describes it."""
    workers = session.scalars(
        select(Worker)
        .where(Worker.project_id == project_id, Worker.last_seen_at > now - REMEMBERED_US)
        .order_by(Worker.last_seen_at)
    )
    catalogues = [Catalogue.model_validate(worker.catalogue) for worker in workers]
    models = {model.name: model for one in catalogues for model in one.models}
    datasets = {dataset.name: dataset for one in catalogues for dataset in one.datasets}
    criteria = {criterion.name: criterion for one in catalogues for criterion in one.criteria}
    backends = {backend.name: backend for one in catalogues for backend in one.backends}
    return Catalogue(
        models=[models[name] for name in sorted(models)],
        datasets=[datasets[name] for name in sorted(datasets)],
        criteria=[criteria[name] for name in sorted(criteria)],
        backends=[backends[name] for name in sorted(backends)],
    )
