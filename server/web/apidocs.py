"""The OpenAPI document as a page can show it: operations by resource, and the types they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "patch", "head")


@dataclass(frozen=True)
class Value:
    """A parameter or a type's field."""

    name: str
    type: str
    required: bool
    description: str
    default: str = ""
    place: str = ""


@dataclass(frozen=True)
class Operation:
    """One method on one path."""

    id: str
    method: str
    path: str
    description: str
    parameters: tuple[Value, ...]
    body: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Type:
    """A named schema."""

    name: str
    description: str
    fields: tuple[Value, ...]


def operations(document: Schema) -> list[tuple[str, list[Operation]]]:
    """List the operations by resource, the first segment of the path below the version."""
    groups: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        group = next((part for part in path.split("/") if part and part != "v1"), path)
        for method in METHODS:
            if method in item:
                groups.setdefault(group, []).append(_operation(method, path, item[method]))
    return sorted(groups.items())


def types(document: Schema) -> list[Type]:
    """List the named types."""
    schemas = document.get("components", {}).get("schemas", {})
    return [
        Type(name, schema.get("description", ""), tuple(_fields(schema))) for name, schema in sorted(schemas.items())
    ]


def type_name(schema: Schema) -> str:
    """Say a schema's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " | ".join(type_name(part) for part in schema[key])
    if schema.get("type") == "array":
        return f"list of {type_name(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {type_name(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def _operation(method: str, path: str, operation: Schema) -> Operation:
    parameters = (
        Value(
            name=parameter["name"],
            type=type_name(parameter.get("schema", {})),
            required=parameter.get("required", False),
            description=parameter.get("description") or parameter.get("schema", {}).get("description", ""),
            place=parameter["in"],
        )
        for parameter in operation.get("parameters", ())
    )
    answers = ((status, _content(answer)) for status, answer in operation.get("responses", {}).items())
    return Operation(
        id=operation.get("operationId", f"{method}-{path}"),
        method=method.upper(),
        path=path,
        description=operation.get("description") or operation.get("summary", ""),
        parameters=tuple(parameters),
        body=_content(operation.get("requestBody", {})),
        answers=tuple(answers),
    )


def _content(holder: Schema) -> str:
    for media_type, content in holder.get("content", {}).items():
        schema = content.get("schema", {})
        return type_name(schema) if schema else str(media_type)
    return str(holder.get("description", ""))


def _fields(schema: Schema) -> list[Value]:
    required = schema.get("required", ())
    return [
        Value(
            name=name,
            type=type_name(field),
            required=name in required,
            description=field.get("description", ""),
            default=json.dumps(field["default"]) if "default" in field else "",
        )
        for name, field in schema.get("properties", {}).items()
    ]
