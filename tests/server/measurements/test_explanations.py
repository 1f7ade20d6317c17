"""Why a variant is slow: kept with its measurement, shown with the variant, and refused if it is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

SIDE = {"ns": 1000.0, "macs": 10, "layout": "blocked", "in_channels": 32, "out_channels": 32}
WHY: dict[str, Any] = {
    "runtime": "onnxruntime",
    "threads": 1,
    "batch_size": 1,
    "base_ns": 1000.0,
    "variant_ns": 900.0,
    "ratio": 0.9,
    "macs_ratio": 0.5,
    "missing_ns": 400.0,
    "lost_layout_ns": 400.0,
    "reorders_ns": 0.0,
    "less_efficient_ns": 0.0,
    "base_reorders": {"count": 0, "ns": 0.0},
    "variant_reorders": {"count": 1, "ns": 10.0},
    "base_blocked": 1,
    "variant_blocked": 0,
    "layers": [
        {
            "name": "/conv/Conv",
            "op": "Conv",
            "kernel": [3, 3],
            "base": SIDE,
            "variant": SIDE | {"layout": "plain", "in_channels": 27},
            "excess_ns": 400.0,
            "lost_layout": True,
            "regain": {"in_channels": [24, 28]},
        }
    ],
    "sentences": ["1 convolution lost the runtime's blocked layout."],
}


@pytest.fixture
def explained(submit: Callable[..., dict[str, Any]], scripted: Any) -> Callable[..., httpx.Response | None]:
    """Run a job to its measurement, and answer that with an explanation of the first variant: gives the answer."""

    def run(content: bytes, *, of: str | None = None) -> httpx.Response:
        submit()
        task = scripted.run(until="measure")
        result = scripted.measurement(task["payload"])
        variant = of or task["payload"]["variants"][0]["variant"]
        return scripted.send(task, result | {"explanations": {variant: scripted.upload(content)}})

    return run


def encoded(why: dict[str, Any]) -> bytes:
    import json

    return json.dumps(why).encode()


def first_variant(client: httpx.Client) -> str:
    rows = client.get("/v1/leaderboard").json()["rows"]
    (explained,) = [
        row["variant"] for row in rows if client.get(f"/v1/variants/{row['variant']}").json()["explanations"]
    ]
    return str(explained)


def test_an_explanation_is_shown_with_its_variant(client: httpx.Client, explained: Callable[..., Any]) -> None:
    assert explained(encoded(WHY)).status_code == 200
    variant = first_variant(client)
    (found,) = client.get(f"/v1/variants/{variant}").json()["explanations"]
    assert (found["device"], found["why"]) == ("local-cpu", WHY)
    page = client.get(f"/variants/{variant}").text
    assert "Why it is not faster" in page
    assert "in channels 24 or 28" in page


def test_a_variant_without_one_has_no_section(client: httpx.Client, submit: Any, scripted: Any) -> None:
    submit()
    scripted.run()
    rows = client.get("/v1/leaderboard").json()["rows"]
    assert rows
    assert all("Why it is not faster" not in client.get(f"/variants/{row['variant']}").text for row in rows)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\x00" * 100, encoded(WHY | {"more": 1}), encoded(WHY | {"ratio": "fast"}), b" " * (2 * 2**20 + 1)],
    ids=["empty", "no fields", "binary", "another field", "no number", "too large"],
)
def test_content_that_is_no_explanation_is_refused(content: bytes, explained: Callable[..., Any]) -> None:
    answer = explained(content)
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["error"]["message"]


def test_an_explanation_of_what_was_not_measured_is_refused(explained: Callable[..., Any]) -> None:
    answer = explained(encoded(WHY), of="somebody")
    assert answer.status_code == 422
    assert "which was not asked for" in answer.json()["error"]["message"]


def test_the_worker_is_told_the_macs(submit: Callable[..., dict[str, Any]], scripted: Any) -> None:
    submit()
    payload = scripted.run(until="measure")["payload"]
    assert payload["base"]["macs"] == scripted.base_macs
    assert all(variant["macs"] < scripted.base_macs for variant in payload["variants"])
