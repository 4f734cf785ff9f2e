"""The OpenAPI document, made of the routes and of the dataclasses that they answer with. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fleet.problem import PROBLEM_TYPE
from records.api.answers import adapter
from records.api.problem import PROBLEMS

OPENAPI = "3.1.0"
_REFS = "#/components/schemas/{model}"
_REFUSALS = (400, 401, 403, 404, 503)


@dataclass(frozen=True)
class Operation:
    """One path and method. `answers` is a dataclass, or None for an answer without JSON."""

    method: str
    path: str
    summary: str
    answers: type[Any] | None
    query: tuple[str, ...] = ()
    is_file: bool = False


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The document (OpenAPI 3.1) of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Problem": _problem()}
    for operation in operations:
        described = _described(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Trunkline: the record of calls",
            "version": version,
            "description": "Calls, live and past, with what was said, measured and spent.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An admin token, or an API key for the calls of its tenant.",
                }
            },
        },
    }


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    named = [_parameter(name, "path") for name in re.findall(r"{(\w+)}", operation.path)]
    asked = [_parameter(name, "query") for name in operation.query]
    return {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "parameters": named + asked,
        "responses": {**_good(operation, schemas), **_refusals()},
    }


def _good(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    if operation.is_file:
        content = {"application/octet-stream": {"schema": {"type": "string"}}}
        return {"200": {"description": operation.summary, "content": content}}
    if operation.answers is None:
        return {"204": {"description": operation.summary}}
    schema = adapter(operation.answers).json_schema(mode="serialization", ref_template=_REFS)
    schemas |= schema.pop("$defs", {})
    name = operation.answers.__name__
    schemas[name] = schema
    content = {"application/json": {"schema": {"$ref": _REFS.format(model=name)}}}
    return {"200": {"description": operation.summary, "content": content}}


def _refusals() -> dict[str, Any]:
    content = {PROBLEM_TYPE: {"schema": {"$ref": _REFS.format(model="Problem")}}}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status in _REFUSALS
    }


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": "string"},
    }


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path.removeprefix("/v1/"))
    return "_".join([operation.method.lower(), *words])


def _problem() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": sorted(PROBLEMS)},
            "error": {"type": "object", "description": "on paths for clients of OpenAI"},
        },
    }
