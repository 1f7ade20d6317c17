"""Claims at the same time, claims answered twice, and who may claim what."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select, update

from layerprune.api.errors import LeaseLost, NotFound
from server.models import Attempt, Event, Job, OrphanResult, Task, Worker

ROUNDS = 5


@dataclass
class Lease:
    attempt: str
    worker: str
    number: int
    token: str


@pytest.fixture
def server(make_server: Callable[..., Any]) -> Any:
    return make_server()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either_server(request: pytest.FixtureRequest, make_server: Callable[..., Any]) -> Any:
    """A server on each database in turn."""
    return make_server(request.getfixturevalue("empty_postgres")() if request.param == "postgresql" else None)


def claim(server: Any, worker: str) -> Lease:
    claimed = server.claim(worker)
    assert claimed is not None
    return Lease(claimed.attempt_id, worker, claimed.attempt_no, claimed.lease_token)


def rows(server: Any, statement: Any) -> list[Any]:
    return list(server.run(lambda ctx: ctx.session.scalars(statement).all()))


def claim_together(server: Any, workers: str) -> list[Any]:
    with ThreadPoolExecutor(len(workers)) as pool:
        return [claimed for claimed in pool.map(server.claim, workers) if claimed is not None]


def test_two_workers_that_claim_at_once_get_one_task_once(either_server: Any) -> None:
    for _ in range(ROUNDS):
        job = either_server.submit()
        assert len(claim_together(either_server, "acd")) == 1
        either_server.cancel(job)


def test_two_workers_on_one_device_get_one_lease(either_server: Any) -> None:
    for _ in range(ROUNDS):
        jobs = [either_server.submit(), either_server.submit()]
        assert len(claim_together(either_server, "ab")) == 1
        for job in jobs:
            either_server.cancel(job)


def test_two_tasks_go_to_two_workers_at_once(either_server: Any) -> None:
    jobs = {either_server.submit(), either_server.submit()}
    claimed = claim_together(either_server, "cd") + [either_server.claim("a")]
    tasks = {one.task_id for one in claimed if one is not None}
    assert len(tasks) == len(jobs)


def test_the_oldest_task_comes_first(server: Any) -> None:
    jobs = [server.submit(), server.submit()]
    claimed = [server.claim("a").task_id, server.claim("c").task_id]
    tasks = select(Task.public_id).join(Job).where(Job.public_id.in_(jobs)).order_by(Job.id)
    assert claimed == rows(server, tasks)


def test_a_claim_whose_answer_was_lost_is_answered_again_with_a_new_lease(server: Any) -> None:
    server.submit()
    lost = claim(server, "a")
    again = claim(server, "a")
    assert (again.attempt, again.number) == (lost.attempt, lost.number)
    with pytest.raises(LeaseLost):
        server.complete(lost)
    assert server.complete(again).accepted


def test_a_claim_is_not_answered_again_after_a_sign_of_life(server: Any) -> None:
    server.submit()
    lease = claim(server, "a")
    server.advance(1)
    server.beat(lease)
    assert server.claim("a") is None


def test_a_worker_without_what_the_task_needs_does_not_get_it(server: Any) -> None:
    server.submit()
    server.run(lambda ctx: ctx.session.execute(update(Worker).where(Worker.name == "a").values(catalogue={})))
    assert server.claim("a") is None
    assert server.claim("c") is not None


def test_other_tasks_are_found_behind_many_that_do_not_fit(server: Any) -> None:
    for _ in range(55):
        server.submit()
    server.run(lambda ctx: ctx.session.execute(update(Task).where(Task.id <= 54).values(requirements={"model": "x"})))
    server.run(lambda ctx: ctx.session.execute(update(Task).values(priority=-Task.id % 3)))
    assert server.claim("a") is not None
    assert server.claim("c") is None


def test_a_restarted_worker_frees_its_task_at_once(server: Any) -> None:
    server.submit()
    claim(server, "a")
    server.register("a", 1)
    assert claim(server, "a").number == 2
    assert rows(server, select(Attempt.reason).order_by(Attempt.id)) == ["worker_lost", None]


def test_a_task_that_takes_down_two_workers_is_poison(server: Any) -> None:
    server.submit()
    for worker in "ac":
        claim(server, worker)
        server.register(worker, 1)
    assert server.claim("d") is None
    assert rows(server, select(Task.reason)) == ["poison"]


def test_a_lost_task_is_tried_three_times(server: Any) -> None:
    server.submit()
    numbers = []
    while (claimed := server.claim("d")) is not None:
        numbers.append(claimed.attempt_no)
        server.advance(91)
    assert numbers == [1, 2, 3]
    assert rows(server, select(Job.state)) == ["failed"]


def test_a_task_that_is_given_back_again_and_again_is_not_given_up(server: Any) -> None:
    server.submit()
    for _ in range(5):
        server.fail(claim(server, "a"), "given_back")
    assert server.claim("a").attempt_no == 6
    assert rows(server, select(Job.state)) == ["running"]


def test_what_the_machine_broke_is_tried_again_after_a_pause(server: Any) -> None:
    server.submit()
    server.fail(claim(server, "a"), "infra")
    assert server.claim("a") is None
    server.advance(10)
    assert server.claim("a").attempt_no == 2


def test_what_the_task_broke_is_not_tried_again(server: Any) -> None:
    server.submit()
    server.fail(claim(server, "a"), "diverged")
    assert server.claim("a") is None
    assert rows(server, select(Job.reason)) == ["diverged"]


def test_a_late_result_is_kept_as_an_orphan_once(server: Any) -> None:
    server.submit()
    late = claim(server, "a")
    server.advance(91)
    for _ in range(2):
        assert server.complete(late) is None
    assert rows(server, select(OrphanResult.result_hash).where(OrphanResult.attempt_id == 1)) != []
    assert len(rows(server, select(OrphanResult.id))) == 1


def test_another_workers_attempt_is_not_found(server: Any) -> None:
    server.submit()
    lease = claim(server, "a")
    lease.worker = "b"
    with pytest.raises(NotFound):
        server.complete(lease)


def test_every_change_is_an_event(server: Any) -> None:
    job = server.submit()
    server.fail(claim(server, "a"), "infra")
    server.advance(10)
    server.beat(claim(server, "a"))
    server.cancel(job)
    kinds = rows(server, select(Event.kind).order_by(Event.id))
    assert kinds == ["task_queued", "task_claimed", "task_requeued", "task_claimed", "task_cancelled", "job_cancelled"]
