"""Leases under random sequences of what workers, users, clocks and servers can do, against a plain model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from layerprune.api.errors import Conflict, LeaseLost
from server.models import Attempt, Job, Task, Variant

LEASE_US = 90_000_000
NOTES = ("one", "another")
ENDED = ("done", "failed", "cancelled")


@dataclass
class Lease:
    """What the model knows of one attempt."""

    attempt: str
    worker: str
    number: int
    task: str
    token: str
    expires: int
    ended: bool = False
    accepted: str | None = None


def by_task(row: Any) -> tuple[int, int]:
    return row.id, row.attempt_no


def lease_machine(make_server: Callable[[], Any]) -> type[RuleBasedStateMachine]:
    class LeaseMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.server = make_server()
            self.jobs: list[str] = []
            self.leases: list[Lease] = []
            self.incarnations: Counter[str] = Counter()
            self.stored_at_cancel: dict[str, int] = {}
            self.job_of: dict[str, str] = {}

        @initialize()
        def work_begins(self) -> None:
            for worker in "acd":
                self.submit()
                self.claim(worker)

        # --- what may happen ---

        @precondition(lambda self: len(self.jobs) < 6)
        @rule()
        def submit(self) -> None:
            self.jobs.append(self.server.submit())

        @rule(worker=st.sampled_from("abcd"))
        def claim(self, worker: str) -> None:
            claimed = self.server.claim(worker)
            if claimed is None:
                return
            again = next((one for one in self.leases if one.attempt == claimed.attempt_id), None)
            if again is not None:
                assert self.is_live(again)
                again.token = claimed.lease_token
                return
            expires = self.server.now + LEASE_US
            self.leases.append(
                Lease(claimed.attempt_id, worker, claimed.attempt_no, claimed.task_id, claimed.lease_token, expires)
            )

        @precondition(lambda self: self.leases)
        @rule(data=st.data())
        def beat(self, data: st.DataObject) -> None:
            lease = data.draw(st.sampled_from(self.leases))
            if self.is_live(lease):
                assert not self.server.beat(lease).cancel
                lease.expires = self.server.now + LEASE_US
            else:
                self.refused(lambda: self.server.beat(lease))

        @precondition(lambda self: self.leases)
        @rule(data=st.data(), note=st.sampled_from(NOTES))
        def result(self, data: st.DataObject, note: str) -> None:
            lease = data.draw(st.sampled_from(self.leases))
            if self.is_live(lease):
                assert self.server.complete(lease, note).accepted
                lease.ended, lease.accepted = True, note
            elif lease.accepted == note:
                assert self.server.complete(lease, note).accepted
            elif lease.accepted is None:
                self.refused(lambda: self.server.complete(lease, note))
            else:
                with pytest.raises(Conflict):
                    self.server.complete(lease, note)

        @precondition(lambda self: self.leases)
        @rule(data=st.data())
        def result_with_a_foreign_token(self, data: st.DataObject) -> None:
            lease = replace(data.draw(st.sampled_from(self.leases)), token="lp_lease_of_another")
            with pytest.raises(LeaseLost):
                self.server.complete(lease, "foreign")

        @precondition(lambda self: any(self.is_live(lease) for lease in self.leases))
        @rule(data=st.data())
        def result_just_too_late(self, data: st.DataObject) -> None:
            lease = data.draw(st.sampled_from([lease for lease in self.leases if self.is_live(lease)]))
            self.server.now = max(self.server.now, lease.expires)
            assert self.server.complete(lease, "late") is None

        @precondition(lambda self: self.leases)
        @rule(data=st.data(), reason=st.sampled_from(["infra", "crashed", "oom", "worker_lost"]))
        def failure(self, data: st.DataObject, reason: str) -> None:
            lease = data.draw(st.sampled_from(self.leases))
            if self.is_live(lease):
                assert self.server.fail(lease, reason).accepted
                lease.ended, lease.accepted = True, reason
            elif lease.accepted == reason:
                assert self.server.fail(lease, reason).accepted
            else:
                with pytest.raises(Conflict):
                    self.server.fail(lease, reason)

        @precondition(lambda self: self.jobs)
        @rule(data=st.data())
        def cancel(self, data: st.DataObject) -> None:
            job = data.draw(st.sampled_from(self.jobs))
            self.server.cancel(job)
            self.stored_at_cancel.setdefault(job, self.variants_of(job))
            for lease in self.leases:
                lease.ended |= self.job_of_task(lease.task) == job

        @rule(seconds=st.sampled_from([30, 89, 91]), reaped=st.booleans())
        def time_passes(self, seconds: int, reaped: bool) -> None:
            self.server.advance(seconds)
            if reaped:
                self.server.reap()

        @rule()
        def restart_server(self) -> None:
            self.server.restart()

        @rule(worker=st.sampled_from("abcd"))
        def restart_worker(self, worker: str) -> None:
            self.incarnations[worker] += 1
            self.server.register(worker, self.incarnations[worker])
            for lease in self.leases:
                lease.ended |= lease.worker == worker

        # --- what must hold ---

        @invariant()
        def everything_holds(self) -> None:
            self.server.run(self.check)

        def check(self, ctx: Any) -> None:
            attempts = ctx.session.execute(
                select(Attempt, Task.attempt_no, Task.id, Job.public_id, Variant.id.label("variant"))
                .join(Task, Attempt.task_id == Task.id)
                .join(Job, Task.job_id == Job.id)
                .outerjoin(Variant, Variant.attempt_id == Attempt.id)
                .order_by(Attempt.id)
            ).all()
            live = [row.Attempt for row in attempts if row.Attempt.state == "leased"]
            for held in ([one.device_id for one in live if one.device_id], [one.task_id for one in live]):
                assert len(held) == len(set(held)), "two live leases on one device or task"
            for (task, last), rows in groupby(sorted(attempts, key=by_task), key=by_task):
                numbers = [row.Attempt.attempt_no for row in rows]
                assert numbers == list(range(1, last + 1)), f"attempt numbers of task {task} do not rise by one"
            stored = [row for row in attempts if row.variant is not None]
            acknowledged = [one.attempt for one in self.leases if one.accepted in NOTES]
            assert Counter(row.Attempt.public_id for row in stored) == Counter(acknowledged), "lost or counted twice"
            assert all(row.Attempt.attempt_no == row.attempt_no for row in stored), "an old attempt counts"
            per_job = Counter(row.public_id for row in stored)
            for job, count in self.stored_at_cancel.items():
                assert per_job[job] == count, "something was stored after the cancel was acknowledged"

        def teardown(self) -> None:
            """Every job ends in bounded time, even if nobody ever reports again."""
            for _ in range(len(self.jobs) + 6):
                self.server.advance(100)
                for worker in "abcd":
                    self.server.claim(worker)
            assert all(state in ENDED for (state,) in self.rows(select(Job.state)))
            self.server.close()

        # --- the model ---

        def is_live(self, lease: Lease) -> bool:
            return not lease.ended and self.server.now < lease.expires

        def refused(self, act: Callable[[], Any]) -> None:
            try:
                answer = act()
            except LeaseLost:
                return
            assert answer is None or answer.cancel

        def rows(self, statement: Any) -> list[Any]:
            return list(self.server.run(lambda ctx: ctx.session.execute(statement).all()))

        def job_of_task(self, task: str) -> str:
            if task not in self.job_of:
                ((job,),) = self.rows(select(Job.public_id).join(Task).where(Task.public_id == task))
                self.job_of[task] = job
            return self.job_of[task]

        def variants_of(self, job: str) -> int:
            ((count,),) = self.rows(
                select(func.count(Variant.id)).join(Job, Variant.job_id == Job.id).where(Job.public_id == job)
            )
            return int(count)

    return LeaseMachine


def run_machine(make_server: Callable[[], Any], *, examples: int) -> None:
    run_state_machine_as_test(
        lease_machine(make_server),
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_leases_hold_under_any_sequence_on_sqlite(make_server: Callable[..., Any]) -> None:
    run_machine(make_server, examples=15)


@pytest.mark.postgres
def test_leases_hold_under_any_sequence_on_postgresql(
    make_server: Callable[..., Any], empty_postgres: Callable[[], str]
) -> None:
    run_machine(lambda: make_server(empty_postgres()), examples=5)
