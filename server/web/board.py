"""The leaderboard as the pages ask for it: a query that a form may fill in, all rows of a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated
from urllib.parse import urlencode

from pydantic import ConfigDict, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.leaderboard import Leaderboard, LeaderboardRow, Verdict
from layerprune.api.pruning import Family, Method
from layerprune.api.wire import Wire
from server.catalogue import service as catalogue
from server.errors import bad_input
from server.leaderboard import service
from server.leaderboard.repository import Filters
from server.models import Candidate, Device, Job

from .figures import Slice

MAX_ROWS = 1000
"""More rows than this are not plotted or exported at once."""
Name = Annotated[str | None, Field(max_length=200)]


class Query(Wire):
    """What the leaderboard's address may say: the filters of /v1/leaderboard, a page, and one slice for a plot."""

    model_config = ConfigDict(extra="ignore")

    model: Name = None
    dataset: Name = None
    device: Name = None
    method: Method | None = None
    family: Family | None = None
    criterion: Name = None
    max_latency_ms: Annotated[float | None, Field(gt=0, le=1e9)] = None
    min_accuracy: Annotated[float | None, Field(ge=0, le=1)] = None
    front: bool = False
    verdict: Verdict | None = None
    job: Name = None
    comparable_key: Name = None
    cursor: Annotated[str | None, Field(max_length=400)] = None

    def filters(self) -> Filters:
        """Return what restricts the rows."""
        return Filters(**{field.name: getattr(self, field.name) for field in fields(Filters)})

    def address(self, **changes: str | None) -> str:
        """Write the query for an address, with some values changed; the page is left out unless it is given."""
        values = self.model_dump(exclude_defaults=True, exclude={"cursor"}) | changes
        return urlencode({name: "true" if value is True else value for name, value in values.items() if value})

    def for_slice(self, one: Slice) -> str:
        """Write the query for the plot of one slice."""
        return self.address(model=one.model, dataset=one.dataset, device=one.device, comparable_key=one.comparable_key)


@dataclass(frozen=True)
class Choices:
    """What can be chosen in the form."""

    models: list[str]
    datasets: list[str]
    devices: list[str]
    criteria: list[str]


def parse(parameters: Mapping[str, str]) -> Query:
    """Read a query from an address; a form's empty fields count as left out. Raises BadInput naming the field."""
    try:
        return Query.model_validate({name: value for name, value in parameters.items() if value.strip()})
    except ValidationError as error:
        raise bad_input(error) from error


def all_rows(session: Session, project_id: int, query: Query) -> list[LeaderboardRow]:
    """Return the rows of all pages, the fastest first, at most MAX_ROWS."""
    return service.page(session, project_id, query.filters(), limit=MAX_ROWS).rows


def page(session: Session, project_id: int, query: Query, *, limit: int = 50) -> Leaderboard:
    """Return one page of rows."""
    return service.page(session, project_id, query.filters(), limit=limit, after=query.cursor)


def choices(session: Session, project_id: int, *, now: int) -> Choices:
    """List what occurs in the project, and the criteria that workers offer."""
    offered = {criterion.name for criterion in catalogue.offered(session, project_id, now=now).criteria}
    tried = select(Candidate.criterion).join(Job, Candidate.job_id == Job.id).where(Job.project_id == project_id)
    return Choices(
        models=sorted(session.scalars(select(Job.model).where(Job.project_id == project_id).distinct())),
        datasets=sorted(session.scalars(select(Job.dataset).where(Job.project_id == project_id).distinct())),
        devices=sorted(session.scalars(select(Device.name).where(Device.project_id == project_id))),
        criteria=sorted(offered | set(session.scalars(tried.distinct()))),
    )
