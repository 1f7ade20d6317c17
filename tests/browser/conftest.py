"""A real server on a free port, and means to fill its database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import Estimate, JobRequest
from layerprune.api.network import ModelSpec, Preprocess, RivalSpec
from layerprune.api.pruning import PruningSpec
from layerprune.api.timings import Condition
from layerprune.samples import Block, ProcessSamples, SampleSet, encode
from server.artifacts.service import note_upload
from server.auth import default_project, make_login_link
from server.clock import Clock, system_clock
from server.db import session_scope
from server.models import (
    Attempt,
    Base,
    Conditions,
    Device,
    Event,
    Job,
    JobDevice,
    Measurement,
    Task,
    Variant,
    Worker,
)

DIGEST = "e" * 64
IMAGES = 540
BASE_NS = 800_000
NETWORKS = [
    ("base", "base", 1.0, 530, []),
    ("layer 8/9", "layer", 0.8, 528, []),
    ("layer 6/9", "layer", 0.65, 525, []),
    ("layer 5/9", "layer", 0.6, 500, ["foreign_load"]),
    ("filter 20 %", "filter", 0.82, 529, []),
    ("filter 40 %", "filter", 0.7, 515, []),
    ("aligned 8, 35 %", "filter_aligned", 0.66, 522, []),
    ("hybrid 0.65", "hybrid", 0.645, 528, []),
    ("cifar:mobilenet_v2", "handcrafted", 0.5, 490, []),
]
"""Label, family, ratio to the base's 0.8 ms, correct answers out of 540, flags."""


@dataclass
class Site:
    """A running server, with the means to write into its database."""

    url: str
    app: FastAPI
    now: Clock = system_clock

    def login_link(self) -> str:
        """Make a one-time link."""
        with session_scope(self.app) as session:
            return make_login_link(session, default_project(session).id, self.url, now=self.now())

    def add(self, *rows: Base) -> None:
        """Insert rows; their ids are set afterwards."""
        with session_scope(self.app) as session:
            session.add_all(rows)
            session.flush()

    def change(self, row: Any, **values: Any) -> None:
        """Update a row."""
        with session_scope(self.app) as session:
            current = session.get(type(row), row.id)
            for name, value in values.items():
                setattr(current, name, value)

    def read(self, row: Any, attribute: str) -> Any:
        """Read an attribute of a row as it is now."""
        with session_scope(self.app) as session:
            return getattr(session.get(type(row), row.id), attribute)


