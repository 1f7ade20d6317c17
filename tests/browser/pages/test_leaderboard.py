"""The leaderboard in a real browser."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
MATRIX = "/matrix?model=cifar%3Aresnet20&dataset=digits"


def _rows(visitor: Any) -> int:
    return int(visitor.page.locator("table.board tbody tr").count())


def test_a_one_time_link_signs_in_once(visitor: Any, context: Any) -> None:
    link = visitor.site.login_link()
    visitor.page.goto(link)
    assert urlsplit(visitor.page.url).path == "/"
    assert visitor.page.locator("h1").inner_text() == "Leaderboard"
    cookie = context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    context.clear_cookies()
    assert visitor.page.goto(link).status == 401
    assert "used before" in visitor.page.locator("[role=alert]").inner_text()


def test_without_a_session_every_page_says_how_to_get_in(visitor: Any) -> None:
    for path in ("/", "/jobs", "/devices", "/docs"):
        assert visitor.page.goto(visitor.site.url + path).status == 401
        assert "layerprune login" in visitor.page.locator("main").inner_text()


def test_an_empty_leaderboard_says_how_to_start(visitor: Any) -> None:
    visitor.sign_in()
    assert "layerprune demo" in visitor.page.locator("#empty").inner_text()


def test_every_measured_variant_is_a_point_and_a_row(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    assert visitor.points() == 9
    assert _rows(visitor) == 9


def test_the_plot_has_whiskers_fronts_and_the_base_lines(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.drawn()
    assert visitor.page.locator(".errorbars .xerror").count() == 9
    assert visitor.page.locator(".errorbars .yerror").count() == 9
    assert visitor.page.locator(".scatterlayer .lines path").count() == 2
    assert visitor.page.locator(".shapelayer path").count() == 2


def test_filters_narrow_rows_and_points(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.page.get_by_label("Method").select_option("layer")
    visitor.page.get_by_label("Latency at most").fill("0.6")
    visitor.page.get_by_role("button", name="Filter").click()
    visitor.page.wait_for_url("**/?*method=layer*")
    labels = visitor.page.locator("table.board tbody th a").all_inner_texts()
    assert {"layer 6/9", "layer 5/9"} <= set(labels)
    assert not {"layer 8/9", "filter 40 %", "aligned 8, 35 %"} & set(labels)
    assert visitor.points() == len(labels)
    assert visitor.page.get_by_label("Method").input_value() == "layer"


def test_a_filter_that_makes_no_sense_is_explained(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.open("/?max_latency_ms=fast")
    assert "max_latency_ms" in visitor.page.locator("[role=alert]").inner_text()


def test_rows_of_unlike_conditions_get_a_plot_each(visitor: Any, bench: Any) -> None:
    bench.measured_job(threads=1)
    bench.measured_job(threads=2)
    visitor.sign_in()
    assert "2 different sets of conditions" in visitor.page.locator("#slices").inner_text()
    assert (visitor.points("#plot-1"), visitor.points("#plot-2")) == (9, 9)


def test_nothing_leaves_the_host_and_nothing_breaks_the_policy(visitor: Any, bench: Any) -> None:
    job = bench.measured_job()
    visitor.sign_in()
    for path in ("/", f"/jobs/{job.public_id}", MATRIX, "/jobs", "/jobs/new", "/devices", "/docs"):
        visitor.open(path)
        if visitor.page.locator("[data-figure]").count():
            visitor.drawn()
    visitor.page.goto(visitor.site.url)
    visitor.page.locator("table.board tbody th a").first.click()
    visitor.drawn()
    assert {urlsplit(url).netloc for url in visitor.requests if not url.startswith(("data:", "blob:"))} == {
        urlsplit(visitor.site.url).netloc
    }
    assert visitor.problems == []


def test_the_plot_follows_the_colour_scheme(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.page.emulate_media(color_scheme="light")
    visitor.sign_in()
    visitor.drawn()
    title = visitor.page.locator("#plot-1 .xtitle")
    expect(title).to_have_css("fill", "rgb(29, 33, 38)")
    visitor.page.emulate_media(color_scheme="dark")
    expect(title).to_have_css("fill", "rgb(230, 232, 234)")


def test_a_click_on_a_point_opens_its_variant(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.drawn()
    box = visitor.page.locator(".scatterlayer .points path").first.bounding_box()
    visitor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visitor.page.wait_for_selector(".hoverlayer .hovertext")
    visitor.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visitor.page.wait_for_url("**/variants/*")


def test_a_variant_shows_what_went_and_its_files(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.page.get_by_role("link", name="layer 6/9").click()
    visitor.drawn()
    assert visitor.page.locator("section[aria-label=Plan] li").all_inner_texts() == ["layer1.0", "layer2.0"]
    assert visitor.page.locator("ul.links a[download$='.safetensors']").count() == 1
    assert _rows(visitor) == 1


def test_no_page_is_wider_than_a_small_screen(visitor: Any, bench: Any) -> None:
    job = bench.measured_job()
    visitor.page.set_viewport_size({"width": 400, "height": 800})
    visitor.sign_in()
    for path in ("/", "/jobs", "/jobs/new", f"/jobs/{job.public_id}", MATRIX, "/devices", "/docs"):
        visitor.open(path)
        if visitor.page.locator("[data-figure]").count():
            visitor.drawn()
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 400, path


def test_pages_follow_each_other(visitor: Any, bench: Any) -> None:
    for threads in range(1, 9):
        bench.measured_job(threads=threads)
    visitor.sign_in()
    assert _rows(visitor) == 50
    assert "4 more sets" in visitor.page.locator("main").inner_text()
    visitor.page.get_by_role("link", name="Next page").click()
    visitor.page.wait_for_url("**cursor=**")
    assert _rows(visitor) == 22


def test_a_family_can_be_picked(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.page.get_by_label("Family").select_option(label="handcrafted")
    visitor.page.get_by_role("button", name="Filter").click()
    visitor.page.wait_for_url("**/?*family=handcrafted*")
    assert visitor.page.locator("table.board tbody th a").all_inner_texts() == ["cifar:mobilenet_v2"]


def test_a_hybrid_shows_its_layers_and_its_channels(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.page.get_by_role("link", name="hybrid 0.65").click()
    went = visitor.page.locator("section[aria-label=Plan]").inner_text()
    assert "1 layer removed" in went
    assert "layer1.0.conv1: 3 channels" in went


def test_a_rival_is_said_to_be_small_by_design(visitor: Any, bench: Any) -> None:
    bench.measured_job()
    visitor.sign_in()
    visitor.page.get_by_role("link", name="cifar:mobilenet_v2").click()
    assert "small by design" in visitor.page.locator("section[aria-label=Plan]").inner_text()


def test_jobs_of_one_model_share_a_matrix(visitor: Any, bench: Any) -> None:
    for threads in (1, 2):
        bench.measured_job(threads=threads)
    visitor.sign_in()
    visitor.open(MATRIX)
    rows = visitor.page.locator("table tbody tr")
    assert rows.count() == 2
    assert ["1 thread" in rows.nth(i).inner_text() for i in range(2)] == [True, False]
    visitor.page.get_by_role("link").filter(has=visitor.page.locator("code")).first.click()
    visitor.page.wait_for_url("**/jobs/*-*")
