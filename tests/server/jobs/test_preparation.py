"""Files of other precisions, and devices that run TensorRT: what builders are asked, and which file is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from layerprune.api.catalogue import BackendInfo

BACKENDS = [
    BackendInfo(name="onnxruntime", version="1.23", precisions=["fp32", "int8"], max_opset=20, max_threads=2),
    BackendInfo(name="tensorrt-rtx", version="1.7.1", precisions=["fp32", "fp16"], max_opset=20, max_threads=2),
]
INT8 = {"precisions": ["fp32", "int8"]}


@pytest.fixture
def offer_more() -> dict[str, Any]:
    return {"backends": BACKENDS}


@pytest.fixture
def preparing(scripted: Any) -> Any:
    """The scripted worker, which also sends an int8 file of everything."""
    network, score = scripted.network, scripted.score

    def with_int8(plan_hash: str, *, seed: int = 0) -> dict[str, Any]:
        found = network(plan_hash, seed=seed)
        file = scripted.upload(f"int8 {plan_hash} {seed}".encode())
        scripted._plan_of_file[file] = plan_hash
        reference = scripted.upload(f"int8 reference {plan_hash} {seed}".encode())
        return found | {"forms": {"int8": {"onnx": file, "reference_outputs": reference, "tool": "Q/DQ"}}}

    def scored() -> dict[str, Any]:
        found = score()
        for one in found["architectures"]:
            one["forms"] = {"int8": scripted.upload(b"int8 " + one["architecture"].encode())}
        return found

    scripted.network, scripted.score = with_int8, scored
    return scripted


def payloads(worker: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Run the job to its end and give kind and payload of every task."""
    seen = []
    while (task := worker.claim()) is not None:
        seen.append((task["kind"], task["payload"]))
        response = worker.send(task, worker.answer(task))
        assert response.status_code == 200, response.text
    return seen


def test_a_job_with_int8_is_measured_on_int8_files_to_its_end(preparing: Any, submit: Any, client: Any) -> None:
    job = submit(measure=INT8)
    seen = payloads(preparing)
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["state"] == "done", view["message"]
    sweeps = {p["condition"]["precision"]: p for kind, p in seen if kind == "sweep"}
    assert sweeps["int8"]["architectures"].keys() == sweeps["fp32"]["architectures"].keys()
    assert not set(sweeps["int8"]["architectures"].values()) & set(sweeps["fp32"]["architectures"].values())
    measured = {p["condition"]["precision"]: p for kind, p in seen if kind == "measure"}
    assert measured["int8"]["base"]["onnx"] == sweeps["int8"]["base"] == preparing.upload(b"int8 base 0")
    assert measured["int8"]["base"]["reference_outputs"] == preparing.upload(b"int8 reference base 0")
    assert measured["fp32"]["base"]["onnx"] == preparing.upload(b"onnx base 0")


def test_builders_are_asked_only_for_the_forms_that_are_measured(preparing: Any, submit: Any) -> None:
    submit(measure=INT8)
    asked = {kind: p["forms"] for kind, p in payloads(preparing) if kind in ("score", "build")}
    assert asked == {"score": ["int8"], "build": ["int8"]}


@pytest.mark.parametrize("which", ["architectures", "base"])
def test_a_network_that_lacks_a_form_is_refused(preparing: Any, submit: Callable[..., Any], which: str) -> None:
    submit(measure=INT8)
    task = preparing.claim()
    result = preparing.answer(task)
    (result["architectures"][0] if which == "architectures" else result["base"])["forms"] = {}
    response = preparing.send(task, result)
    assert response.status_code == 422
    assert "lacks int8" in response.json()["error"]["message"]


@pytest.fixture
def rtx(client: httpx.Client, registration: Callable[..., dict[str, Any]], scripted: Any) -> str:
    """A device with an RTX card."""
    body = registration("card", "rtx", roles=["measure"], catalogue={"backends": BACKENDS})
    body["device"]["facts"] = {"compute_capability": "8.6"}
    assert client.post("/v1/workers", json=body).status_code == 201
    return "rtx"


def parse_for(worker: Any) -> list[dict[str, Any]]:
    task = worker.claim()
    assert task["kind"] == "score"
    found: list[dict[str, Any]] = task["payload"]["parse_for"]
    return found


def test_a_device_with_tensorrt_is_named_to_the_builder(scripted: Any, submit: Any, rtx: str) -> None:
    submit(measure={"devices": [rtx], "backend": "tensorrt-rtx", "precisions": ["fp16"]})
    target = {"device": "rtx", "backend": "tensorrt-rtx", "version": "1.7.1", "capability": "8.6"}
    assert parse_for(scripted) == [target | {"precisions": ["fp16"]}]


def test_other_runtimes_need_no_parser(scripted: Any, submit: Any, rtx: str) -> None:
    submit(measure={"devices": [rtx]})
    assert parse_for(scripted) == []


def test_a_base_that_tensorrt_refuses_ends_the_job(scripted: Any, submit: Any, rtx: str, client: httpx.Client) -> None:
    job = submit(measure={"devices": [rtx], "backend": "tensorrt-rtx"})
    scripted.fail(scripted.claim(), "tensorrt_refuses", "TensorRT does not take the base: Det at node 3")
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert (view["state"], view["reason"]) == ("failed", "tensorrt_refuses")
    assert "Det at node 3" in view["message"]
    assert scripted.claim() is None
