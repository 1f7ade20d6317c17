"""The `login` command."""

from __future__ import annotations

from .options import Data, Url, connect
from .output import console


def login(url: Url = None, data: Data = None) -> None:
    """Print a link that signs one browser in, once, within ten minutes.

    Example: `layerprune login`
    """
    with connect(url, data) as client:
        console().print(client.create_login_link(), soft_wrap=True)
