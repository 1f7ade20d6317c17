"""Does a worker install and measure on aarch64? A real one, in a Debian for that architecture, emulated.

    sudo .venv/bin/python benchmarks/aarch64.py --folder /tmp/aarch64 --output benchmarks/results/aarch64.md

Needs root on an x86-64 Debian (it mounts and changes roots, all undone at the end), Debian's archive and PyPI; 600 MB
of disk and about ten minutes. Nothing is installed on this machine. What is in the folder is not fetched again.

A server and a build worker run here; the measuring worker runs inside, dials out like any other, and takes the tasks of
a small job. Speed means nothing there; such rows must never enter a leaderboard, which the job shows too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from layerprune.api.client import Client
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import JobRequest, JobView, MeasureSpec
from layerprune.api.network import ModelSpec
from layerprune.api.pruning import PruningSpec
from layerprune.api.training import TrainingSpec
from layerprune.api.workers import DeviceSpec
from layerprune.cli.stack import Stack

REPOSITORY = Path(__file__).resolve().parent.parent
DEVICE = "emulated-aarch64"
DEBIAN_PACKAGES = ("base-files", "python3", "libstdc++6")
RUNTIME = "onnxruntime==1.23.2"
"""Later ones die with a segmentation fault at import under Debian's emulator (qemu 7.2)."""
BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = "layerprune-aarch64"
ELF = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
"""What a 64-bit little-endian ELF program for AArch64 (machine 0xb7) starts with."""
REGISTERED_S = 300
QUERY = """
SELECT variant.label, measurement.p50_ns, measurement.n_samples, measurement.correct, measurement.n_images,
       measurement.output_difference, measurement.emulated, measurement.ranked, conditions.key
FROM measurement JOIN variant ON variant.id = variant_id JOIN conditions ON conditions.id = conditions_id
ORDER BY measurement.id
"""


def run(*command: str | Path, **how: str | Path) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **how)  # type: ignore[call-overload]


def fetch_debian(folder: Path, packages: tuple[str, ...], architecture: str, target: Path) -> None:
    """Unpack Debian packages, with all that they need, into a folder; apt's own state on this machine is left alone."""
    if target.exists():
        return
    state = folder / f"apt-{architecture}"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    run(*apt, "update")
    run(*apt, "install", "--yes", "--no-install-recommends", "--download-only", *packages)
    unpacked = target.with_suffix(".part")
    for package in sorted((state / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, unpacked], check=True)
    unpacked.rename(target)


