"""Tokens of every kind, and a worker that follows a script, for tests through HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from layerprune.api.catalogue import BackendInfo, Catalogue, CriterionInfo, DatasetInfo, ModelInfo
from layerprune.api.workers import WorkerRegistered
from layerprune.samples import Block, ProcessSamples, SampleSet, encode, pack_outcomes
from layerprune.stats import median_ns
from server.auth import Kind, default_project, issue
from server.db import read_clock, session_scope
from server.models import Device, Worker

BASE_NS = 1_000_000
IMAGES = 540
CATALOGUE = Catalogue(
    models=[ModelInfo(name="cifar:resnet20", source="cifar", description="", input_size=32)],
    datasets=[DatasetInfo(name="digits", description="digits", classes=10, train_images=1257, test_images=540)],
    criteria=[
        CriterionInfo(name=name, description="", source="", needs_data=False, has_filter_form=name != "imprinting")
        for name in ("weight_l1", "imprinting", "random")
    ],
    backends=[
        BackendInfo(name="onnxruntime", version="1.23", precisions=["fp32"], max_opset=20, max_threads=2),
        BackendInfo(name="null", version="1", precisions=["fp32"], max_opset=99, max_threads=2),
    ],
)
PRUNING = {"methods": ["layer", "filter"], "criteria": ["weight_l1", "imprinting"]}
REQUEST: dict[str, Any] = {
    "model": {"name": "cifar:resnet20"},
    "dataset": {"name": "digits"},
    "pruning": PRUNING | {"targets": {"latency_ratios": [0.7]}},
    "training": {"epochs": 1},
}
PREPROCESS = {"size": 16, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
STOPS = {"layer": "depth", "filter": "the channel floor", "filter_aligned": "alignment"}
RATIO_OF_STEP = {1: 0.85, 2: 0.7, 3: 0.5}


@pytest.fixture
def make_token(app: FastAPI, url: str, register: Callable[..., WorkerRegistered]) -> Callable[..., str]:
    """Issue a token of any kind, as the server would: `make_token("user", lifetime_s=60)`."""
    register()

    def make(kind: Kind, lifetime_s: float | None = None) -> str:
        with session_scope(app) as session:
            worker = session.scalars(select(Worker)).one()
            device = session.scalars(select(Device)).one()
            return issue(
                session,
                kind,
                default_project(session).id,
                now=read_clock(session, app.state.clock),
                lifetime_s=lifetime_s,
                worker_id=worker.id if kind == "worker" else None,
                device_id=device.id if kind == "registration" else None,
            )

    return make


def name_of(*parts: object) -> str:
    """A stand-in for a hash: 64 hex digits that depend on the parts alone."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def candidate(family: str, criterion: str, step: int, alignment: int = 1) -> dict[str, Any]:
    """A plan that removes `step` fifths of the MACs; for layers the first step is the same whatever the criterion."""
    same = family == "layer" and step == 1
    return {
        "plan": {"family": family, "step": step},
        "plan_hash": name_of("plan", family, None if same else criterion, step, alignment),
        "architecture": name_of("architecture", family, step, alignment),
        "method": family.removesuffix("_aligned"),
        "family": family,
        "criterion": criterion,
        "alignment": alignment,
        "scope": None if family == "layer" else "uniform",
        "amount": step / 5,
        "params": 1000 - 150 * step,
        "macs": 10_000 - 2000 * step,
        "label": f"{family} {criterion} {step}/{alignment}",
    }


def timed(ratio: float, *, seed: int, processes: int = 1, noise: float = 0.002) -> SampleSet:
    """Samples of a session that takes `ratio` times as long as the base, in six mirrored cycles."""
    rng = np.random.default_rng(seed)

    def block(cycle: int, position: int) -> Block:
        return Block(cycle, position, (BASE_NS * ratio * rng.lognormal(0, noise, 12)).astype(np.int64))

    process = [ProcessSamples(tuple(block(c, p) for c in range(6) for p in (0, 9)), 50) for _ in range(processes)]
    return SampleSet(tuple(process))


