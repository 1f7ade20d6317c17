from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerprune.cli.memory import tree_bytes

MIB = 1024**2


def process(proc: Path, pid: int, parent: int, *, pss_kib: int | None = None, pages: int = 0) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "stat").write_text(f"{pid} (a (strange) name) S {parent} 1 1 0")
    (folder / "statm").write_text(f"999999 {pages} 1 1 0 1 0")
    if pss_kib is not None:
        (folder / "smaps_rollup").write_text(f"Rss: 999999 kB\nPss:  {pss_kib} kB\n")


def test_a_tree_is_counted_with_grandchildren_and_without_strangers(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, pss_kib=100)
    process(tmp_path, 11, 10, pss_kib=20)
    process(tmp_path, 12, 11, pss_kib=3)
    process(tmp_path, 99, 1, pss_kib=50_000)
    assert tree_bytes(10, proc=tmp_path) == 123 * 1024


def test_without_shares_the_resident_pages_count(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, pages=7)
    assert tree_bytes(10, proc=tmp_path) == 7 * os.sysconf("SC_PAGE_SIZE")


def test_where_there_is_no_proc_nothing_is_said(tmp_path: Path) -> None:
    assert tree_bytes(10, proc=tmp_path / "missing") is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_real_child_counts() -> None:
    code = f"block = bytearray(b'x') * {64 * MIB}; print('ready', flush=True); input()"
    before = tree_bytes(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = tree_bytes(os.getpid())
        child.communicate("\n")
    assert before is not None
    assert after is not None
    assert after - before > 60 * MIB
