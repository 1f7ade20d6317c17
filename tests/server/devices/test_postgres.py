"""Rows that wait for a report, and the report, with PostgreSQL as the database."""

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


def test_a_report_ranks_the_rows_that_wait_for_it(client: Any, measured: Any, record: Any) -> None:
    board = {"job": measured["id"]}
    assert client.get("/v1/leaderboard", params=board).json()["unranked"][0]["rows"] == 4
    sent = client.post("/v1/devices/local-cpu/reports", json=record)
    assert sent.status_code == 201, sent.text
    assert client.post("/v1/devices/local-cpu/reports", json=record).json()["id"] == sent.json()["id"]
    found = client.get("/v1/leaderboard", params=board).json()
    assert (len(found["rows"]), found["unranked"]) == (5, [])
