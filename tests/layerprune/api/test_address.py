from __future__ import annotations

from pathlib import Path

import pytest

from layerprune.api.connection import DEFAULT_URL, Address
from layerprune.api.errors import BadInput, NotAuthenticated


def write(folder: Path, *, token: str = "", url: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    if token:
        (folder / "admin-token").write_text(token + "\n")
    if url:
        (folder / "url").write_text(url + "\n")
    return folder


def test_without_anything_it_is_the_default_address_and_no_token() -> None:
    assert Address.find() == Address(DEFAULT_URL, None)


def test_the_default_data_folder_gives_address_and_token() -> None:
    write(Path("layerprune-data"), token="secret", url="http://127.0.0.1:4321")
    assert Address.find() == Address("http://127.0.0.1:4321", "secret")


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPRUNE_URL", "http://env:1")
    monkeypatch.setenv("LAYERPRUNE_TOKEN", "from-env")
    assert Address.find() == Address("http://env:1", "from-env")
    assert Address.find("http://given:2/", "given") == Address("http://given:2", "given")


def test_the_data_folder_can_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path, token="secret")
    monkeypatch.setenv("LAYERPRUNE_DATA", str(tmp_path))
    assert Address.find("http://elsewhere:80").token == "secret"


def test_the_token_of_this_machine_is_not_sent_to_another_by_accident() -> None:
    write(Path("layerprune-data"), token="secret")
    assert Address.find("http://elsewhere:80").token is None


def test_the_token_does_not_show_in_a_traceback() -> None:
    assert "secret" not in repr(Address("http://here", "secret"))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://"])
def test_what_is_no_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(BadInput, match=r"is not the address of a server") as caught:
        Address.find(url)
    assert caught.value.value == url


def test_a_token_with_a_line_break_inside_is_refused_without_showing_it() -> None:
    with pytest.raises(NotAuthenticated) as caught:
        Address.find(token="lp_admin\nX-Evil: 1")
    assert "lp_admin" not in str(caught.value)
