"""From what the user typed to a checked request, with errors that name the field."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ..api.errors import BadInput
from ..api.jobs import JobRequest
from ..api.wire import Wire

W = TypeVar("W", bound=Wire)


def parsed(kind: type[W], values: Any) -> W:
    """Check values against a wire type; the first thing that is wrong becomes our error."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        place = f"{field}: " if field else ""
        raise BadInput(
            f"{place}{what} (it is {first['input']!r})" if field else what,
            field=field or None,
            value=first["input"],
            remedy="Change it and try again; 'layerprune submit --help' and the server's /docs say what is allowed.",
        ) from error


def read_request(path: Path) -> JobRequest:
    """Read a job request from a JSON file, or from standard input if the name is '-'."""
    return parsed(JobRequest, read_json(path, "a request"))


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file, or standard input if the name is '-'."""
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"cannot read {what} from {path}: {error}",
            field="file",
            value=str(path),
            remedy='Give a JSON file; a request looks like {"model": {"name": "cifar:resnet20"}, "dataset": '
            '{"name": "digits"}}, a preprocessing like {"size": 224, "mean": [0.5, ...], "std": [0.5, ...]}.',
        ) from error


def read_schedule(text: str | None) -> dict[str, Any] | None:
    """Read 'one_shot', 'iterative' or 'iterative:STEPS'."""
    if text is None:
        return None
    kind, _, steps = text.partition(":")
    return {"kind": kind, "steps": steps or None}


def read_settings(texts: list[str] | None) -> dict[str, Any] | None:
    """Read settings of runtimes, each as RUNTIME.NAME=VALUE."""
    settings: dict[str, dict[str, Any]] = {}
    for text in texts or ():
        name, value = read_argument(text)
        backend, dot, setting = name.partition(".")
        if not dot or not backend or not setting:
            raise BadInput(f"{text!r} is not RUNTIME.NAME=VALUE", field="setting", value=text)
        settings.setdefault(backend, {})[setting] = value
    return settings or None


def read_argument(text: str) -> tuple[str, int | float | str | bool]:
    """Read NAME=VALUE, where the value is a number, true, false or text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadInput(f"{text!r} is not NAME=VALUE", field="arg", value=text)
    if value in ("true", "false"):
        return name, value == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def names(text: str | None) -> list[str] | None:
    """Split 'a,b' into its names; None if nothing was given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def compact(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was not given, at every depth, so that the server's defaults hold."""
    inner = {name: compact(value) if isinstance(value, dict) else value for name, value in values.items()}
    return {name: value for name, value in inner.items() if value is not None and value != {}}
