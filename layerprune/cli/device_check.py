"""The `device check` and `device upload` commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DATA_FOLDER, Data, Json, Url
from .output import console, print_json

if TYPE_CHECKING:
    from ..api.device_reports import DeviceReport, ReportView

REPORT = Path("device-report.json")

Device = Annotated[str | None, typer.Option("--device", help="Name of this device on the server; for --upload.")]


def check(
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", help="Runtime to check; may be repeated.  [default: all here]", show_default=False),
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="Python that has the runtimes, such as /usr/bin/python3 on a Jetson.")
    ] = None,
    trtexec: Annotated[
        Path | None, typer.Option(help="NVIDIA's trtexec.  [default: found where it is installed]", show_default=False)
    ] = None,
    compare: Annotated[
        bool, typer.Option("--trtexec-check/--no-trtexec", help="Compare TensorRT's median with trtexec's.")
    ] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Report to write; a .txt to read lies beside it.")
    ] = REPORT,
    limit: Annotated[float, typer.Option(min=10, max=3600, help="Seconds that it may take.")] = 300,
    upload: Annotated[bool, typer.Option("--upload", help="Send the report to the server.")] = False,
    device: Device = None,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check this machine: three small networks per runtime, their outputs, A/A, trtexec where it is, every sensor.

    Needs no server and takes at most five minutes. Exit code 1 says that something is wrong, and what to do about it.

    Examples: `layerprune device check`, `layerprune device check --backend tensorrt --python /usr/bin/python3`,
    `layerprune device check --upload --device jetson-kitchen`
    """
    from workers import interpreter
    from workers.devicecheck import Checker, Wanted
    from workers.devicecheck.trtexec import find

    from ..proof import all_problems
    from .network_shapes import check_backend
    from .report_text import text_of
    from .timed_files import machine_alone, working_folder

    if upload and not device:
        raise typer.BadParameter("the server knows the device by its name: --device NAME", param_hint="--upload")
    for name in backend or ():
        check_backend(name)
    if python is not None:
        interpreter.check(python)
        os.environ[interpreter.VARIABLE] = python
    find(trtexec)
    progress = console(stderr=True)

    def say(message: str) -> None:
        progress.print(message, style="dim")

    with machine_alone(wait=True, say=say), working_folder() as folder:
        wanted = Wanted(backends=backend or (), trtexec=trtexec, compare=compare, limit_s=limit)
        report = Checker(wanted, folder, say).run()
    text = text_of(report)
    output.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    output.with_suffix(".txt").write_text(text, encoding="utf-8")
    if as_json:
        print_json(report)
    else:
        console().print(text, soft_wrap=True)
    progress.print(f"The report is {output}, and to read {output.with_suffix('.txt')}.", soft_wrap=True)
    if upload and device:
        _send(report, device, url, data)
    if all_problems(report):
        raise typer.Exit(1)


def upload(
    report: Annotated[Path, typer.Argument(help="What `layerprune device check` wrote.", exists=True, dir_okay=False)],
    device: Annotated[str, typer.Option("--device", help="Name of the device on the server.")],
    url: Url = None,
    data: Data = None,
) -> None:
    """Send a report that was made earlier, such as on a board without a network.

    Example: `layerprune device upload device-report.json --device jetson-kitchen`
    """
    _send(read_report(report), device, url, data)


def read_report(path: Path) -> DeviceReport:
    """Read a report; raises BadInput for a file that is none."""
    from pydantic import ValidationError

    from ..api.device_reports import DeviceReport
    from ..api.errors import BadInput

    try:
        return DeviceReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"{path} is no report of 'layerprune device check': {'.'.join(map(str, first['loc']))}: {first['msg']}",
            field="report",
            value=str(path),
            remedy="Name the .json file that the check wrote.",
        ) from error


def _send(report: DeviceReport, device: str, url: str | None, data: Path | None) -> None:
    from ..api.client import Client

    with Client(url, own_token(device, data), data=data) as client:
        view = client.send_device_report(device, report)
    out = console(stderr=True)
    for line in sent(view):
        out.print(line, soft_wrap=True)


def own_token(device: str, data: Path | None) -> str | None:
    """Return the token of the worker that serves the device from this machine, if it has one; it grants enough."""
    from workers.registration import OwnToken

    if os.environ.get("LAYERPRUNE_TOKEN"):
        return None
    return OwnToken((data or DATA_FOLDER) / "workers" / device / "token").find()


def sent(view: ReportView) -> list[str]:
    """Say what an uploaded report proves."""
    lines = [
        f"{proof.backend} {proof.version} on {proof.device_model}: {'proven' if proof.passed else 'not proven'}"
        for proof in view.proofs
    ]
    if view.ranked_rows:
        lines.append(f"{view.ranked_rows} rows that were waiting for this are ranked now.")
    return lines
