"""The `device check`, `device upload` and `device page` commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from layerprune import proof
from layerprune.api.device_reports import DeviceReport
from layerprune.api.errors import BadInput
from layerprune.cli.app import app
from layerprune.cli.device_page import BEGIN, END, filled
from layerprune.cli.report_text import text_of

DOCS = Path(__file__).parents[3] / "docs"
REPORTS = sorted((DOCS / "hardware").glob("*.json"))
runner = CliRunner()


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as its own process, which ends with its real exit code."""
    command = [sys.executable, "-m", "layerprune.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def read(path: Path) -> DeviceReport:
    return DeviceReport.model_validate_json(path.read_bytes())


def test_a_runtime_that_is_wrong_ends_with_1_and_says_what_to_do(tmp_path: Path) -> None:
    done = run("device", "check", "--backend", "null", "-o", str(tmp_path / "found.json"))
    assert done.returncode == 1, done.stderr
    assert "null 1 on" in done.stdout
    assert "What is wrong, and what to do:" in done.stdout
    assert "null: residual: outputs differ from the reference" in done.stdout
    assert proof.all_problems(read(tmp_path / "found.json"))
    assert (tmp_path / "found.txt").read_text() in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "warp"], "unknown backend 'warp'; known: "),
        (["--trtexec", "/nowhere/trtexec"], "no program that can be run"),
        (["--python", "/nowhere/python3"], "/nowhere/python3"),
        (["--upload"], "--device NAME"),
        (["--limit", "1"], "--limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["device", "check", *arguments])
    assert isinstance(done.exception, (BadInput, SystemExit))
    assert words in f"{done.exception} {done.output}"
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_uploaded_later(url: str, register: Any, admin_token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setenv("LAYERPRUNE_TOKEN", admin_token)
    done = runner.invoke(app, ["device", "upload", str(REPORTS[0]), "--device", "local-cpu", "--url", url])
    assert done.exit_code == 0, done.output
    assert "onnxruntime" in done.output
    assert ": proven" in done.output


def test_an_upload_uses_the_token_of_the_devices_own_worker(
    url: str, register: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAYERPRUNE_TOKEN", raising=False)
    token = tmp_path / "workers" / "local-cpu" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(register().token)
    arguments = ["--device", "local-cpu", "--url", url, "--data", str(tmp_path)]
    done = runner.invoke(app, ["device", "upload", str(REPORTS[0]), *arguments])
    assert done.exit_code == 0, done.output


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"format": "lp-device-report-9"}))
    done = runner.invoke(app, ["device", "upload", str(path), "--device", "x"])
    assert isinstance(done.exception, BadInput)
    assert "no report of 'layerprune device check': format:" in str(done.exception)


def test_the_page_of_what_has_been_run_where_is_up_to_date(tmp_path: Path) -> None:
    written = tmp_path / "hardware.md"
    written.write_text((DOCS / "hardware.md").read_text())
    done = runner.invoke(app, ["device", "page", *map(str, REPORTS), "--into", str(written)])
    assert done.exit_code == 0, done.output
    assert written.read_text() == (DOCS / "hardware.md").read_text(), (
        "run: layerprune device page docs/hardware/*.json --into docs/hardware.md"
    )


def test_runtimes_that_need_no_report_have_one_of_the_projects_own() -> None:
    passed = {
        backend.backend
        for report in map(read, REPORTS)
        for backend in report.backends
        if not proof.problems(backend) and not proof.sensor_problems(report)
    }
    assert set(proof.PROVEN_HERE) <= passed


def test_the_projects_own_reports_bear_out_their_numbers() -> None:
    for path in REPORTS:
        proof.check_numbers(read(path))


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(BadInput, match="does not say where the table belongs"):
        filled("no marks", "table", Path("page.md"))
    assert filled(f"a\n{BEGIN}\nold\n{END}\nb", "new\n", Path("page.md")) == f"a\n{BEGIN}\nnew\n{END}\nb"


def test_the_text_says_for_each_runtime_whether_it_passed() -> None:
    report = read(REPORTS[0])
    text = text_of(report)
    for backend in report.backends:
        assert f"{backend.backend} {backend.version} on {backend.device_model}: passed" in text
    assert "Nothing is wrong." in text
