"""A job with a search, a trial and a rival, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.config import Settings

pytestmark = pytest.mark.postgres


@pytest.fixture
def settings(tmp_path: Path, empty_postgres: Callable[[], str]) -> Settings:
    return Settings(data=tmp_path / "data", database_url=empty_postgres(), port=0)


def test_a_job_with_every_stage_runs_to_its_end(scripted: Any, searching: Any, submit: Any, client: Any) -> None:
    searching.found = [0.8, 0.69]
    pruning = {"methods": ["layer", "hybrid"], "criteria": ["weight_l1"], "targets": {"latency_ratios": [0.7]}}
    job = submit(pruning=pruning | {"max_trainings": 2}, rivals=[{"name": "cifar:resnet20"}])
    scripted.run()
    view = client.get(f"/v1/jobs/{job['id']}").json()
    assert view["state"] == "done", view["message"]
    kinds = [task["kind"] for task in view["tasks"]]
    assert kinds == ["score", "sweep", "search", "sweep", "search", "sweep", "trial", "build", "build", "measure"]
