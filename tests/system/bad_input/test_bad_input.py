"""What cannot work is refused with the value and the remedy, or ends its job with a closed reason.

All jobs share one server and one worker, and those of which only the worker can know are submitted at once, with a
good one in their midst.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import torch

from layerprune.api.jobs import JobRequest, Reason

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

NET = {"name": "acme_net"}
SEEN = {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def request(
    model: dict[str, Any], dataset: dict[str, Any], *, criterion: str = "weight_l1", **training: Any
) -> dict[str, Any]:
    """A job that would be small if it were good."""
    pruning = {"methods": ["layer"], "criteria": [criterion], "amounts": [0.3]}
    return {
        "model": {**model, "preprocess": SEEN},
        "dataset": dataset,
        "pruning": pruning,
        "training": {"epochs": 1, "base_epochs": 1, "batch_size": 8, **training},
    }


Make = Callable[[Any], dict[str, Any]]
REFUSED: dict[str, tuple[Make, str, str]] = {
    "two inputs": (lambda f: request(f.onnx(inputs=2), f.images()), "model.onnx", "2 inputs .image, image1."),
    "two outputs": (lambda f: request(f.onnx(outputs=2), f.images()), "model.onnx", "2 outputs .logits, more1."),
    "a pickle": (
        lambda f: request({**NET, "weights": f.store("net.pt", pickle.dumps({"w": [0.0] * 99}))}, f.images()),
        "model.weights",
        "a pickle, which can run code",
    ),
    "one class": (lambda f: request(NET, f.images(classes=1)), "dataset.upload", "one class"),
    "no images": (lambda f: request(NET, f.zip({"readme.txt": b"soon"})), "dataset.upload", "no images"),
    "a zip bomb": (
        lambda f: request(NET, f.zip({"a/0.png": bytes(1 << 25)}, compression=zipfile.ZIP_DEFLATED)),
        "dataset.upload",
        "unpacks to 33554432 bytes",
    ),
    "a zip that leads out": (
        lambda f: request(NET, f.zip({"a/0.png": f.png(0, 0), "../../b/0.png": f.png(1, 0)})),
        "dataset.upload",
        "leads out of the folder",
    ),
    "a path that leads out": (lambda f: request(NET, {"path": "../secrets"}), "dataset.path", "'../secrets'"),
    "a rate beyond reason": (
        lambda f: request(NET, {"name": "digits"}, learning_rate=1e6),
        "training.learning_rate",
        "less than or equal to 10",
    ),
}

ENDED: dict[str, tuple[Make, Reason, str]] = {
    "data-dependent control flow": (
        lambda f: request({"name": "acme_branching"}, f.images()), "untraceable", "depends on"
    ),
    "control flow in ONNX": (
        lambda f: request(f.onnx(control_flow=True), f.images()), "bad_input", r"If .*by_brightness"
    ),
    "no removable layer": (
        lambda f: request({**NET, "args": {"blocks": 0}}, f.images()), "target_unreachable", "nothing can be pruned"
    ),
    "batch norm's criterion without batch norm": (
        lambda f: request({**NET, "args": {"norm": False}}, f.images(), criterion="bn_scale"), "bad_input", "batch norm"
    ),
    "labels out of range": (
        lambda f: request(NET, f.parquet([0, 1] * 12 + [5], '["a", "b"]')),
        "bad_input",
        r"the label 5 in row 24 of .* is out of range: there are 2 classes",
    ),
    "one class only": (lambda f: request(NET, f.parquet([0] * 24, '["a"]')), "bad_input", "1 class: a"),
    "an empty folder": (lambda f: request(NET, {"path": "empty"}), "bad_input", "no images"),
    "a link out of the root": (
        lambda f: request(NET, {"path": "elsewhere"}), "bad_input", "'elsewhere' lies below none of the 1 data roots"
    ),
    "a broken image": (
        lambda f: request(NET, f.zip({f"c{i % 2}/{i}.png": f.png(i, i)[: 60 if i == 3 else None] for i in range(32)})),
        "bad_input",
        r"c1/3\.png",
    ),
    "NaN in weights": (
        lambda f: request(f.weights(lambda w: w["0.bias"].fill_(float("nan"))), f.images()),
        "weights_mismatch",
        "0.bias holds NaN",
    ),
    "another network's weights": (
        lambda f: request(f.weights(lambda w: w.update({"0.bias": torch.zeros(9)})), f.images()),
        "weights_mismatch",
        r"0.bias has the shape \[9\] in the file and \[8\] in the network",
    ),
    "fewer images than classes": (
        lambda f: request(NET, f.images(classes=30, each=2), criterion="imprinting"), "bad_input", "30 classes"
    ),
    "a diverging rate": (
        lambda f: request(NET, f.images(), learning_rate=10.0, weight_decay=1.0, base_epochs=40),
        "diverged",
        "learning_rate",
    ),
}  # fmt: skip
GOOD = "sizes and modes of all kinds"


@pytest.fixture(scope="module")
def submitted(site: Any, files: Any) -> dict[str, str]:
    """All jobs, by name; the good one stands in their midst."""
    wanted = list(ENDED.items())
    middle = len(wanted) // 2
    jobs = {}
    for name, (make, _, _) in wanted[:middle]:
        jobs[name] = site.client.submit(JobRequest.model_validate(make(files))).id
    jobs[GOOD] = site.client.submit(JobRequest.model_validate(request(NET, files.mixed()))).id
    for name, (make, _, _) in wanted[middle:]:
        jobs[name] = site.client.submit(JobRequest.model_validate(make(files))).id
    return jobs


@pytest.mark.parametrize("name", ENDED)
def test_a_job_ends_with_the_reason_and_the_remedy(site: Any, submitted: dict[str, str], name: str) -> None:
    _, reason, message = ENDED[name]
    ended = site.finish(submitted[name])
    assert (ended.state, ended.reason) == ("failed", reason), ended.message
    told = "\n".join([ended.message, *ended.notes])
    assert re.search(message, told), told
    assert "Traceback" not in told
    assert len(told.split(". ")) > 1 or told.count(".") > 1, f"no remedy: {told}"
    assert all(task.state in ("done", "failed", "cancelled") for task in ended.tasks)


def test_a_good_job_among_them_is_done(site: Any, submitted: dict[str, str]) -> None:
    ended = site.finish(submitted[GOOD])
    assert ended.state == "done", ended
    rows = site.client.get_leaderboard(job=ended.id).rows
    assert sorted(row.family for row in rows) == ["base", "layer"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_job_is_refused_with_the_field_the_value_and_the_remedy(site: Any, files: Any, name: str) -> None:
    make, field, message = REFUSED[name]
    before = [job.id for job in site.client.list_jobs().jobs]
    body = make(files)
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {token_of(site)}"}) as client:
        answer = client.post("/v1/jobs", json=body, timeout=60)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["field"] == field
    assert re.search(message, error["message"]), error
    assert error["remedy"]
    assert error["value"] is not None
    assert [job.id for job in site.client.list_jobs().jobs] == before


def test_a_path_outside_the_roots_is_what_the_job_waits_for(site: Any) -> None:
    job = site.client.submit(JobRequest.model_validate(request(NET, {"path": "/etc"})))
    waiting = site.client.get_job(job.id)
    assert "no data root above /etc" in waiting.waiting_for
    assert site.client.cancel(job.id).state == "cancelled"


def token_of(site: Any) -> str:
    return str((site.data / "admin-token").read_text().strip())
