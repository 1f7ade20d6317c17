"""The engines that this worker built, in a folder with a cap, so that a network is built once and not in every process.

An engine is native code. The folder belongs to the worker alone, and only what the worker wrote is read from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any, Dict, List, Optional

from ...errors import HarnessError
from .building import Engine

CAP_BYTES = 4 << 30
CAP_SHARE = 0.1
"""The least recently used engines go when all together take more than this, or more than this share of the disk."""


class EngineStore:
    """Engines by key and number: `KEY-NUMBER.plan`, with its digest and facts in `.json` and its timings in `.timings`.

    The timings stay when an engine goes: with them its kernels are chosen again in seconds. Each number has its own,
    because engines that shared them would be one engine built twice.
    """

    def __init__(self, folder: Path, *, cap_bytes: Optional[int] = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        if state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HarnessError(
                "bad_input",
                "the folder of engines %s can be written by others, and engines are native code" % folder,
                value=str(folder),
                remedy="Delete it, or: chown to the worker's user and chmod 700.",
            )
        self._folder = folder
        share = int(shutil.disk_usage(str(folder)).total * CAP_SHARE)
        self._cap_bytes = min(CAP_BYTES, share) if cap_bytes is None else cap_bytes

    def next_number(self, key: str, *, builds: int) -> int:
        """Say which of the builds is due: one that is missing, otherwise the one that was used the longest time ago."""
        used = {}
        for number in range(builds):
            try:
                used[number] = self._path(key, number, "plan").stat().st_mtime_ns
            except FileNotFoundError:
                return number
        return min(used, key=lambda number: (used[number], number))

    def read(self, key: str, number: int) -> Optional[Engine]:
        """Return an engine and mark it as used; None if it is not there or not whole."""
        path = self._path(key, number, "plan")
        try:
            plan, record = path.read_bytes(), json.loads(self._path(key, number, "json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        if record["sha256"] != hashlib.sha256(plan).hexdigest():
            self.drop(key, number)
            return None
        os.utime(str(path))
        return Engine(plan, record["seconds"], record["layers"], b"", record["facts"])

    def timings(self, key: str, number: int) -> bytes:
        """Return the cache of timings of an earlier build, empty if there is none."""
        try:
            return self._path(key, number, "timings").read_bytes()
        except FileNotFoundError:
            return b""

    def write(self, key: str, number: int, engine: Engine) -> None:
        """Keep an engine and its timings, and make room for it."""
        record: Dict[str, Any] = {
            "sha256": hashlib.sha256(engine.plan).hexdigest(),
            "seconds": engine.seconds,
            "layers": engine.layers,
            "facts": engine.facts,
        }
        if engine.cache:
            self._put(self._path(key, number, "timings"), engine.cache)
        self._put(self._path(key, number, "json"), json.dumps(record).encode())
        self._put(self._path(key, number, "plan"), engine.plan)
        self._evict("plan", self._cap_bytes)
        self._evict("timings", self._cap_bytes // 16)

    def drop(self, key: str, number: int) -> None:
        """Forget an engine, such as one that no longer loads; its timings go too."""
        for ending in ("plan", "json", "timings"):
            self._remove(self._path(key, number, ending))

    def _evict(self, ending: str, cap_bytes: int) -> None:
        """Delete the files that were used the longest time ago; the newest stays, however large."""
        found: List[Path] = sorted(self._folder.glob("*." + ending), key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in found)
        for path in found[:-1]:
            if total <= cap_bytes:
                return
            total -= path.stat().st_size
            self._remove(path)
            if ending == "plan":
                self._remove(path.with_suffix(".json"))

    def _put(self, path: Path, content: bytes) -> None:
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        os.replace(str(part), str(path))

    @staticmethod
    def _remove(path: Path) -> None:
        if path.exists():
            path.unlink()

    def _path(self, key: str, number: int, ending: str) -> Path:
        return self._folder / ("%s-%d.%s" % (key, number, ending))
