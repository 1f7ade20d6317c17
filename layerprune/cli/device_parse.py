"""The `device parse` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api.errors import BadInput, LayerPruneError
from ..api.wire import Count, Wire
from .options import Json
from .output import console, print_json, table

if TYPE_CHECKING:
    from workers.tasks.parsing import Answer, Parsed

Files = Annotated[list[Path], typer.Argument(help="ONNX files.", show_default=False)]
Sm = Annotated[
    list[int] | None,
    typer.Option(
        "--sm",
        help="Also build an engine for this compute capability, such as 75, 80, 86, 89 or 120; may be given again.",
        show_default=False,
    ),
]
Precision = Annotated[
    str, typer.Option("--precision", help="What to build in: fp32, fp16 or int8, as the file is typed.")
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size", min=1, help="Height and width to build for, where the file leaves them open.", show_default=False
    ),
]
Batch = Annotated[
    int, typer.Option("--batch", min=1, max=1024, help="Batch to build for, where the file leaves it open.")
]


class RefusalRow(Wire):
    """Something that TensorRT does not take; with operator and node empty it is about the network as a whole."""

    operator: str
    node: str
    message: str


class BuildRow(Wire):
    """An engine that was built, or why not."""

    sm: int
    seconds: float
    engine_bytes: Count
    refusal: str | None


class ParsedFile(Wire):
    """What TensorRT made of one file."""

    file: str
    library: str
    version: str
    taken: bool
    layers: Count
    refusals: list[RefusalRow]
    builds: list[BuildRow]


def parse(
    files: Files,
    sm: Sm = None,
    precision: Precision = "fp32",
    batch: Batch = 1,
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Ask TensorRT whether it takes networks, and which operator it refuses; needs no GPU and no server.

    Example: `layerprune device parse model.onnx --sm 86`

    With `--sm` an engine is built, too: some refusals depend on the card, such as float32 products on a 75.
    """
    from workers.tasks.parsing import Build, ask

    for path in files:
        if not path.is_file():
            raise BadInput(f"there is no file {path}", field="files", value=str(path), remedy="Name ONNX files.")
    builds = [Build(f"{one // 10}.{one % 10}", precision, batch, size) for one in sm or []]
    answer = ask(dict.fromkeys(files, builds))
    if answer is None:
        raise LayerPruneError(
            "there is no TensorRT here that works without a GPU",
            remedy="Install it: pip install tensorrt-rtx (x86-64 or aarch64, Python 3.10 or later).",
        )
    for built in (built for parsed in answer.files.values() for built in parsed.builds):
        if built.unable is not None:
            raise BadInput(
                built.unable, field="sm", value=built.build.capability, remedy="Name one of these with --sm."
            )
    rows = [_row(path, answer) for path in files]
    if as_json:
        print_json(rows)
    else:
        _show(rows)
    if not all(row.taken for row in rows):
        raise typer.Exit(1)


def _row(path: Path, answer: Answer) -> ParsedFile:
    parsed: Parsed = answer.files[path]
    return ParsedFile(
        file=str(path),
        library=answer.library,
        version=answer.version,
        taken=not parsed.problems,
        layers=parsed.layers,
        refusals=[RefusalRow(operator=r.operator, node=r.node, message=r.message) for r in parsed.refusals],
        builds=[
            BuildRow(
                sm=int(built.build.capability.replace(".", "")),
                seconds=round(built.seconds, 3),
                engine_bytes=built.engine_bytes,
                refusal=built.refusal,
            )
            for built in parsed.builds
        ],
    )


def _show(rows: list[ParsedFile]) -> None:
    out = console()
    shown = table("file", "layers", "operator", "node", "TensorRT says", right=("layers",), whole=("file",))
    for row in rows:
        if row.taken and not row.builds:
            shown.add_row(row.file, str(row.layers), "", "", "takes it")
        for refusal in row.refusals:
            shown.add_row(row.file, "", refusal.operator, refusal.node, f"refuses: {refusal.message}")
        for built in row.builds:
            made = f"built for {built.sm} in {built.seconds:.1f} s, {built.engine_bytes / 1e6:.1f} MB"
            said = made if built.refusal is None else f"refuses for {built.sm}: {built.refusal}"
            shown.add_row(row.file, str(row.layers), "", "", said)
    out.print(shown)
    if rows:
        out.print(f"By {rows[0].library} {rows[0].version}.", soft_wrap=True)
