"""The few static files: ours, and plotly.js from the installed package; nothing comes from another host."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from layerprune.api.errors import NotFound

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    # The package's folder is found without importing it: the figures are plain dicts.
    spec = find_spec("plotly")
    assert spec is not None, "plotly is a dependency of the server"
    assert spec.origin is not None, "plotly is an ordinary package"
    ours = {path.name: path for path in FOLDER.iterdir()}
    return ours | {"plotly.min.js": Path(spec.origin).parent / "package_data" / "plotly.min.js"}


@lru_cache(maxsize=32)
def read(name: str) -> bytes:
    """Return a static file; raises NotFound for any name that is not one of them."""
    path = _files().get(name)
    if path is None:
        raise NotFound(f"there is no static file {name!r}", value=name, remedy="Reload the page.")
    return path.read_bytes()


@lru_cache(maxsize=32)
def compressed(name: str) -> bytes:
    """Return a static file, gzipped once: plotly.js is 5 MB otherwise."""
    return gzip.compress(read(name), compresslevel=6, mtime=0)


@lru_cache(maxsize=32)
def version(name: str) -> str:
    """Identify a file's content, so that browsers may keep it for ever."""
    return hashlib.sha256(read(name)).hexdigest()[:12]


def address(name: str) -> str:
    """Return where a page finds the file."""
    return f"/static/{name}?v={version(name)}"


def media_type(name: str) -> str:
    """Return the file's media type."""
    return MEDIA_TYPES[Path(name).suffix]
