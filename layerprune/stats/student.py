"""Student's t distribution for whole degrees of freedom, in closed form (Abramowitz and Stegun 26.7.3 and 26.7.4)."""

from __future__ import annotations

import math
from functools import lru_cache

Z95 = 1.959963984540054


def student_tail(t: float, df: int) -> float:
    """Return the probability that a Student variable with `df` degrees of freedom is further from 0 than `t`."""
    angle = math.atan(abs(t) / math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    if df % 2:
        term = cosine if df > 1 else 0.0
        total = term
        for k in range(1, (df - 1) // 2):
            term *= 2 * k / (2 * k + 1) * cosine**2
            total += term
        inside = 2 / math.pi * (angle + sine * total)
    else:
        term = total = 1.0
        for k in range(1, df // 2):
            term *= (2 * k - 1) / (2 * k) * cosine**2
            total += term
        inside = sine * total
    return min(1.0, max(0.0, 1 - inside))


@lru_cache(maxsize=1024)
def student_quantile(df: int, alpha: float) -> float:
    """Return the factor of a two-sided Student interval that misses with probability `alpha`."""
    low, high = 0.0, 1.0
    while student_tail(high, df) > alpha:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, df) > alpha else (low, middle)
    return (low + high) / 2


def t95(df: int) -> float:
    """Return the factor of a two-sided 95 % Student interval with `df` degrees of freedom."""
    return student_quantile(df, 0.05)
