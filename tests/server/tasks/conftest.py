"""The service layer on a database, without HTTP, for tests of leases."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import select

from layerprune.api.catalogue import Catalogue, CriterionInfo, DatasetInfo, ModelInfo
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import JobRequest
from layerprune.api.network import ModelSpec
from layerprune.api.pruning import PruningSpec
from layerprune.api.tasks import ScoreResult, TrainedNetwork
from layerprune.api.training import Accuracies
from layerprune.api.workers import FailureReport, Heartbeat, ResultReport, WorkerRegistration
from server.artifacts.service import note_upload
from server.artifacts.store import LocalStore
from server.auth import Principal, default_project
from server.config import Settings
from server.context import StageContext
from server.db import make_engine, make_sessions, transaction
from server.jobs import stages
from server.models import Job, Worker
from server.notify import Notifier
from server.tasks import checkpoints, leases, queue, reports
from server.workers.service import register

LEASE_S = 90
WORKERS = {"a": "device-1", "b": "device-1", "c": "device-2", "d": None}
DIGEST = "ab" * 32
OFFER = Catalogue(
    models=[ModelInfo(name="cifar:resnet20", source="cifar", description="", input_size=32)],
    datasets=[DatasetInfo(name="digits", description="", classes=10, train_images=1257, test_images=540)],
    criteria=[
        CriterionInfo(name=name, description="", source="", needs_data=False, has_filter_form=True)
        for name in PruningSpec().criteria
    ],
)


class Lease(Protocol):
    worker: str
    attempt: str
    number: int
    token: str


@dataclass
class Server:
    """The service layer on a database, without HTTP; `restart` forgets everything but the database."""

    url: str
    root: Path
    now: int = 1_800_000_000_000_000
    workers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()
        with transaction(self.sessions) as session:
            self.project = default_project(session).id
            note_upload(session, self.project, DIGEST, 1, now=self.now)
        for name in WORKERS:
            self.register(name, 0)

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)

    def restart(self) -> None:
        self.close()
        self.engine = make_engine(self.url)
        self.sessions = make_sessions(self.engine, Notifier())

    def close(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    def run(self, act: Callable[[StageContext], Any]) -> Any:
        with transaction(self.sessions) as session:
            settings = Settings(data=self.root, lease_s=LEASE_S)
            return act(StageContext(session, LocalStore(self.root), self.now, settings))

    def register(self, name: str, incarnation: int) -> None:
        device = WORKERS[name]
        registration = WorkerRegistration(
            name=name,
            roles=["build"],
            device={"name": device} if device else None,
            incarnation=f"incarnation-{incarnation}",
            catalogue=OFFER,
        )
        principal = Principal("admin", self.project, 0, None)
        self.run(lambda ctx: register(ctx, principal, registration))
        self.workers[name] = self.run(lambda ctx: ctx.session.scalar(select(Worker.id).where(Worker.name == name)))

    def submit(self) -> str:
        request = JobRequest(model=ModelSpec(name="cifar:resnet20"), dataset=DatasetSpec(name="digits"))

        def act(ctx: StageContext) -> str:
            job = Job(
                project_id=self.project,
                request=request.model_dump(mode="json"),
                request_hash="",
                model=request.model.name,
                dataset=request.dataset.name,
                estimate={},
                created_at=ctx.now,
                expires_at=ctx.now + 7 * 86_400_000_000,
            )
            ctx.session.add(job)
            ctx.session.flush()
            stages.start(ctx, job)
            return job.public_id

        return self.run(act)

    def claim(self, name: str) -> Any:
        self.reap()
        return self.run(lambda ctx: leases.claim(ctx, ctx.session.get_one(Worker, self.workers[name])))

    def complete(self, lease: Lease, note: str = "") -> Any:
        report = ResultReport(attempt_no=lease.number, result=score_result(note))
        return self.run(
            lambda ctx: reports.complete(ctx, self.workers[lease.worker], lease.attempt, lease.token, report)
        )

    def fail(self, lease: Lease, reason: str) -> Any:
        report = FailureReport(attempt_no=lease.number, reason=reason, message="broke")
        return self.run(lambda ctx: reports.fail(ctx, self.workers[lease.worker], lease.attempt, lease.token, report))

    def beat(self, lease: Lease, checkpoint: str | None = None) -> Any:
        beat = Heartbeat(attempt_no=lease.number, checkpoint=checkpoint)
        return self.run(
            lambda ctx: reports.heartbeat(ctx, self.workers[lease.worker], lease.attempt, lease.token, beat)
        )

    def reap(self) -> None:
        self.run(leases.expire_leases)

    def upload(self, content: bytes) -> str:
        """Store content as a worker would, and give its digest."""
        digest = hashlib.sha256(content).hexdigest()
        with LocalStore(self.root).receive(digest) as incoming:
            incoming.write(content)
            incoming.keep()
        with transaction(self.sessions) as session:
            note_upload(session, self.project, digest, len(content), now=self.now)
        return digest

    def tidy(self) -> int:
        return self.run(checkpoints.drop_ended)

    def cancel(self, job_id: str) -> None:
        def act(ctx: StageContext) -> None:
            job = ctx.session.scalars(select(Job).where(Job.public_id == job_id)).one()
            queue.cancel_job(ctx.session, job, ctx.now)

        self.run(act)


def score_result(note: str) -> dict[str, Any]:
    """The least that a score task can bring back: a base of which nothing can be removed."""
    accuracies = Accuracies.model_validate({"final": {"correct": 530, "n": 540}})
    base = TrainedNetwork(
        onnx=DIGEST,
        weights=DIGEST,
        plan=DIGEST,
        preprocess={"size": 32, "mean": [0.5], "std": [0.5]},
        preprocess_file=DIGEST,
        reference_outputs=DIGEST,
        architecture=DIGEST,
        params=1,
        macs=1,
        opset=20,
        exporter="test",
        export_max_relative_difference=0,
        validation=accuracies,
        test=accuracies,
        curve=[],
    )
    result = ScoreResult(
        base=base,
        evaluation_pack=DIGEST,
        evaluation_images=540,
        dataset_fingerprint="digits",
        layers=[],
        candidates=[],
        architectures=[],
        base_untrained_onnx=DIGEST,
        reach=[],
        notes=[note],
    )
    return result.model_dump(mode="json")


@pytest.fixture
def make_server(tmp_path: Path, fresh_data: Path) -> Iterator[Callable[..., Server]]:
    """Make a server on a fresh SQLite file, or on the database of a given address."""
    with ExitStack() as stack:

        def make(url: str | None = None) -> Server:
            root = Path(tmp_path / f"server-{len(list(tmp_path.iterdir()))}")
            shutil.copytree(fresh_data, root)
            return stack.enter_context(closing(Server(url or f"sqlite:///{root / 'layerprune.db'}", root)))

        yield make