@dataclass
class Bench:
    """A site with a device, a worker and the conditions under which they measure."""

    site: Site
    project_id: int
    device: Device
    worker: Worker

    def job(self, state: str = "done", **changes: Any) -> Job:
        """Insert a job for the device."""
        request = JobRequest(
            model=ModelSpec(name="cifar:resnet20"),
            dataset=DatasetSpec(name="digits"),
            rivals=[RivalSpec(name="cifar:mobilenet_v2")],
            pruning=PruningSpec(methods=["layer", "filter", "hybrid"]),
        )
        now = self.site.now()
        values: dict[str, Any] = {
            "project_id": self.project_id,
            "request": request.model_dump(mode="json"),
            "request_hash": "f" * 64,
            "model": "cifar:resnet20",
            "dataset": "digits",
            "estimate": Estimate(trainings=6, minutes=2, basis="a rule of thumb").model_dump(mode="json"),
            "state": state,
            "notes": [],
            "reach": [],
            "created_at": now - 120_000_000,
            "expires_at": now + 10**12,
            "finished_at": now if state == "done" else None,
        }
        job = Job(**values | changes)
        self.site.add(job)
        self.site.add(JobDevice(job_id=job.id, device_id=self.device.id))
        return job

    def task(self, job: Job, kind: str, state: str, **changes: Any) -> Task:
        """Insert a task of a job."""
        values: dict[str, Any] = {
            "job_id": job.id,
            "kind": kind,
            "title": f"{kind} something",
            "payload": {},
            "inputs": [],
            "requirements": {},
            "role": "measure" if kind in ("sweep", "measure") else "build",
            "device_id": self.device.id if kind in ("sweep", "measure") else None,
            "state": state,
            "attempt_no": 1,
            "created_at": self.site.now(),
        }
        task = Task(**values | changes)
        self.site.add(task)
        return task

    def attempt(self, task: Task, state: str = "done", **changes: Any) -> Attempt:
        """Insert an attempt at a task."""
        now = self.site.now()
        values: dict[str, Any] = {
            "task_id": task.id,
            "attempt_no": 1,
            "worker_id": self.worker.id,
            "incarnation": "incarnation",
            "device_id": task.device_id,
            "lease_hash": "d" * 64,
            "state": state,
            "started_at": now - 20_000_000,
            "heartbeat_at": now,
            "expires_at": now + 10**12,
            "finished_at": now if state != "leased" else None,
        }
        attempt = Attempt(**values | changes)
        self.site.add(attempt)
        return attempt

    def event(self, job: Job, task: Task, kind: str, data: dict[str, Any]) -> None:
        """Append to a job's history."""
        self.site.add(Event(job_id=job.id, task_id=task.id, at=self.site.now(), kind=kind, data=data))

    def samples(self, p50_ns: int) -> str:
        """Store ten cycles of timings around a median, and give their digest."""
        spread = np.arange(-20, 21) * (p50_ns // 2000)
        blocks = tuple(Block(cycle, 0, (p50_ns + cycle + spread).astype(np.int64)) for cycle in range(10))
        content = encode(SampleSet((ProcessSamples(blocks, warmup_runs=50),)))
        digest = hashlib.sha256(content).hexdigest()
        with self.site.app.state.store.receive(digest) as incoming:
            incoming.write(content)
            incoming.keep()
        now = self.site.now()
        with session_scope(self.site.app) as session:
            note_upload(session, self.project_id, digest, len(content), now=now)
        return digest

    def measured_job(self, *, threads: int = 1) -> Job:
        """Insert a finished job with all the networks, built and measured."""
        job = self.job()
        key = {"device": self.device.name, "backend": "onnxruntime", "runtime_version": "1.23.2", "threads": threads}
        conditions = Conditions(comparable_key=f"{threads:x}" * 64, key=key)
        self.site.add(conditions)
        condition = Condition(threads=threads).model_dump(mode="json")
        measuring = self.attempt(self.task(job, "measure", "done", key=str(threads), payload={"condition": condition}))
        for position, (label, family, ratio, correct, flags) in enumerate(NETWORKS):
            building = self.attempt(self.task(job, "build", "done", key=label, title=f"Build {label}"))
            variant = _variant(job, building, position, label=label, family=family, ratio=ratio, correct=correct)
            self.site.add(variant)
            self.site.add(
                Measurement(
                    job_id=job.id,
                    attempt_id=measuring.id,
                    variant_id=variant.id,
                    device_id=self.device.id,
                    conditions_id=conditions.id,
                    group_no=0,
                    role="base" if family == "base" else "variant",
                    backend="onnxruntime",
                    ranked=True,
                    precision="fp32",
                    batch_size=1,
                    threads=threads,
                    processes=1,
                    n_samples=500,
                    p50_ns=round(BASE_NS * ratio),
                    p90_ns=round(BASE_NS * ratio * 1.1),
                    ratio=None if family == "base" else ratio,
                    ratio_low=None if family == "base" else ratio * 0.99,
                    ratio_high=None if family == "base" else ratio * 1.01,
                    low_ratio=None if family == "base" else ratio,
                    correct=correct,
                    n_images=IMAGES,
                    outcomes=bytes([255] * (correct // 8) + [0xFF << (8 - correct % 8) & 0xFF]).ljust(68, b"\0"),
                    output_difference=1e-6,
                    verdict="flagged" if flags else "stable",
                    flags=[*flags, "single_process"],
                    observed={},
                    samples_sha256=self.samples(round(BASE_NS * ratio)),
                    created_at=self.site.now(),
                )
            )
        return job


@pytest.fixture
def clock() -> Clock:
    """The pages follow real time here."""
    return system_clock


@pytest.fixture
def site(app: FastAPI, url: str) -> Site:
    return Site(url, app)


@pytest.fixture
def bench(site: Site, register: Callable[..., Any]) -> Bench:
    register()
    with session_scope(site.app) as session:
        bench = Bench(
            site,
            project_id=default_project(session).id,
            device=session.scalars(select(Device)).one(),
            worker=session.scalars(select(Worker)).one(),
        )
        note_upload(session, bench.project_id, DIGEST, 1, now=site.now())
    return bench


def _variant(
    job: Job, attempt: Attempt, position: int, *, label: str, family: str, ratio: float, correct: int
) -> Variant:
    counts = {"correct": correct, "n": IMAGES}
    moments = {"after_surgery": {"correct": 54, "n": IMAGES}, "after_reestimation": None, "final": counts}
    method = {"remove": [f"layer{i}.0" for i in range(1, position + 1)], "prune": []}
    channels = [["layer1.0.conv1", [0, 3, 5]], ["layer2.0.conv1", [1, 2]]]
    if family.startswith("filter"):
        method = {"remove": [], "prune": channels}
    if family == "hybrid":
        method = {"remove": ["layer3.1"], "prune": channels}
    return Variant(
        job_id=job.id,
        attempt_id=attempt.id,
        plan_hash=f"{position:x}" * 64,
        plan=None if family in ("base", "handcrafted") else method,
        family=family,
        criteria=[] if family in ("base", "handcrafted") else ["imprinting" if position % 2 else "weight_l1"],
        alignment={"filter": 1, "filter_aligned": 8}.get(family),
        amount=round(1 - ratio, 3),
        label=label,
        training_seed=0,
        architecture=f"{position:x}" * 64,
        params=round(272_474 * ratio),
        macs=round(10_300_000 * ratio),
        onnx_sha256=DIGEST,
        weights_sha256=DIGEST,
        plan_sha256=DIGEST,
        preprocess_sha256=DIGEST,
        reference_sha256=DIGEST,
        preprocess=Preprocess(size=16, channels=3, mean=[0.5] * 3, std=[0.3] * 3).model_dump(mode="json"),
        validation_correct=round(correct * 126 / IMAGES),
        validation_n=126,
        test_correct=correct,
        test_n=IMAGES,
        accuracies={"validation": moments, "test": moments},
        curve=[
            {"epoch": epoch, "loss": 1 / epoch, "validation_accuracy": 1 - 0.2 / epoch, "seconds": 1.5}
            for epoch in (1, 2, 3)
        ],
        seconds={"training": 4.5, "exporting": 1.2},
        exporter="torch 2.9",
        opset=18,
        export_difference=3e-6,
        created_at=attempt.started_at,
    )
