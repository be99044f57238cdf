"""The OpenAPI 3.1 document of the API, made from the table of routes."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from control.web.bodies import ProblemBody
from control.web.routes import PREFIX, OpenRoute, Route
from zentransfer.limits import API_CURSOR_CHARS_MAX, PAGE_ITEMS, PAGE_ITEMS_MAX

_PARAMETER: Final = re.compile(r"{(\w+)}")
_REFERENCE: Final = "#/components/schemas/{model}"
_PAGE_PARAMETERS: Final = (
    {
        "name": "limit",
        "in": "query",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": PAGE_ITEMS_MAX,
            "default": PAGE_ITEMS,
        },
    },
    {
        "name": "cursor",
        "in": "query",
        "schema": {"type": "string", "maxLength": API_CURSOR_CHARS_MAX},
        "description": "`next` of the page before",
    },
)


def document(routes: Sequence[Route], open_routes: Sequence[OpenRoute]) -> dict[str, Any]:
    """Return the document (OpenAPI Specification 3.1.0) as a JSON object."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    for one in open_routes:
        paths.setdefault(one.path, {})["get"] = _open_operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ZenTransfer",
            "version": "1",
            "description": "Destinations, workflows, credentials and uploads of one account.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(routes),
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {
            str(route.status.value): _answer(route),
            "default": _content("A refusal", "application/problem+json", ProblemBody),
        },
    }
    parameters = [*named, *(_PAGE_PARAMETERS if route.is_page else ())]
    if parameters:
        operation["parameters"] = parameters
    if route.takes is not None:
        content = _content("", "application/json", route.takes)["content"]
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _open_operation(route: OpenRoute) -> dict[str, Any]:
    return {
        "operationId": route.name,
        "summary": route.summary,
        "security": [],
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    }


def _answer(route: Route) -> dict[str, Any]:
    phrase = route.status.phrase
    if route.gives is None:
        is_empty = route.media == "application/json"
        content: dict[str, Any] = {route.media: {"schema": {"type": "string"}}}
        return {"description": phrase} | ({} if is_empty else {"content": content})
    if not route.is_page:
        return _content(phrase, route.media, route.gives)
    page = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": _reference(route.gives)},
            "next": {"type": ["string", "null"]},
        },
    }
    return {"description": phrase, "content": {route.media: {"schema": page}}}


def _content(description: str, media: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": _reference(model)}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _schemas(routes: Sequence[Route]) -> dict[str, Any]:
    used = {model for route in routes for model in (route.takes, route.gives) if model is not None}
    models = sorted(used | {ProblemBody}, key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas
