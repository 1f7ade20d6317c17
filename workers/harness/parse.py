"""`python -m workers.harness.parse`: what TensorRT makes of networks, asked in a process of its own; needs no GPU.

One JSON object on standard input, `{"library": name or null, "files": [{"file", "builds": [...]}]}`, each build
`{"capability": "8.6", "precision", "batch", "size": null}`. JSON lines on standard output: `library` (its name is null
if none is installed that works here), and per file `file`, `parsed`, a `built` per build, `end`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from .__main__ import die_with
from .backends.tensorrt.building import BuildOptions, Parsed, build, libraries, parse
from .backends.tensorrt.compat import Library
from .errors import HarnessError

Say = Callable[..., None]
NO_DRIVER = "cudaError 35"


def choose(name: Optional[str]) -> Optional[Library]:
    """Find the named library, or the one that builds for GPUs that are not here; None if none can work here."""
    found = [library for library in libraries() if name in (None, library.name)]
    for library in sorted(found, key=lambda one: not one.capabilities):
        try:
            library.builder()
        except HarnessError:
            continue
        return library
    return None


def look(path: Path, builds: Any, library: Library, say: Say) -> None:
    """Parse one file and try its builds."""
    say("file", file=str(path))
    onnx = path.read_bytes()
    try:
        parsed = parse(onnx, library)
    except HarnessError as error:
        parsed, refusals = Parsed(0, {}, []), [{"operator": "", "node": "", "message": error.message}]
    else:
        refusals = [dict(vars(refusal), message=_about_the_network(refusal.message)) for refusal in parsed.refusals]
    say("parsed", file=str(path), layers=parsed.layers, refusals=refusals)
    for number, wanted in enumerate([] if refusals else builds):
        say("built", file=str(path), build=number, outcome=_try(onnx, parsed, wanted, library))
    say("end", file=str(path))


def _about_the_network(said: str) -> str:
    """Leave out that there is no driver here, which comes with the first refusal and has nothing to do with it."""
    lines = [line.strip() for line in said.splitlines() if NO_DRIVER not in line]
    return "; ".join(line for line in lines if line) or said


def _try(onnx: bytes, parsed: Parsed, wanted: Dict[str, Any], library: Library) -> Dict[str, Any]:
    capability = "SM" + wanted["capability"].replace(".", "")
    if capability not in library.capabilities:
        known = ", ".join(library.capabilities) or "the GPU that is here"
        return {
            "unable": "%s %s cannot build for %s; it can for: %s" % (library.name, library.version, capability, known)
        }
    try:
        options = BuildOptions(shape=_shape(parsed, wanted), precision=wanted["precision"], capability=capability)
        engine = build(onnx, library, options)
    except HarnessError as error:
        return {"refusal": error.message}
    return {"seconds": engine.seconds, "engine_bytes": len(engine.plan)}


def _shape(parsed: Parsed, wanted: Dict[str, Any]) -> Tuple[int, ...]:
    """The input's sizes, open ones filled in: the first is the batch, the others height and width."""
    for name, sizes in parsed.inputs.items():
        if any(size < 0 for size in sizes[1:]) and wanted["size"] is None:
            raise HarnessError(
                "bad_input",
                "the input %r leaves more open than the batch: %s" % (name, list(sizes)),
                value=list(sizes),
                remedy="Say how large the images are.",
            )
        filled = [wanted["size"] if size < 0 else size for size in sizes]
        return tuple(([wanted["batch"]] if sizes[0] < 0 else [sizes[0]]) + filled[1:])
    return ()


def main() -> int:
    # The library may print; only our own lines may reach the parent.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(event: str, **fields: Any) -> None:
        channel.write(json.dumps({"event": event, **fields}) + "\n")
        channel.flush()

    request = json.load(sys.stdin)
    die_with(request.get("parent"))
    library = choose(request["library"])
    if library is None:
        say("library", name=None, version=None)
        return 0
    say("library", name=library.name, version=library.version)
    for wanted in request["files"]:
        look(Path(wanted["file"]), wanted["builds"], library, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
