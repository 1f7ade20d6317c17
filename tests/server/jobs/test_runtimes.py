"""Several runtimes of one device: what is measured on which, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from layerprune.api.catalogue import BackendInfo

QUOTA = "the CPU quota of 2 in /sys/fs/cgroup/cpu.max"
RUNTIMES = [
    BackendInfo(
        name="onnxruntime",
        version="1.23",
        precisions=["fp32"],
        max_opset=20,
        max_threads=2,
        threads_limited_by=QUOTA,
        settings=[],
    ),
    BackendInfo(name="openvino", version="2026.1", precisions=["fp32", "bf16"], max_opset=21, max_threads=2),
    BackendInfo(
        name="torch", version="2.14", precisions=["fp32"], max_opset=16, max_threads=2, settings=["channels_last"]
    ),
]
BOTH = ["onnxruntime", "openvino"]


@pytest.fixture
def offer_more() -> dict[str, Any]:
    return {"backends": RUNTIMES}


@pytest.fixture
def runtimes(scripted: Any) -> Any:
    """The scripted worker, which says of each row on which runtime it was measured."""

    def conditions(payload: Any) -> dict[str, Any]:
        asked = {name: payload["condition"][name] for name in ("precision", "threads", "batch_size")}
        runtime = payload["condition"]["backend"]
        return {"device_model": "Test CPU", "runtime": runtime, "runtime_version": "1.23"} | asked

    scripted.conditions = conditions
    return scripted


def done(client: Any, job: Any) -> list[dict[str, Any]]:
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["state"] == "done", view["message"]
    return list(view["tasks"])


def titles(tasks: list[dict[str, Any]], kind: str) -> list[str]:
    return [task["title"].partition(" on local-cpu, ")[2] for task in tasks if task["kind"] == kind]


def test_every_variant_is_measured_on_every_runtime_and_number_of_threads(
    runtimes: Any, submit: Any, client: Any
) -> None:
    job = submit(measure={"backends": BOTH, "threads": [1, 2]})
    runtimes.run()
    everywhere = [f"{name}, batch 1, {threads}, fp32" for name in BOTH for threads in ("1 thread", "2 threads")]
    tasks = done(client, job)
    assert titles(tasks, "sweep") == titles(tasks, "measure") == everywhere
    compared = client.get(f"/v1/jobs/{job['id']}/comparison").json()["devices"]
    assert sorted((one["runtime"].split()[0], one["threads"]) for one in compared) == [
        (name, threads) for name in BOTH for threads in (1, 2)
    ]


def test_a_precision_is_measured_where_the_runtime_has_it(runtimes: Any, submit: Any, client: Any) -> None:
    job = submit(measure={"backends": BOTH, "precisions": ["fp32", "bf16"]})
    runtimes.run()
    assert titles(done(client, job), "measure") == [
        "onnxruntime, batch 1, 1 thread, fp32",
        "openvino, batch 1, 1 thread, fp32",
        "openvino, batch 1, 1 thread, bf16",
    ]


def test_a_target_may_be_for_one_runtime_and_number_of_threads(runtimes: Any, submit: Any, client: Any) -> None:
    targets = [{"ratio": 0.7, "backend": "openvino", "threads": 2}]
    criteria = ["weight_l1", "imprinting"]
    job = submit(pruning={"criteria": criteria, "targets": targets}, measure={"backends": BOTH, "threads": [1, 2]})
    runtimes.run()
    tasks = done(client, job)
    assert titles(tasks, "sweep") == ["openvino, batch 1, 2 threads, fp32"]
    assert len(titles(tasks, "measure")) == 4


def test_settings_reach_the_measurement_of_their_runtime_alone(runtimes: Any, submit: Any) -> None:
    submit(measure={"backends": BOTH, "settings": {"openvino": {"hint": True}}})
    seen = {}
    while (task := runtimes.claim()) is not None:
        if task["kind"] in ("sweep", "measure"):
            seen[task["kind"], task["payload"]["condition"]["backend"]] = task["payload"]["condition"]["settings"]
        runtimes.send(task, runtimes.answer(task))
    assert seen["measure", "openvino"] == seen["sweep", "openvino"] == {"hint": True}
    assert seen["measure", "onnxruntime"] == {}


def test_networks_are_exported_for_the_opset_that_all_runtimes_read(runtimes: Any, submit: Any, client: Any) -> None:
    job = submit(measure={"backends": ["onnxruntime", "torch"]})
    task = runtimes.claim()
    assert task["payload"]["opset"] == 16
    notes = client.get(f"/v1/jobs/{job['id']}").json()["notes"]
    assert notes == ["networks are exported for opset 16: torch 2.14 on local-cpu reads no newer one"]
    runtimes.send(task, runtimes.answer(task) | {"base": runtimes.network("base") | {"opset": 16}})
    assert runtimes.run(until="build")["payload"]["opset"] == 16


def test_runtimes_that_read_more_get_the_usual_opset(runtimes: Any, submit: Any) -> None:
    submit(measure={"backends": BOTH})
    assert runtimes.claim()["payload"]["opset"] == 17


def test_a_device_lists_its_runtimes_in_full(runtimes: Any, client: Any) -> None:
    (device,) = client.get("/v1/devices").json()
    assert device["backends"] == ["onnxruntime", "openvino", "torch"]
    assert device["runtimes"][0]["threads_limited_by"] == QUOTA


REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"backends": ["onnxruntime", "tensorrt"]},
        "unknown_backend",
        "measure.backends.1",
        "unknown backend 'tensorrt'; known: onnxruntime, openvino, torch",
    ),
    ({"backends": ["openvino", "openvino"]}, "bad_input", "measure.backends", "'openvino' more than once"),
    (
        {"threads": [3]},
        "bad_input",
        "measure.threads.0",
        f"3 threads are more than local-cpu offers, which is 2: {QUOTA}",
    ),
    ({"backends": BOTH, "precisions": ["fp32", "fp8"]}, "unknown_precision", "measure.precisions.1", "bf16, fp32"),
    ({"backends": BOTH, "precisions": ["bf16"]}, "unknown_precision", "measure.precisions.0", "known: fp32"),
    (
        {"backends": ["torch"], "settings": {"torch": {"warp": True}}},
        "unknown_setting",
        "measure.settings.torch.warp",
        "known: channels_last",
    ),
    (
        {"settings": {"torch": {"channels_last": True}}},
        "unknown_backend",
        "measure.settings.torch",
        "known: onnxruntime",
    ),
]


@pytest.mark.usefixtures("scripted")
def test_what_the_device_does_not_have_is_refused(refused: Any, subtests: pytest.Subtests) -> None:
    for measure, code, field, words in REFUSED:
        with subtests.test(measure):
            error = refused(measure=measure)
            assert (error["code"], error["field"]) == (code, field)
            assert words in error["message"]
            assert error["remedy"]


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(("name", "value"), [("backend", "torch"), ("threads", 2)])
def test_a_target_for_what_is_not_measured_is_refused(refused: Any, name: str, value: object) -> None:
    error = refused(pruning={"targets": [{"ratio": 0.7, name: value}]}, measure={"backends": BOTH})
    assert error["field"] == f"pruning.targets.0.{name}"
