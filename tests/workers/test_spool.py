from __future__ import annotations

import os
from pathlib import Path

from layerprune.api.workers import FailureReport, ResultReport
from workers.spool import KEEP_S, Report, Spool

RESULT = Report(attempt_id="a1", lease_token="secret", result=ResultReport(attempt_no=1, result={"n": 540}))
FAILURE = Report(attempt_id="a2", lease_token="secret", failure=FailureReport(attempt_no=2, reason="oom", message="no"))


def test_reports_outlive_the_worker(tmp_path: Path) -> None:
    Spool(tmp_path).put(RESULT)
    Spool(tmp_path).put(FAILURE)
    assert {report.attempt_id: report for _, report in Spool(tmp_path)} == {"a1": RESULT, "a2": FAILURE}


def test_a_half_written_report_is_ignored(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / "a3.part").write_text('{"attempt_id": "a3"')
    assert list(spool) == []


def test_a_report_that_cannot_be_read_is_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (unreadable := tmp_path / "a3.json").write_text('{"attempt_id": "a3"}')
    assert list(spool) == []
    assert not unreadable.exists()


def test_a_report_is_kept_for_a_day(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.put(RESULT)
    long_ago = path.stat().st_mtime - KEEP_S - 1
    os.utime(path, (long_ago, long_ago))
    assert list(spool) == []


def test_only_the_user_reads_reports(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").put(RESULT)
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
