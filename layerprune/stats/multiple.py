"""Several comparisons at once: the risk of even one false "different" among them is held at 5 %.

Source: Holm (1979), which holds for any dependence between the comparisons. Ratios to one base are dependent.
"""

from __future__ import annotations

from collections.abc import Sequence

RISK = 0.05
"""The probability that a leaderboard or a comparison whose members do not differ calls any two of them different."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return each p-value as it counts among all of them; those of at most RISK are shown, whatever the others are.

    The smallest of m counts m times, the next m - 1 times, and so on, and none less than one before it.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, before = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        before = min(1.0, max(before, (len(order) - rank) * p_values[i]))
        adjusted[i] = before
    return adjusted
