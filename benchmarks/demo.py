"""What the demo's wall time goes into: the demo's own job, in a fresh data folder, against the time inside its phases.

    python benchmarks/demo.py [--data DIR]

"Inside" is the time that tasks spend training, scoring, exporting, evaluating and measuring, as they report it; all
else (starting, imports, transfers, the database, waiting) is overhead. The clock runs from the first process to the end
of the job, without installation.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

from layerprune.cli.demo import request
from layerprune.cli.memory import tree_bytes
from layerprune.cli.stack import Stack
from layerprune.cli.watch import is_measuring


def run(data: Path) -> None:
    """Run the demo's job once and print the table."""
    began = time.monotonic()
    peak = 0
    with Stack(data, "127.0.0.1", 0, say=print) as stack, stack.client() as client:
        started_s = time.monotonic() - began
        submitted = client.submit(request())
        for job in client.follow(submitted.id, wait_s=2):
            stack.check()
            if is_measuring(job):
                time.sleep(4)  # as the demo does: looking must not disturb what is timed
            else:
                peak = max(peak, tree_bytes(os.getpid()) or 0)
        wall_s = time.monotonic() - began
    if job.state != "done":
        raise SystemExit(f"the job ended as {job.state}: {job.message}")
    inside_s = sum(job.seconds.values())
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print("| phase | seconds | share of the wall time |\n|---|---|---|")
    for phase, seconds in sorted(job.seconds.items(), key=lambda item: -item[1]):
        print(f"| {phase} | {seconds:.1f} | {seconds / wall_s:.0%} |")
    print(f"| starting server and worker | {started_s:.1f} | {started_s / wall_s:.0%} |")
    rest_s = wall_s - inside_s - started_s
    print(f"| imports, transfers, waiting | {rest_s:.1f} | {rest_s / wall_s:.0%} |")
    print(f"\nWall time {wall_s:.0f} s, {wall_s / inside_s:.2f} times the time inside; ", end="")
    print(f"memory at most {peak / 2**30:.2f} GiB in all processes.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a fresh folder; default: a temporary one")
    arguments = parser.parse_args()
    if arguments.data is None:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
    else:
        run(arguments.data)
