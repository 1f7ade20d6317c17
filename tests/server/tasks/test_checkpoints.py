"""Checkpoints of trainings: kept with the attempt, handed to the next one, gone when the task has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from layerprune.api.errors import LeaseLost
from server.artifacts.service import get
from server.auth import Principal
from server.models import Artifact, Attempt, Upload


@dataclass
class Lease:
    worker: str
    attempt: str
    number: int
    token: str


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def server(request: pytest.FixtureRequest, make_server: Callable[..., Any]) -> Any:
    """The service layer on either database."""
    return make_server(request.getfixturevalue("empty_postgres")() if request.param == "postgresql" else None)


def claim(server: Any, worker: str) -> tuple[Any, Lease]:
    claimed = server.claim(worker)
    return claimed, Lease(worker, claimed.attempt_id, claimed.attempt_no, claimed.lease_token)


def lose(server: Any, lease: Lease) -> None:
    server.fail(lease, "worker_lost")


def is_stored(server: Any, digest: str) -> bool:
    def look(ctx: Any) -> bool:
        return ctx.session.get(Artifact, digest) is not None and ctx.store.exists(digest)

    return bool(server.run(look))


def test_the_next_attempt_begins_where_the_last_was_left(server: Any) -> None:
    server.submit()
    first, lease = claim(server, "a")
    assert first.payload["resume"] is None
    digest = server.upload(b"after one epoch")
    server.beat(lease, digest)
    lose(server, lease)
    second, _ = claim(server, "c")
    assert second.payload["resume"] == digest
    assert second.inputs == [*first.inputs, digest]


def test_the_worker_that_goes_on_may_read_the_checkpoint(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    digest = server.upload(b"state")
    server.beat(lease, digest)
    lose(server, lease)
    claim(server, "c")
    asker = Principal("worker", server.project, 0, server.workers["c"])
    assert server.run(lambda ctx: get(ctx.session, asker, digest, now=ctx.now)).sha256 == digest


def test_an_attempt_without_a_checkpoint_keeps_the_older_one(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    digest = server.upload(b"state")
    server.beat(lease, digest)
    lose(server, lease)
    _, lease = claim(server, "c")
    server.fail(lease, "given_back")
    third, _ = claim(server, "a")
    assert third.payload["resume"] == digest
    assert third.inputs.count(digest) == 1


def test_a_newer_checkpoint_takes_the_place_of_the_older_one(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    old, new = server.upload(b"old"), server.upload(b"new")
    server.beat(lease, old)
    server.beat(lease, new)
    assert not is_stored(server, old)
    lose(server, lease)
    second, _ = claim(server, "c")
    assert second.payload["resume"] == new
    assert old not in second.inputs


def test_a_beat_that_names_what_is_not_there_is_a_beat_all_the_same(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    assert not server.beat(lease, "0" * 64).cancel
    lose(server, lease)
    second, _ = claim(server, "c")
    assert second.payload["resume"] is None


def test_a_checkpoint_whose_file_is_gone_is_not_handed_on(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    digest = server.upload(b"state")
    server.beat(lease, digest)
    server.run(lambda ctx: ctx.store.remove(digest))
    lose(server, lease)
    second, _ = claim(server, "c")
    assert second.payload["resume"] is None


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_the_checkpoint_goes_when_the_task_has_ended(server: Any, end: str) -> None:
    job = server.submit()
    _, lease = claim(server, "a")
    digest = server.upload(b"state")
    server.beat(lease, digest)
    assert server.tidy() == 0
    if end == "done":
        server.complete(lease)
    elif end == "failed":
        server.fail(lease, "diverged")
    else:
        server.cancel(job)
    assert server.tidy() == 1
    assert not is_stored(server, digest)
    assert server.run(lambda ctx: ctx.session.scalars(select(Attempt.checkpoint)).all()) == [None]


def test_content_that_a_user_uploaded_too_stays(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    digest = server.upload(b"state")

    def enter(ctx: Any) -> None:
        row = Upload(project_id=server.project, sha256=digest, kind="weights", name="w", created_at=ctx.now)
        ctx.session.add(row)

    server.run(enter)
    server.beat(lease, digest)
    server.complete(lease)
    server.tidy()
    assert is_stored(server, digest)


def test_a_late_beat_stores_no_checkpoint(server: Any) -> None:
    server.submit()
    _, lease = claim(server, "a")
    digest = server.upload(b"state")
    server.advance(91)
    server.reap()
    with pytest.raises(LeaseLost):
        server.beat(lease, digest)
    second, _ = claim(server, "c")
    assert second.payload["resume"] is None
