"""The same job, leaderboard and comparison with PostgreSQL as the database."""

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


def test_a_job_is_measured_listed_and_compared(
    scripted: Any, submit: Any, client: Any, subtests: pytest.Subtests
) -> None:
    job = submit()
    scripted.run()
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done"
    for params, expected in (
        ({}, 5),
        ({"criterion": "imprinting"}, 1),
        ({"method": "filter", "max_latency_ms": 0.9, "min_accuracy": 0.5}, 2),
        ({"front": True, "device": "local-cpu"}, 1),
    ):
        with subtests.test(str(params)):
            found = client.get("/v1/leaderboard", params=params).json()
            assert found["total"] == len(found["rows"]) == expected
    first = client.get("/v1/leaderboard", params={"limit": 3}).json()
    second = client.get("/v1/leaderboard", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert len({row["measurement"] for row in first["rows"] + second["rows"]}) == 5
    comparison = client.get(f"/v1/jobs/{job['id']}/comparison").json()
    assert [duel["verdict"] for duel in comparison["devices"][0]["targets"][0]["duels"]] == ["tied"] * 3
    assert "rule of thumb" not in submit()["estimate"]["basis"]
