"""A job's page in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
PROGRESS = {
    "phase": "fine-tuning",
    "message": "epoch 2 of 4",
    "fraction": 0.5,
    "epoch": 2,
    "epochs": 4,
    "loss": 0.31,
    "accuracy": 0.955,
    "seconds_left": 9.0,
}


@pytest.fixture
def running(bench: Any) -> Any:
    """A job with one build at work."""
    job = bench.job("running")
    task = bench.task(job, "build", "leased", title="Build layer 6/9", progress=PROGRESS)
    bench.attempt(task, "leased")
    return job, task


def test_it_shows_what_runs_now(visitor: Any, running: Any) -> None:
    visitor.sign_in()
    visitor.open(f"/jobs/{running[0].public_id}")
    now = visitor.page.locator("#now").inner_text()
    for part in ("Build layer 6/9", "fine-tuning", "epoch 2 of 4", "loss 0.310", "95.5 %", "9.0 s left"):
        assert part in now


def test_it_follows_the_job_without_a_reload(visitor: Any, bench: Any, running: Any) -> None:
    job, task = running
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    visitor.page.evaluate("window.untouched = true")
    bench.site.change(task, progress=PROGRESS | {"epoch": 3, "loss": 0.2})
    expect(visitor.page.locator("#now")).to_contain_text("epoch 3 of 4")
    bench.site.change(task, state="done", progress=None)
    bench.site.change(job, state="done", finished_at=bench.site.now())
    expect(visitor.page.locator("#state")).to_have_text("done")
    expect(visitor.page.locator("#cancel button")).to_have_count(0)
    assert visitor.page.evaluate("window.untouched")
    assert visitor.problems == []


def test_it_draws_the_running_curve_and_adds_epochs_to_it(visitor: Any, bench: Any, running: Any) -> None:
    job, task = running
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    bench.event(job, task, "progress", {"epoch": 1, "loss": 0.5})
    figure = "#plot-training"
    visitor.page.wait_for_selector(f"{figure}[data-drawn]")
    assert visitor.points(figure) == 1
    bench.event(job, task, "progress", {"epoch": 2, "loss": 0.3, "accuracy": 0.9})
    expect(visitor.page.locator(f"{figure} .scatterlayer .points path")).to_have_count(3)


def test_the_result_appears_when_it_is_there(visitor: Any, bench: Any) -> None:
    job = bench.measured_job()
    bench.site.change(job, state="running", finished_at=None)
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    assert visitor.points("#plot-1") == 9
    bench.site.change(job, state="done", finished_at=bench.site.now())
    expect(visitor.page.locator("#state")).to_have_text("done")
    assert visitor.points("#plot-1") == 9


def test_the_cancel_button_cancels(visitor: Any, bench: Any, running: Any) -> None:
    job, task = running
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    visitor.page.get_by_role("button", name="Cancel").click()
    expect(visitor.page.locator("#state")).to_contain_text("cancelled")
    assert bench.site.read(job, "state") == "cancelled"
    assert bench.site.read(task, "state") == "cancelled"


def test_attempts_are_listed_with_their_reasons(visitor: Any, bench: Any) -> None:
    job = bench.job("running")
    task = bench.task(job, "build", "queued", title="Build layer 6/9")
    bench.attempt(task, "failed", reason="worker_lost", message="the worker stopped answering")
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    tasks = visitor.page.locator("#tasks").inner_text()
    assert "worker_lost" in tasks
    assert "the worker stopped answering" in tasks


def test_the_page_says_the_same_without_scripts(chromium: Any, site: Any, running: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.login_link())
    page.goto(f"{site.url}/jobs/{running[0].public_id}")
    assert "epoch 2 of 4" in page.locator("#now").inner_text()
    page.get_by_role("button", name="Cancel").click()
    assert "cancelled" in page.locator("#state").inner_text()
    context.close()


def test_the_form_submits_a_job(visitor: Any, bench: Any) -> None:
    visitor.sign_in()
    visitor.open("/jobs/new")
    visitor.page.get_by_label("Epochs").fill("1")
    visitor.page.get_by_role("button", name="Submit").click()
    visitor.page.wait_for_url("**/jobs/*-*")
    assert "1 epoch each" in visitor.page.locator("main").inner_text()


def test_the_form_shows_why_the_server_refuses(visitor: Any, bench: Any) -> None:
    visitor.sign_in()
    visitor.open("/jobs/new")
    visitor.page.get_by_label("Latency targets").fill("1.2")
    visitor.page.get_by_role("button", name="Submit").click()
    expect(visitor.page.locator("#problem")).to_contain_text("1.2")


def test_the_result_says_who_wins_where_and_why(visitor: Any, bench: Any) -> None:
    job = bench.measured_job()
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    result = visitor.page.locator("#result section[aria-label=Result]")
    glance = result.locator("table").first.inner_text()
    for part in ("local-cpu", "1 thread", "0.65 of the base", "hybrid", "handcrafted 0.50"):
        assert part in glance
    # At the target of 0.65: layers, aligned filters, hybrid and the rival, every two of them; filters end at 0.7.
    pairs = result.locator("table", has=visitor.page.get_by_text("Every two families")).locator("tbody tr")
    open_pairs = result.locator("details", has_text="could not be compared")
    assert not open_pairs.locator("li").first.is_visible()
    folded = open_pairs.locator("li").filter(has_text="0.65")
    assert pairs.filter(has_text="0.65 of the base").count() + folded.count() == 6
    assert pairs.filter(has_text="interpolated").count() > 0
    details = result.locator("details", has_text="Whole fronts")
    assert not details.locator("li").first.is_visible()
    details.locator("summary").click()
    assert "crossover" in details.locator("li").first.inner_text()
    assert visitor.problems == []


@pytest.mark.parametrize(("kind", "title"), [("search", "solve 3 targets, round 1"), ("trial", "try 12 plans")])
def test_it_shows_the_stages_between(visitor: Any, bench: Any, kind: str, title: str) -> None:
    job = bench.job("running", notes=["cut after the trial: layer 4/9"])
    progress = {"phase": "solving", "message": "target 2 of 3", "fraction": 0.4}
    bench.attempt(bench.task(job, kind, "leased", title=title, progress=progress), "leased")
    visitor.sign_in()
    visitor.open(f"/jobs/{job.public_id}")
    now = visitor.page.locator("#now").inner_text()
    assert title in now
    assert "target 2 of 3" in now
    assert "cut after the trial: layer 4/9" in visitor.page.locator("#notes").inner_text()