def install_worker(folder: Path, root: Path) -> None:
    """Install this repository's wheel with the runtime, as a device would, from wheels for aarch64 alone."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source, dist = folder / "source", folder / "dist"
    for old in (source, dist):
        shutil.rmtree(old, ignore_errors=True)
    # Of a copy, because setuptools builds in the source tree.
    shutil.copytree(REPOSITORY, source, ignore=shutil.ignore_patterns(".*", "tests", "benchmarks", "*-data"))
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, source)
    (wheel,) = dist.glob("layerprune-*.whl")
    platforms = [f"--platform={name}_aarch64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    target = root / "opt/layerprune"
    shutil.rmtree(target, ignore_errors=True)
    run(*pip, "install", "--target", target, *platforms, "--python-version=3.11", "--only-binary=:all:", wheel, RUNTIME)


@contextmanager
def emulator(program: Path) -> Iterator[None]:
    """Have the kernel start programs for aarch64 with the emulator, until the end."""
    mounted = not (BINFMT / "register").exists()
    if mounted:
        run("mount", "-t", "binfmt_misc", "none", BINFMT)
    try:
        # F: the kernel opens the emulator now, so that it is found from inside another root, too.
        (BINFMT / "register").write_text(f":{HANDLER}:M::{ELF}:{MASK}:{program}:F")
        yield
    finally:
        if (BINFMT / HANDLER).exists():
            (BINFMT / HANDLER).write_text("-1")
        if mounted:
            run("umount", BINFMT)


def inside(root: Path, *arguments: str) -> list[str]:
    """Return the command that runs Python inside, with mounts of its own that vanish with it."""
    mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /sys {root}/sys", f"mount --rbind /dev {root}/dev"]
    script = " && ".join([*mounts, f'exec chroot {root} /usr/bin/python3 "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *arguments]


@contextmanager
def worker_inside(root: Path, client: Client, log: Path) -> Iterator[Mapping[str, object]]:
    """Have a measuring worker run inside; gives the facts with which it registered."""
    token = client.create_device(DeviceSpec(name=DEVICE)).registration_token
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "PYTHONPATH": "/opt/layerprune",
        "LAYERPRUNE_URL": client.url,
        "LAYERPRUNE_TOKEN": token,
        "LAYERPRUNE_DATA": "/var/lib/layerprune",
        "LAYERPRUNE_LOCK_DIR": "/run/lock/layerprune",
    }
    command = inside(root, "-m", "layerprune.cli", "worker", "--roles", "measure", "--device", DEVICE)
    with log.open("wb") as out:
        worker = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + REGISTERED_S
        while True:
            device = next(one for one in client.list_devices() if one.name == DEVICE)
            if device.online and device.backends:
                break
            if worker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the worker did not register: {log.read_text()[-3000:]}")
            time.sleep(0.5)
        yield device.facts
    finally:
        worker.terminate()
        worker.wait()


def request() -> JobRequest:
    return JobRequest(
        model=ModelSpec(name="cifar:resnet20"),
        dataset=DatasetSpec(name="digits"),
        pruning=PruningSpec(methods=["layer"], criteria=["weight_l1"], amounts=[0.5]),
        training=TrainingSpec(epochs=1),
        measure=MeasureSpec(devices=[DEVICE], budget="quick"),
    )


def measure(root: Path, data: Path) -> tuple[Mapping[str, object], JobView, list[sqlite3.Row], int, float]:
    """Run the job; returns the device's facts, the job, the measured rows, the leaderboard's total, and seconds."""
    with Stack(data, "127.0.0.1", 0, say=print) as stack, stack.client() as client:
        began = time.monotonic()
        with worker_inside(root, client, data / "worker-inside.log") as facts:
            print(f"registered after {time.monotonic() - began:.0f} s:", json.dumps(facts), flush=True)
            submitted = client.submit(request())
            for job in client.follow(submitted.id, wait_s=5):
                stack.check()
                print(f"{time.monotonic() - began:5.0f} s: {job.state}, {job.progress:.0%}", flush=True)
        if job.state != "done":
            raise SystemExit(f"the job {job.state}: {job.message}")
        spent_s = time.monotonic() - began
        total = client.get_leaderboard(job=job.id).total
        with sqlite3.connect(data / "layerprune.db") as database:
            database.row_factory = sqlite3.Row
            rows = database.execute(QUERY).fetchall()
    return facts, job, rows, total, spent_s


def size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def report(
    root: Path, facts: Mapping[str, object], job: JobView, rows: list[sqlite3.Row], total: int, spent_s: float
) -> str:
    key = json.loads(rows[0]["key"]) if rows else {}
    size = size_mb(root / "opt/layerprune")
    lines = [
        "# A worker on aarch64, under user-mode emulation",
        "",
        "```\nsudo .venv/bin/python benchmarks/aarch64.py --output benchmarks/results/aarch64.md\n```",
        "",
        f"Emulated on {platform.machine()} ({os.cpu_count()} processors) by Debian's qemu-user-static. Inside:",
        f"{facts['os']}, {RUNTIME.replace('==', ' ')}, {size:.0f} MB for the worker with all that it needs.",
        "",
        "| | |",
        "|---|---|",
        f"| the worker says of itself | architecture {facts['architecture']}, emulated on {facts.get('emulated')} |",
        f"| the job | {job.state}, in {spent_s:.0f} s with the worker's start |",
        f"| runtime in the conditions | {key.get('runtime')} {key.get('runtime_version')}, {key.get('architecture')} |",
        f"| measured rows | {len(rows)}, of which {sum(row['ranked'] for row in rows)} ranked |",
        f"| rows in the leaderboard | {total} |",
        "",
        "| variant | p50, ms | samples | correct | largest difference to the build worker's outputs |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['label']} | {row['p50_ns'] / 1e6:.1f} | {row['n_samples']} | {row['correct']} of {row['n_images']} |"
        f" {row['output_difference']:.1e} |"
        for row in rows
    ]
    return "\n".join(
        [
            *lines,
            "",
            "The first two rows are the base and the same again, as in every measurement. The latencies are those of",
            "the emulator and mean nothing; outputs and accuracy are real.",
            "",
        ]
    )


def main(folder: Path, output: Path | None) -> None:
    if os.geteuid() != 0 or platform.machine() != "x86_64" or shutil.which("apt-get") is None:
        raise SystemExit("this needs root on an x86-64 Debian: it mounts, and starts a worker inside another root")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    host, root = folder / "host", folder / "root"
    fetch_debian(folder, ("qemu-user-static",), "amd64", host)
    fetch_debian(folder, DEBIAN_PACKAGES, "arm64", root)
    for part in ("proc", "sys", "dev", "run/lock", "tmp", "var/lib", "root"):
        (root / part).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "var/lib/layerprune", ignore_errors=True)
    install_worker(folder, root)
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    with emulator(host / "usr/bin/qemu-aarch64-static"):
        text = report(root, *measure(root, data))
    print("\n" + text)
    if output is not None:
        output.write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/layerprune-aarch64"), help="what is fetched stays here"
    )
    parser.add_argument("--output", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.output)
