"""Run the command line as `python -m layerprune.cli`."""

from __future__ import annotations

from .app import main

main()
