"""Pages over HTTP, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from layerprune.api.leaderboard import LeaderboardRow
from layerprune.api.pruning import PruningSpec
from layerprune.api.training import TrainingSpec
from server.web.pages import goals
from server.web.table import COLUMNS, as_csv

HTML = {"Accept": "text/html"}
REQUEST = {"model": {"name": "cifar:resnet20"}, "dataset": {"name": "digits"}}


@pytest.fixture
def job(client: httpx.Client, register: Callable[..., object]) -> str:
    """The id of a queued job."""
    register()
    response = client.post("/v1/jobs", json=REQUEST)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/new", "/devices", "/docs"])
def test_a_page_is_html_and_lets_nothing_in_from_elsewhere(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers=HTML)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy.replace("script-src 'self'", "")
    assert "<script>" not in response.text
    assert "//" not in response.text.replace(str(client.base_url).rstrip("/"), "")


@pytest.mark.parametrize("path", ["/", "/jobs", "/static/style.css", "/figures/leaderboard.json", "/leaderboard.csv"])
def test_without_a_token_there_is_only_the_way_in(url: str, path: str) -> None:
    response = httpx.get(url + path, headers=HTML)
    assert response.status_code == 401
    assert "layerprune login" in response.text
    assert "content-security-policy" in response.headers


def test_without_a_token_a_program_gets_json(url: str) -> None:
    assert httpx.get(url + "/").json()["error"]["code"] == "not_authenticated"


def test_a_login_link_without_its_token_leads_to_the_way_in(url: str) -> None:
    assert "layerprune login" in httpx.get(url + "/login", headers=HTML).text


def test_an_unknown_page_job_or_variant_is_a_readable_404(client: httpx.Client) -> None:
    for path in ("/nowhere", "/jobs/none", "/variants/none", "/static/none.js"):
        response = client.get(path, headers=HTML)
        assert response.status_code == 404
        assert "<h1>" in response.text


def test_static_files_are_kept_for_ever_under_their_versioned_address(client: httpx.Client) -> None:
    page = client.get("/", headers=HTML).text
    address = page.split('<script src="')[1].split('"')[0]
    response = client.get(address)
    assert response.headers["content-encoding"] == "gzip"
    assert "immutable" in response.headers["cache-control"]
    assert "cache-control" not in client.get(address.split("?")[0]).headers


def test_a_forms_empty_fields_are_left_out(client: httpx.Client) -> None:
    response = client.get("/?model=&max_latency_ms=&min_accuracy=&front=", headers=HTML)
    assert response.status_code == 200
    assert "Nothing is measured yet" in response.text


@pytest.mark.parametrize(
    "query", ["max_latency_ms=fast", "max_latency_ms=nan", "max_latency_ms=-1", "min_accuracy=97", "method=magic"]
)
def test_a_filter_that_makes_no_sense_is_named(client: httpx.Client, query: str) -> None:
    response = client.get(f"/?{query}", headers=HTML)
    assert response.status_code == 422
    assert query.split("=")[0] in response.text


def test_a_job_page_says_what_was_asked_for(client: httpx.Client, job: str) -> None:
    page = client.get(f"/jobs/{job}", headers=HTML).text
    assert "cifar:resnet20 on digits" in page
    assert "0.8 of the base" in page
    assert 'data-refresh="' in page


def test_a_new_job_starts_from_resnet20_and_the_default_epochs(client: httpx.Client, job: str) -> None:
    page = client.get("/jobs/new", headers=HTML).text
    assert '<option value="cifar:resnet20" selected>' in page
    assert f'name="epochs" type="number" min="1" max="1000" value="{TrainingSpec().epochs}"' in page


def test_a_new_job_may_choose_among_the_runtimes(client: httpx.Client, job: str) -> None:
    assert '<input type="checkbox" name="backends" value="onnxruntime">' in client.get("/jobs/new", headers=HTML).text


def test_the_cancel_form_cancels_and_goes_back(client: httpx.Client, job: str) -> None:
    response = client.post(f"/jobs/{job}/cancel")
    assert (response.status_code, response.headers["location"]) == (303, f"/jobs/{job}")
    page = client.get(f"/jobs/{job}", headers=HTML).text
    assert "Cancel this job" not in page
    assert "data-refresh" not in page


def test_another_sites_form_cannot_cancel(client: httpx.Client, url: str, job: str) -> None:
    browser = httpx.Client(base_url=url)
    browser.get(client.post("/v1/login-links").json()["url"])
    assert browser.get("/jobs").status_code == 200
    response = browser.post(f"/jobs/{job}/cancel", headers={"Origin": "http://elsewhere.example"})
    assert response.status_code == 403
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    browser.close()


def test_text_from_outside_is_escaped(client: httpx.Client, register: Callable[..., object]) -> None:
    register(device="box")
    client.post("/v1/devices", json={"name": "box", "description": "<script>alert(1)</script>"})
    page = client.get("/devices", headers=HTML).text
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_a_table_to_take_away_has_a_column_per_number(board: list[LeaderboardRow]) -> None:
    header, base, layer, *_ = as_csv(board).splitlines()
    assert header.split(",") == list(COLUMNS)
    named = dict(zip(COLUMNS, layer.split(","), strict=True))
    assert (named["p50_ns"], named["ratio_ci_low"], named["correct"], named["p99_ns"]) == ("640000", "0.792", "528", "")
    assert dict(zip(COLUMNS, base.split(","), strict=True))["ratio"] == ""


@pytest.mark.parametrize(
    ("pruning", "text"),
    [
        ({"targets": {"latency_ratios": [0.7], "latency_ms": [3]}}, "latency 0.7 of the base, 3 ms"),
        ({"targets": [{"ratio": 0.5, "device": "nano"}]}, "latency 0.5 of the base on nano"),
        ({"amounts": [0.25, 0.5]}, "removing 25 %, 50 % of the MACs"),
    ],
)
def test_goals_are_said_in_words(pruning: dict[str, object], text: str) -> None:
    assert goals(PruningSpec.model_validate(pruning)) == text


def test_a_matrix_of_nothing_says_so(client: httpx.Client) -> None:
    page = client.get("/matrix", params={"model": "cifar:resnet20", "dataset": "digits"}, headers=HTML)
    assert page.status_code == 200
    assert "has measured anything yet" in page.text


def test_without_model_and_data_set_the_matrix_lets_one_choose(
    scripted: Any, submit: Any, client: httpx.Client
) -> None:
    assert "Nothing is measured yet" in client.get("/matrix", headers=HTML).text
    submit()
    scripted.run()
    page = client.get("/matrix", params={"model": "cifar:resnet20"}, headers=HTML)
    assert page.status_code == 200
    assert '<a href="/matrix?model=cifar%3Aresnet20&amp;dataset=digits">cifar:resnet20 on digits</a>' in page.text


def test_pairs_that_could_not_be_compared_are_counted_and_folded(
    scripted: Any, submit: Any, client: httpx.Client
) -> None:
    job = submit()
    scripted.flags = ["steal"]
    scripted.run()
    page = client.get(f"/jobs/{job['id']}", headers=HTML).text
    assert "3 pairs could not be compared: 3 because of steal" in page
    assert page.count("is in doubt (steal)") == 3


def test_an_iterative_schedule_is_shown(scripted: Any, submit: Any, client: httpx.Client) -> None:
    job = submit(training={"epochs": 3, "schedule": {"kind": "iterative", "steps": 3}})
    scripted.run()
    page = client.get(f"/jobs/{job['id']}", headers=HTML).text
    assert "pruned in 3 steps with training in between" in page
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    assert {row["steps"] for row in rows if row["family"] != "base"} == {3}
    assert {row["steps"] for row in rows if row["family"] == "base"} == {1}
    layers = next(row for row in rows if row["family"] == "layer")
    assert "pruned in 3 steps" in client.get(f"/variants/{layers['variant']}", headers=HTML).text