class ScriptedWorker:
    """Claims tasks and answers them with real encoded samples, but trains and times nothing.

    `ratios` by architecture, `correct` (test) and `validation` by plan say what it found, `answers` by kind replace its
    own; `flags` are raised in every group. Answers are plain JSON, which a test may spoil before it sends them.
    """

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.correct: dict[str, int] = {}
        self.validation: dict[str, int] = {}
        self.flags: list[str] = []
        self.answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {}
        self.edits: list[dict[str, Any]] = []
        self.epoch_seconds: float | None = None
        self.base_macs = 10_000
        self.processes = 1
        self.candidates: list[dict[str, Any]] = [
            *(candidate("layer", criterion, step) for criterion in ("weight_l1", "imprinting") for step in (1, 2, 3)),
            *(candidate("filter", "weight_l1", step) for step in (1, 2, 3)),
            *(candidate("filter_aligned", "weight_l1", step, alignment) for step in (1, 2, 3) for alignment in (8, 16)),
        ]
        self.ratios = {one["architecture"]: RATIO_OF_STEP[one["plan"]["step"]] for one in self.candidates}
        self._plan_of_file: dict[str, str] = {}
        self._uploaded: set[str] = set()

    def claim(self) -> dict[str, Any] | None:
        response = self.http.get("/v1/tasks/claim")
        assert response.status_code in (200, 204), response.text
        return response.json() if response.status_code == 200 else None

    def upload(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        if digest in self._uploaded:
            return digest
        self._uploaded.add(digest)
        response = self.http.put(f"/v1/artifacts/sha256/{digest}", content=content)
        assert response.status_code in (200, 201), response.text
        return digest

    def send(self, task: Mapping[str, Any], result: Mapping[str, Any]) -> httpx.Response:
        return self._report(task, "result", {"result": result})

    def fail(self, task: Mapping[str, Any], reason: str = "build_failed", message: str = "it broke") -> httpx.Response:
        return self._report(task, "failure", {"reason": reason, "message": message})

    def answer(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a task, with everything it names uploaded."""
        payload = task["payload"]
        if task["kind"] == "score":
            return self.score()
        if task["kind"] == "build":
            return {"network": self.network(payload["plan_hash"], seed=payload["training_seed"])}
        if task["kind"] in self.answers:
            return self.answers[task["kind"]](payload)
        if task["kind"] == "trial":
            return {"accuracies": {one["plan_hash"]: {"correct": 100, "n": 157} for one in payload["plans"]}}
        if task["kind"] == "sweep":
            ratios = {name: self.ratios[name] for name in payload["architectures"]}
            return {"groups": self.groups(ratios), "conditions": self.conditions(payload)}
        return self.measurement(payload)

    def run(self, *, until: str | None = None) -> dict[str, Any] | None:
        """Answer tasks until there is none, or until one of a kind was claimed, which is given back unanswered."""
        while (task := self.claim()) is not None:
            if task["kind"] == until:
                return task
            response = self.send(task, self.answer(task))
            assert response.status_code == 200, response.text
        assert until is None, f"there was no {until} task"
        return None

    def score(self) -> dict[str, Any]:
        architectures = {one["architecture"]: one for one in [*self.edits, *self.candidates]}
        return {
            "base": self.network("base"),
            "evaluation_pack": self.upload(b"pack"),
            "evaluation_images": IMAGES,
            "dataset_fingerprint": "f" * 64,
            "layers": [{"name": "layer1.0", "kind": "block", "params": 10, "macs": 10, "scores": {"weight_l1": 1.0}}],
            "candidates": self.candidates,
            "architectures": [
                {"architecture": name, "onnx": self.upload(name.encode()), "params": one["params"], "macs": one["macs"]}
                for name, one in architectures.items()
            ],
            "base_untrained_onnx": self.upload(b"untrained"),
            "edits": self.edits,
            "filter_scores": self.upload(b"scores") if self.edits else None,
            "epoch_seconds": self.epoch_seconds,
            "reach": [{"family": name, "max_amount": 0.6, "stopped_by": why} for name, why in STOPS.items()],
            "seconds": {"training": 2.0, "scoring": 1.0},
        }

    def network(self, plan_hash: str, *, seed: int = 0) -> dict[str, Any]:
        plan = next((one for one in self.candidates if one["plan_hash"] == plan_hash), None)
        onnx = self.upload(f"onnx {plan_hash} {seed}".encode())
        self._plan_of_file[onnx] = plan_hash
        return {
            "onnx": onnx,
            "weights": self.upload(f"weights {plan_hash} {seed}".encode()),
            "plan": self.upload(f"plan {plan_hash}".encode()),
            "preprocess": PREPROCESS,
            "preprocess_file": self.upload(b"preprocess"),
            "reference_outputs": self.upload(f"reference {plan_hash} {seed}".encode()),
            "architecture": plan["architecture"] if plan else name_of(plan_hash),
            "params": plan["params"] if plan else 1000,
            "macs": plan["macs"] if plan else self.base_macs,
            "opset": 18,
            "exporter": "torchscript",
            "export_max_relative_difference": 1e-6,
            "validation": {"final": {"correct": self.validation.get(plan_hash, 150), "n": 157}},
            "test": {"final": {"correct": self.correct.get(plan_hash, 520), "n": IMAGES}},
            "curve": [{"epoch": 1, "loss": 0.5, "validation_accuracy": 0.9, "seconds": 1.0}],
            "seconds": {"training": 1.0},
        }

    def groups(self, ratios: Mapping[str, float]) -> list[dict[str, Any]]:
        """Groups of at most six sessions, each with base and control."""
        names = list(ratios)
        found = []
        for start in range(0, len(names), 6):
            group = {"base": 1.0, "aa": 1.0} | {name: ratios[name] for name in names[start : start + 6]}
            sessions = [self.session(name, ratio, seed=start + i) for i, (name, ratio) in enumerate(group.items())]
            found.append({"sessions": sessions, "flags": self.flags, "observed": {"load_average": 0.1}})
        return found

    def session(self, name: str, ratio: float, *, seed: int, noise: float = 0.002) -> dict[str, Any]:
        samples = timed(ratio, seed=seed, processes=self.processes, noise=noise)
        said = {"n_samples": len(samples.all_ns()), "p50_ns": median_ns(samples)}
        return said | {"session": name, "samples": self.upload(encode(samples))}

    def measurement(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        plans = {one["variant"]: self._plan_of_file[one["onnx"]] for one in payload["variants"]}
        architectures = {one["plan_hash"]: one["architecture"] for one in self.candidates}
        ratios = {v: self.ratios.get(architectures.get(plan, ""), 0.6) for v, plan in plans.items()}
        correct = {"base": self.correct.get("base", 520)}
        correct |= {variant: self.correct.get(plan, 520) for variant, plan in plans.items()}
        return {
            "groups": self.groups(ratios),
            "accuracies": [self.accuracy(session, number) for session, number in correct.items()],
            "conditions": self.conditions(payload),
            "seconds": {"measuring": 3.0},
        }

    @staticmethod
    def conditions(payload: Mapping[str, Any]) -> dict[str, Any]:
        asked = {name: payload["condition"][name] for name in ("precision", "threads", "batch_size")}
        return {"device_model": "Test CPU", "runtime": "onnxruntime", "runtime_version": "1.23"} | asked

    @staticmethod
    def accuracy(session: str, correct: int) -> dict[str, Any]:
        found = {"session": session, "correct": correct, "n": IMAGES, "max_relative_difference": 1e-6, "agrees": True}
        return found | {"outcomes": pack_outcomes(np.arange(IMAGES) < correct)}

    def _report(self, task: Mapping[str, Any], what: str, body: Mapping[str, Any]) -> httpx.Response:
        headers = {"Layerprune-Lease": task["lease_token"]}
        numbered = {"attempt_no": task["attempt_no"], **body}
        return self.http.post(f"/v1/attempts/{task['attempt_id']}/{what}", headers=headers, json=numbered)


@pytest.fixture
def scripted(
    url: str, register: Callable[..., WorkerRegistered], offer_more: dict[str, Any]
) -> Iterator[ScriptedWorker]:
    """A scripted worker with both roles, on the device `local-cpu`."""
    token = register(name="scripted", catalogue=CATALOGUE.model_copy(update=offer_more), allow_null=True).token
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        yield ScriptedWorker(http)


@pytest.fixture
def offer_more() -> dict[str, Any]:
    return {}


make_candidate = pytest.fixture(lambda: candidate, name="make_candidate")


@pytest.fixture
def post(client: httpx.Client) -> Callable[..., httpx.Response]:
    """Send the example request, with whole sections replaced: `post(pruning={...})`."""
    return lambda **changes: client.post("/v1/jobs", json=REQUEST | changes)


@pytest.fixture
def submit(post: Callable[..., httpx.Response]) -> Callable[..., dict[str, Any]]:
    """Submit the example request, with whole sections replaced: `submit(pruning={...})`."""

    def submit(**changes: Any) -> dict[str, Any]:
        response = post(**changes)
        assert response.status_code == 201, response.text
        return dict(response.json())

    return submit
