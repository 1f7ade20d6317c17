"""The API page says what the OpenAPI document says."""

from __future__ import annotations

from typing import Any

import pytest

from server.web.apidocs import operations, type_name, types

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/v1/jobs/{job_id}": {
            "get": {
                "operationId": "get_job",
                "summary": "Get Job",
                "parameters": [{"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobView"}}}},
                    "404": {"description": "there is no such thing"},
                },
            }
        },
        "/v1/jobs": {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}}}
                },
                "responses": {},
            }
        },
    },
    "components": {
        "schemas": {
            "JobView": {
                "description": "A job.",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "notes": {"type": "array", "items": {"type": "string"}, "default": []},
                },
            }
        }
    },
}


def test_operations_are_grouped_by_resource() -> None:
    [(group, members)] = operations(DOCUMENT)
    assert group == "jobs"
    assert [(o.method, o.path) for o in members] == [("GET", "/v1/jobs/{job_id}"), ("POST", "/v1/jobs")]


def test_an_operation_names_its_parameters_body_and_answers() -> None:
    [(_, (get, post))] = operations(DOCUMENT)
    assert [(p.name, p.place, p.required, p.type) for p in get.parameters] == [("job_id", "path", True, "string")]
    assert get.answers == (("200", "JobView"), ("404", "there is no such thing"))
    assert post.body == "JobRequest"


def test_a_type_lists_its_fields_with_defaults() -> None:
    [job] = types(DOCUMENT)
    assert [(f.name, f.type, f.required, f.default) for f in job.fields] == [
        ("id", "string", True, ""),
        ("notes", "list of string", False, "[]"),
    ]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"enum": ["layer", "filter"]}, '"layer" | "filter"'),
        ({"const": True}, "true"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "map of number"),
        ({}, "any"),
    ],
)
def test_a_type_is_said_in_a_few_words(schema: dict[str, Any], text: str) -> None:
    assert type_name(schema) == text
