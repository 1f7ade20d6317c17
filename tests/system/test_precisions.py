"""Precisions from the request to the leaderboard, and the job that TensorRT stops, through HTTP with a real worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from layerprune.api.catalogue import BackendInfo, Catalogue
from layerprune.api.jobs import JobRequest
from layerprune.api.workers import DeviceSpec, WorkerRegistration

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

REQUEST: dict[str, Any] = {
    "model": {"name": "cifar:resnet20", "args": {"width": 8}},
    "dataset": {"name": "digits"},
    "training": {"epochs": 1, "base_epochs": 3},
}


@pytest.fixture(scope="module")
def site(shared_site: Callable[..., Any]) -> Any:
    return shared_site()


def test_a_job_measures_fp32_and_int8_side_by_side(site: Any) -> None:
    """A search towards a latency target under both precisions, on the files of both."""
    pruning = {
        "methods": ["layer"],
        "criteria": ["weight_l1"],
        "targets": {"latency_ratios": [0.7]},
        "max_trainings": 2,
    }
    measure = {"backend": "onnxruntime", "precisions": ["fp32", "int8"]}
    job = site.finish(
        site.client.submit(JobRequest.model_validate(REQUEST | {"pruning": pruning, "measure": measure})).id
    )
    assert job.state == "done", job
    variants = [
        site.client.get_variant(name) for name in {r.variant for r in site.client.get_leaderboard(job=job.id).rows}
    ]
    assert {"base", "layer"} <= {variant.family for variant in variants}
    rows = {(v.family, row.precision): row for v in variants for row in v.measurements}
    assert {precision for _, precision in rows} == {"fp32", "int8"}
    base = {precision: rows["base", precision] for precision in ("fp32", "int8")}
    # Eight bits cost some accuracy, but not the network; and every answer is the timed session's.
    assert abs(base["int8"].accuracy.value - base["fp32"].accuracy.value) < 0.1
    assert base["fp32"].accuracy.value > 0.5
    assert not any("output_mismatch" in row.flags for row in rows.values())
    assert base["int8"].comparable_key != base["fp32"].comparable_key
    assert base["int8"].downloads.onnx != base["fp32"].downloads.onnx


def test_a_job_for_a_card_that_refuses_the_network_stops_before_training(site: Any) -> None:
    token = (site.data / "admin-token").read_text().strip()
    backend = BackendInfo(name="tensorrt-rtx", version="1.7", precisions=["fp32"], max_opset=20, max_threads=1)
    card = WorkerRegistration(
        name="card",
        roles=["measure"],
        device=DeviceSpec(name="rtx-2080", kind="gpu", facts={"compute_capability": "7.5"}),
        catalogue=Catalogue(backends=[backend]),
        incarnation="incarnation-1",
    )
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {token}"}) as http:
        assert http.post("/v1/workers", json=card.model_dump(mode="json")).status_code == 201
    measure = {"devices": ["rtx-2080"], "backend": "tensorrt-rtx"}
    job = site.finish(site.client.submit(JobRequest.model_validate(REQUEST | {"measure": measure})).id)
    assert (job.state, job.reason) == ("failed", "tensorrt_refuses")
    assert "FP32 GEMM" in job.message
    assert "rtx-2080" in job.message
    assert "training" not in job.seconds
