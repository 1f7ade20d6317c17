"""Small files of the kernel and of the system, below a root that a test may choose."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional


class Files:
    """Small files below an injectable root. What is missing or cannot be read is None, never an error."""

    def __init__(self, root: str = "/") -> None:
        self._root = Path(root)
        self.is_this_machine = self._root == Path("/")

    def text(self, path: str) -> Optional[str]:
        """Return a file's text without surrounding space and without the NUL at the end of device tree strings."""
        try:
            return (self._root / path.lstrip("/")).read_text(errors="replace").strip("\0 \t\n")
        except OSError:
            return None

    def number(self, path: str) -> Optional[int]:
        """Return the whole number in a file; also a file that says something else is None."""
        try:
            return int(self.text(path) or "")
        except ValueError:
            return None

    def find(self, pattern: str) -> List[str]:
        """Return the paths that match a glob pattern, as seen from the root, sorted."""
        return sorted("/" + str(path.relative_to(self._root)) for path in self._root.glob(pattern.lstrip("/")))
