"""The `layerprune` command; each command imports what it needs when it runs, so that help and completion are quick."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
