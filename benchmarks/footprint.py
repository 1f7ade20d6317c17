"""What a worker without torch takes: installed size with ONNX Runtime, and resident memory when it is idle.

    python benchmarks/footprint.py [--output FILE]

Installs the project from this checkout with the extra `onnxruntime` into an empty environment, registers a measuring
worker at a server of this environment, waits until it claims, and reads the resident memory of all its processes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import psutil
from interleaved import machine

from layerprune.cli.stack import Stack

ROOT = Path(__file__).parent.parent
PATIENCE_S, IDLE_S = 60.0, 20


def tree_bytes(folder: Path) -> int:
    """Bytes on the disk below a folder, each file once."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_symlink())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=False)
        empty = tree_bytes(folder / "env")
        install = [sys.executable, "-m", "pip", "--python", str(folder / "env/bin/python"), "install", "--quiet"]
        subprocess.run([*install, "--no-compile", f"{ROOT}[onnxruntime]"], check=True)
        installed = tree_bytes(folder / "env") - empty
        parts = {path.name: tree_bytes(path) for path in (folder / "env").glob("lib/python*/site-packages/*")}
        with Stack(folder / "data", "127.0.0.1", 0, say=lambda _: None) as stack, stack.client() as client:
            command = [str(folder / "env/bin/layerprune"), "worker", "--roles", "measure", "--device", "small"]
            command += ["--url", client.url, "--data", str(folder / "worker")]
            token = (folder / "data/admin-token").read_text().strip()
            with subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", "LAYERPRUNE_TOKEN": token}) as worker:
                try:
                    until = time.monotonic() + PATIENCE_S
                    while not any(device.name == "small" for device in client.list_devices()):
                        if worker.poll() is not None or time.monotonic() > until:
                            raise SystemExit("the worker did not register")
                        time.sleep(0.5)
                    resident = []
                    for _ in range(IDLE_S):
                        time.sleep(1)
                        process = psutil.Process(worker.pid)
                        tree = [process, *process.children(recursive=True)]
                        resident.append(sum(one.memory_info().rss for one in tree))
                finally:
                    worker.terminate()
    lines = [
        machine(),
        "",
        "| what | MB (10^6 bytes) |",
        "|---|---|",
        f"| installed, with ONNX Runtime | {installed / 1e6:.0f} |",
        *(f"| of that {part} | {size / 1e6:.0f} |" for part, size in sorted(parts.items(), key=lambda x: -x[1])[:6]),
        f"| resident when idle, median of {IDLE_S} s, all processes | {statistics.median(resident) / 1e6:.0f} |",
    ]
    print("\n".join(lines))
    if asked.output is not None:
        asked.output.write_text(
            "# A worker without torch\n\n`python benchmarks/footprint.py`\n\n" + "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
