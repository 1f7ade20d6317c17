"""A program that puts one backend to the contract of workers/harness/backends/base.py, in a process of its own.

`python contract.py BACKEND`, with one JSON object on standard input: the files to load, a folder for arrays and the
size of an image. It prints what it saw as JSON; the test beside it judges.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# Beside this file lie folders that are called like runtimes.
sys.path.pop(0)

import numpy as np

from workers.harness.backends import load_backend
from workers.harness.backends.base import Backend, Options, Session
from workers.harness.errors import HarnessError


def load(backend: Backend, path: str, *, batch: int = 1, size: int, **options: Any) -> Session:
    shape = (batch, 3, size, size)
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    content = Path(path).read_bytes()
    return backend.load(
        content, shape=shape, threads=1, precision=backend.precisions[0], data=data, options=Options(**options)
    )


def refusal(backend: Backend, path: str, *, size: int, **options: Any) -> dict[str, Any] | None:
    try:
        load(backend, path, size=size, **options).infer(np.zeros((1, 3, size, size), np.float32))
    except HarnessError as error:
        return error.to_dict()
    return None


def main() -> None:
    asked = json.load(sys.stdin)
    # Runtimes may print.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        backend = load_backend(sys.argv[1])
    except HarnessError as error:
        channel.write(json.dumps({"absent": error.message}))
        return
    folder, size = Path(asked["folder"]), asked["size"]
    batches = asked["batches"][-1:] if "compile" in backend.name else asked["batches"]
    seen: dict[str, Any] = {
        "name": backend.name,
        "version": backend.version,
        "precisions": backend.precisions,
        "max_opset": backend.max_opset,
        "settings": sorted(backend.settings),
        "flags": backend.flags(),
        "hardware": backend.hardware(),
        "refusals": {name: refusal(backend, path, size=size) for name, path in asked["bad"].items()},
        "other size": refusal(backend, asked["good"], size=2 * size),
        "unknown setting": refusal(backend, asked["good"], size=size, settings={"warp": True}),
        "sessions": {},
    }
    for batch in batches:
        images = np.load(folder / f"images-{batch}.npy")
        session = load(backend, asked["good"], batch=batch, size=size)
        before = backend.clock()
        session.run()
        after = backend.clock()
        parts = session.parts_ns()
        first = session.infer(images)
        session.infer(np.zeros_like(images))
        session.run()
        again = session.infer(images)
        np.save(folder / f"outputs-{batch}.npy", first)
        seen["sessions"][batch] = {
            "run_ns": after - before,
            "parts": session.parts,
            "parts_ns": parts,
            "facts": session.facts,
            "repeats": bool(np.array_equal(first, again)),
            "dtype": str(first.dtype),
        }
        session.close()
    channel.write(json.dumps(seen))
    channel.close()


if __name__ == "__main__":
    main()
