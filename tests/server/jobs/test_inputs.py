"""Rivals, uploads and data by path: named in a job, checked when it is posted, handed to those who need them."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from typing import Any

import httpx
import pytest
from onnx import TensorProto, helper

from layerprune.api.network import RivalSpec, rival_hash

RIVAL = {"name": "cifar:resnet20", "args": {"width": 8}}


def put(client: httpx.Client, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    assert client.put(f"/v1/artifacts/sha256/{digest}", content=content).status_code in (200, 201)
    return digest


def classifier() -> bytes:
    """A network of one linear layer over a flattened image."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [12, 4], [0.5] * 48)
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2, 2])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [image], [logits], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.0, 2.0)


def images(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"not looked at")
    return buffer.getvalue()


def test_every_rival_and_seed_is_a_training_and_is_measured(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(rivals=[RIVAL], training={"epochs": 1, "seeds": [0, 1]})
    scripted.run()
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["state"] == "done", view["message"]
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    rivals = [row for row in rows if row["family"] == "handcrafted"]
    assert sorted(row["training_seed"] for row in rivals) == [0, 1]
    assert {(row["label"], row["amount"]) for row in rivals} == {("cifar:resnet20", 0.0)}


def test_a_rivals_task_names_it_and_goes_by_its_hash(scripted: Any, submit: Any) -> None:
    submit(rivals=[RIVAL])
    payloads = []
    while (task := scripted.claim()) is not None:
        if task["kind"] == "build" and task["payload"]["rival"]:
            payloads.append(task["payload"])
        scripted.send(task, scripted.answer(task))
    (payload,) = payloads
    assert payload["plan_hash"] == rival_hash(RivalSpec.model_validate(RIVAL))
    assert (payload["rival"]["args"], payload["plan"]) == ({"width": 8}, {})


def test_rivals_count_as_trainings(scripted: Any, submit: Any) -> None:
    assert submit(rivals=[RIVAL])["estimate"]["trainings"] == submit()["estimate"]["trainings"] + 1


def test_a_failed_rival_does_not_fail_the_job(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(rivals=[RIVAL])
    while (task := scripted.claim()) is not None:
        if task["kind"] == "build" and task["payload"]["rival"]:
            scripted.fail(task, "diverged", "loss is NaN")
        else:
            scripted.send(task, scripted.answer(task))
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["state"] == "done"
    assert "train the rival cifar:resnet20 failed: diverged: loss is NaN" in view["notes"]


@pytest.mark.usefixtures("scripted")
def test_an_unknown_rival_is_refused(refused: Any) -> None:
    error = refused(rivals=[{"name": "cifar:resnet99"}])
    assert (error["code"], error["field"]) == ("unknown_model", "rivals.0.name")


@pytest.mark.usefixtures("scripted")
def test_more_rivals_than_trainings_are_refused(refused: Any) -> None:
    rivals = [RIVAL | {"args": {"width": width}} for width in range(8, 11)]
    error = refused(rivals=rivals, pruning={"criteria": ["weight_l1"], "max_trainings": 3})
    assert "1 seeds with 3 rivals need at least 4 trainings, the limit is 3" in error["message"]


@pytest.mark.parametrize("offer_more", [{"imports_onnx": True}])
def test_uploaded_files_reach_every_task_that_builds(scripted: Any, submit: Any, client: Any) -> None:
    network, data = put(client, classifier()), put(client, images("a/1.png", "b/1.png"))
    job = submit(model={"onnx": network}, dataset={"upload": data, "name": "mine"})
    inputs = []
    while (task := scripted.claim()) is not None:
        if task["kind"] in ("score", "build"):
            inputs.append({network, data} <= set(task["inputs"]))
        scripted.send(task, scripted.answer(task))
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["state"] == "done", view["message"]
    assert len(inputs) == 5
    assert all(inputs)
    assert view["tasks"][0]["title"] == f"score onnx:{network[:12]} on mine"


def test_weights_spare_the_base_its_training(scripted: Any, submit: Any, client: Any) -> None:
    weights = put(client, safetensors())
    submit(model={"name": "cifar:resnet20", "weights": weights})
    task = scripted.claim()
    assert task["title"] == "score cifar:resnet20 on digits"
    assert task["inputs"] == [weights]
    assert scripted.http.get(f"/v1/artifacts/sha256/{weights}").content == safetensors()


@pytest.mark.usefixtures("scripted")
def test_a_file_that_was_not_uploaded_is_refused(refused: Any) -> None:
    error = refused(model={"onnx": "ab" * 32})
    assert (error["code"], error["field"], error["value"]) == ("not_uploaded", "model.onnx", "ab" * 32)
    assert "Upload the file first" in error["remedy"]


HOSTILE: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("model.onnx", b"no network", {"model": {"onnx": "?"}}, "the ONNX file is refused"),
    (
        "model.weights",
        b"\x80\x04pickled" * 9,
        {"model": {"name": "cifar:resnet20", "weights": "?"}},
        "a pickle, which can run code",
    ),
    ("rivals.0.weights", b"\0" * 4, {"rivals": [RIVAL | {"weights": "?"}]}, "the weights cannot be read"),
    ("dataset.upload", images("../../a/1.png", "b/1.png"), {"dataset": {"upload": "?"}}, "leads out of the folder"),
    ("dataset.upload", images("a/1.png", "a/2.png"), {"dataset": {"upload": "?"}}, "of one class"),
    ("dataset.upload", b"plain text", {"dataset": {"upload": "?"}}, "neither a zip nor a parquet file"),
]


@pytest.mark.usefixtures("scripted")
def test_a_file_that_is_something_else_is_refused(client: Any, refused: Any, subtests: pytest.Subtests) -> None:
    for field, content, changes, words in HOSTILE:
        with subtests.test(field, words=words):
            digest = put(client, content)
            error = refused(**json.loads(json.dumps(changes).replace("?", digest)))
            assert (error["field"], error["value"]) == (field, digest)
            assert words in error["message"]
            assert error["remedy"]


@pytest.mark.usefixtures("scripted")
def test_several_forms_at_once_are_refused(refused: Any, subtests: pytest.Subtests) -> None:
    digest = "ab" * 32
    for changes, words in (
        ({"model": {"name": "cifar:resnet20", "onnx": digest}}, "either name or onnx"),
        ({"model": {"onnx": digest, "weights": digest}}, "has its weights inside"),
        ({"dataset": {"name": "a", "path": "/data", "upload": digest}}, "either path or upload"),
        ({"dataset": {}}, "give a name, a path or an upload"),
        ({"dataset": {"path": "/data/../etc"}}, "may lead anywhere"),
    ):
        with subtests.test(words):
            assert words in refused(**changes)["message"]


def test_data_by_path_waits_for_a_worker_with_that_root(scripted: Any, submit: Any, client: Any, register: Any) -> None:
    job = submit(dataset={"path": "/data/birds"})
    assert scripted.claim() is None
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["waiting_for"] == "no live worker can take it: scripted has no data root above /data/birds"


@pytest.mark.parametrize("offer_more", [{"data_roots": ["/data"]}])
def test_data_by_path_is_served_by_a_worker_with_that_root(scripted: Any, submit: Any) -> None:
    submit(dataset={"path": "/data/birds"})
    assert scripted.claim()["payload"]["dataset"]["path"] == "/data/birds"


def test_an_onnx_file_waits_for_a_worker_that_imports_them(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(model={"onnx": put(client, classifier())})
    assert scripted.claim() is None
    assert "cannot import ONNX files" in client.get(f"/v1/jobs/{job['id']}").json()["waiting_for"]


def test_uploads_are_listed_with_what_they_are(client: Any, clock: Any) -> None:
    network = put(client, classifier())
    clock.advance(5)
    weights = put(client, safetensors())
    for digest, kind, name in ((network, "onnx", "net.onnx"), (weights, "weights", "w.safetensors")):
        clock.advance(1)
        body = {"digest": digest, "kind": kind, "name": name}
        assert client.post("/v1/uploads", json=body).status_code == 201
    found = client.get("/v1/uploads").json()["uploads"]
    assert [one["name"] for one in found] == ["w.safetensors", "net.onnx"]
    assert found[1] == {
        "digest": network,
        "kind": "onnx",
        "name": "net.onnx",
        "size_bytes": len(classifier()),
        "uploaded_at": clock() - 1_000_000,
    }
    assert client.get("/v1/uploads", params={"kind": "data"}).json()["uploads"] == []


def test_an_upload_that_is_something_else_is_not_listed(client: Any) -> None:
    body = {"digest": put(client, b"no network"), "kind": "onnx", "name": "net.onnx"}
    response = client.post("/v1/uploads", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "onnx_refused")
    assert client.get("/v1/uploads").json()["uploads"] == []


def test_a_name_with_a_path_is_refused(client: Any) -> None:
    body = {"digest": put(client, classifier()), "kind": "onnx", "name": "../net.onnx"}
    assert client.post("/v1/uploads", json=body).json()["error"]["field"] == "name"
