"""What is shipped: the lock, the wheel, the compose file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_lock_pins_every_package_by_hash_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    requirements = re.findall(r"^(\S+==\S+).*((?:\\\n.*)+)", text, flags=re.MULTILINE)
    assert len(requirements) > 50
    assert all("--hash=sha256:" in hashes for _, hashes in requirements)
    assert "://" not in text


def test_the_wheel_holds_what_the_installed_service_reads(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = [
        *ROOT.glob("server/web/templates/*"),
        *ROOT.glob("server/web/static/*"),
        *ROOT.glob("migrations/**/*.py"),
    ]
    assert packaged
    assert {str(path.relative_to(ROOT)) for path in packaged} <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_compose_file_is_valid() -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed: the compose file was not checked")
    checked = subprocess.run(
        [compose, "--profile", "cpu", "config"],
        cwd=ROOT,
        env={**os.environ, "POSTGRES_PASSWORD": "secret"},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    for service in ("postgres", "server", "worker-cpu"):
        assert f"\n  {service}:" in checked.stdout


def test_the_compose_file_asks_for_the_database_password() -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed: the compose file was not checked")
    environment = {name: value for name, value in os.environ.items() if name != "POSTGRES_PASSWORD"}
    checked = subprocess.run([compose, "config"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert checked.returncode != 0
    assert "POSTGRES_PASSWORD" in checked.stderr
