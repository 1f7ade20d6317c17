"""Static files come from the installation alone."""

from __future__ import annotations

import gzip

import pytest

from layerprune.api.errors import NotFound
from server.web import assets


def test_plotly_comes_from_the_installed_package() -> None:
    assert b"plotly.js" in assets.read("plotly.min.js")[:200]


@pytest.mark.parametrize("name", ["../pages.py", "/etc/passwd", "nothing.js", ""])
def test_any_other_name_is_not_found(name: str) -> None:
    with pytest.raises(NotFound, match="no static file"):
        assets.read(name)


def test_an_address_changes_with_the_content() -> None:
    assert assets.address("style.css") == f"/static/style.css?v={assets.version('style.css')}"
    assert assets.version("style.css") != assets.version("live.js")


def test_the_compressed_file_is_the_same_file() -> None:
    assert gzip.decompress(assets.compressed("live.js")) == assets.read("live.js")
