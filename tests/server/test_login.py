"""The first start's token, and signing a browser in."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.auth import COOKIE
from server.bootstrap import bootstrap
from server.config import Settings


def browser(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Accept": "text/html"}, follow_redirects=False)


@pytest.fixture
def link(client: httpx.Client) -> str:
    response = client.post("/v1/login-links")
    assert response.status_code == 201
    return str(response.json()["url"])


def test_the_admin_token_is_for_its_user_alone(fresh_data: Path) -> None:
    assert stat.S_IMODE((fresh_data / "admin-token").stat().st_mode) == 0o600


def test_the_data_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    bootstrap(Settings(data=tmp_path / "new"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_another_start_keeps_the_admin_token(settings: Settings, admin_token: str) -> None:
    bootstrap(settings)
    assert (settings.data / "admin-token").read_text().strip() == admin_token


@pytest.mark.parametrize("content", [None, "", "lp_admin_of_another_server"])
def test_an_admin_token_that_does_not_hold_is_replaced(settings: Settings, content: str | None) -> None:
    file = settings.data / "admin-token"
    file.unlink() if content is None else file.write_text(content)
    bootstrap(settings)
    assert file.read_text().startswith("lp_admin_")
    assert file.read_text() != content


def test_a_link_signs_a_browser_in(url: str, link: str) -> None:
    with browser(url) as visitor:
        response = visitor.get(link)
        assert (response.status_code, response.headers["location"]) == (303, "/")
        cookie = response.headers["set-cookie"].lower()
        assert cookie.startswith(COOKIE)
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert visitor.get("/v1/devices").status_code == 200


def test_a_link_works_once(url: str, link: str) -> None:
    assert httpx.get(link).status_code == 303
    response = httpx.get(link)
    assert response.status_code == 401
    assert "layerprune login" in response.json()["error"]["remedy"]


def test_a_link_ends_after_ten_minutes(link: str, clock: Any) -> None:
    clock.advance(600)
    assert httpx.get(link).status_code == 401


def test_an_admins_token_is_no_login_token(url: str, admin_token: str) -> None:
    assert httpx.get(f"{url}/login?token={admin_token}").status_code == 401


def test_a_browser_without_a_session_sees_a_page(url: str) -> None:
    with browser(url) as visitor:
        response = visitor.get("/")
    assert response.status_code == 401
    assert response.headers["content-type"].startswith("text/html")
    assert "layerprune login" in response.text


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
def test_another_site_cannot_act_with_the_cookie(url: str, link: str, origin: str | None) -> None:
    with browser(url) as visitor:
        visitor.get(link)
        response = visitor.post("/v1/login-links", headers={"Origin": origin} if origin else {})
    assert response.status_code == 403
    assert response.json()["error"]["field"] == "Origin"


def test_a_page_of_the_server_can_act_with_the_cookie(url: str, link: str) -> None:
    with browser(url) as visitor:
        visitor.get(link)
        assert visitor.post("/v1/login-links", headers={"Origin": url}).status_code == 201


def test_another_name_for_this_machine_is_refused_to_browsers(url: str, link: str) -> None:
    with browser(url) as visitor:
        visitor.get(link)
        response = visitor.get("/v1/devices", headers={"Host": "evil.example"})
    assert response.status_code == 403
    assert response.json()["error"]["value"] == "evil.example"


def test_every_answer_forbids_foreign_scripts(client: httpx.Client) -> None:
    headers = client.get("/v1/devices").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
