"""Refuse what would be passed over in silence or break later.

Unknown query parameters; JSON that Python reads but no database stores: NaN, infinity, NUL, half of a surrogate pair.
"""

from __future__ import annotations

import json
from typing import NoReturn

from fastapi import Request

from layerprune.api.errors import BadInput

SUSPECT = (b"NaN", b"Infinity", b"\\u0000", b"\\ud", b"\\uD")


async def refuse_unstorable(request: Request) -> None:
    """Look at the JSON body of a route that has one, before any of it is used.

    Raises BadInput naming the offending value.
    """
    if getattr(request.scope.get("route"), "body_field", None) is None:
        return
    body = await request.body()
    if not any(mark in body for mark in SUSPECT):
        return
    content = json.loads(body, parse_constant=_refuse_constant)
    text = json.dumps(content, ensure_ascii=False)
    if "\\u0000" in text.replace("\\\\", ""):
        raise BadInput("text must not contain the character NUL", value="\\u0000")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        broken = text[error.start : error.end].encode("unicode-escape").decode()
        raise BadInput(f"text must not contain half of a surrogate pair: {broken}", value=broken) from error


async def refuse_unknown_query(request: Request) -> None:
    """Refuse a query parameter that the API's route does not know: a misspelt filter would filter nothing.

    Raises BadInput naming the parameter and the known ones. The pages read their own addresses.
    """
    if not request.query_params:
        return
    path = getattr(request.scope.get("route"), "path_format", "")
    operation = request.app.openapi()["paths"].get(path, {}).get(request.method.lower())
    if operation is None:
        return
    known = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
    for name, value in request.query_params.items():
        if name not in known:
            raise BadInput(
                f"unknown query parameter {name!r}; known: {', '.join(sorted(known)) or 'none'}",
                field=name,
                value=value,
                remedy=f"Remove {name!r} or correct its spelling.",
                code="extra_forbidden",
            )


def _refuse_constant(name: str) -> NoReturn:
    raise BadInput(f"numbers must be finite, not {name}", value=name, code="finite_number")
