"""Student's distribution against another implementation and against tables."""

from __future__ import annotations

import pytest

from layerprune.stats import Z95, student_quantile, student_tail, t95


def test_factors_agree_with_printed_tables() -> None:
    assert [round(t95(df), 3) for df in (1, 2, 4, 7, 11, 15, 30)] == [12.706, 4.303, 2.776, 2.365, 2.201, 2.131, 2.042]


def test_many_degrees_of_freedom_are_nearly_normal() -> None:
    assert t95(5000) == pytest.approx(Z95, rel=1e-3)


def test_it_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with layerprune[build]")
    for df in (1, 2, 3, 4, 5, 8, 15, 60, 199):
        for alpha in (0.05, 0.03, 0.001):
            assert student_quantile(df, alpha) == pytest.approx(stats.t.ppf(1 - alpha / 2, df), rel=1e-9)
        for t in (0.0, 0.3, 2.0, -2.0, 9.0):
            assert student_tail(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-6, abs=1e-14)
