"""Replace the file paths in a result by the digests under which the files were uploaded."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from layerprune.api.tasks import Artifact
from layerprune.api.wire import Wire

W = TypeVar("W", bound=Wire)


def replace_artifacts(result: W, digest_of: Callable[[str], str]) -> W:
    """Return the result with `digest_of(path)` in every field, at any depth, whose declared type is Artifact.

    The types alone decide, so a new kind of result needs no change here.
    """
    hints = get_type_hints(type(result), include_extras=True)
    return result.model_copy(
        update={name: _replaced(getattr(result, name), hints[name], digest_of) for name in type(result).model_fields}
    )


def _replaced(value: Any, hint: Any, digest_of: Callable[[str], str]) -> Any:
    if value is None:
        return None
    if hint == Artifact:
        return digest_of(value)
    if isinstance(value, Wire):
        return replace_artifacts(value, digest_of)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _replaced(value, arguments[0], digest_of)
    if origin in (Union, types.UnionType):
        artifact = next((argument for argument in arguments if argument == Artifact), None)
        return _replaced(value, artifact, digest_of) if artifact is not None else value
    if origin is list:
        return [_replaced(item, arguments[0], digest_of) for item in value]
    if origin is dict:
        return {key: _replaced(item, arguments[1], digest_of) for key, item in value.items()}
    return value
