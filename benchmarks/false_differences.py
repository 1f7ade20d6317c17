"""How often a leaderboard of twenty copies of the base calls anything different, by the estimator that is in use.

    python benchmarks/false_differences.py [--boards 400] [--output benchmarks/results/false_differences.md]

Every board is simulated down to single samples: four groups, each with its own base and five variants, one process of
16 cycles with two blocks of six samples, as `quick` takes them. Latency is 1 ms times noise of three kinds: of single
samples (exponential, 3 %), of blocks (1 %, and 1 % of samples), or of whole cycles of one session (1 %, and 1 % of
samples). Ratios are those of `layerprune.stats.ratio`, by bootstrap with 200 resamples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from layerprune.samples import Block, ProcessSamples, SampleSet
from layerprune.stats import RISK, holm, p_value, ratio, ratios, wilson

GROUPS, PER_GROUP, CYCLES, SAMPLES = 4, 5, 16, 6
RESAMPLES = 200
KINDS = {"samples": (0.0, 0.0, 0.03), "blocks": (0.0, 0.01, 0.01), "whole cycles": (0.01, 0.0, 0.01)}
"""Noise of cycles, blocks and samples, as fractions."""


def session(rng: np.random.Generator, noise: tuple[float, float, float]) -> SampleSet:
    """One session of one process."""
    of_cycles, of_blocks, of_samples = noise
    blocks = []
    for cycle in range(CYCLES):
        level = rng.normal(0, of_cycles)
        for position in (0, 1):
            own = level + rng.normal(0, of_blocks)
            values = 1e6 * np.exp(own + of_samples * rng.exponential(1, SAMPLES))
            blocks.append(Block(cycle, position, values.astype(np.int64)))
    return SampleSet((ProcessSamples(tuple(blocks), 50),))


def board(rng: np.random.Generator, noise: tuple[float, float, float]) -> list[float]:
    """The p-values of twenty variants that are all as fast as their bases."""
    found = []
    for _ in range(GROUPS):
        base = session(rng, noise)
        found += [p_value(ratio(session(rng, noise), base, seed=int(rng.integers(2**31)))) for _ in range(PER_GROUP)]
    return found


def share(count: int, of: int) -> str:
    value, low, high = wilson(count, of)
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def run(boards: int) -> str:
    """Return the table; the same number of boards always gives the same numbers."""
    ratios.RESAMPLES = RESAMPLES
    lines = [
        f"{boards} boards of {GROUPS * PER_GROUP} variants that do not differ, 95 % intervals; aim: 5 % of boards.\n",
        "| noise of | boards with a false difference, by Holm | without any correction | single variants |",
        "|---|---|---|---|",
    ]
    for kind, noise in KINDS.items():
        rng = np.random.default_rng(0)
        found = [board(rng, noise) for _ in range(boards)]
        held = sum(min(holm(one)) <= RISK for one in found)
        loose = sum(min(one) <= RISK for one in found)
        single = sum(p <= RISK for one in found for p in one)
        lines.append(
            f"| {kind} | {share(held, boards)} | {share(loose, boards)} | {share(single, boards * len(found[0]))} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=400)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    table = run(options.boards)
    if options.output:
        options.output.write_text(table)
