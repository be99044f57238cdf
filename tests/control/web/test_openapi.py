import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from control.web import api
from control.web.openapi import document
from control.web.routes import PREFIX
from control.web.table import OPEN_ROUTES, ROUTES
from tests.control.web.serving import served
from tests.support.real_loop import real_loop

DOCUMENT = document(ROUTES, OPEN_ROUTES)
NOBODYS: Any = None  # the router is only looked at
METHODS = {"get", "post", "put", "patch", "delete"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def everything_in(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from everything_in(child)


def test_the_document_and_the_router_hold_the_same_verbs() -> None:
    app = web.Application()
    app.add_routes(api.routes(NOBODYS))
    routed = {
        (route.method.lower(), route.resource.canonical.removeprefix(PREFIX))
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert {(method, path) for method, path, _ in operations()} == routed
    assert {method for method, _ in routed} <= METHODS


def test_every_verb_has_a_name_of_its_own_and_says_how_it_refuses() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for _, path, operation in operations():
        assert operation["summary"]
        named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert {"{" + name + "}" for name in named} == {
            part for part in path.split("/") if part.startswith("{")
        }
        if operation.get("security") != []:
            refusal = operation["responses"]["default"]["content"]
            assert refusal.keys() == {"application/problem+json"}


def test_every_reference_leads_to_a_schema_and_every_schema_is_used() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    used = {
        value["$ref"].removeprefix("#/components/schemas/")
        for value in everything_in(DOCUMENT)
        if isinstance(value, dict) and "$ref" in value
    }
    assert used == schemas.keys()


def test_bodies_are_closed() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if schema["type"] == "object" and name != "ProblemBody":
            assert schema["additionalProperties"] is False, name


def test_the_document_is_served_to_everybody() -> None:
    async def run() -> None:
        async with served() as desk:
            status, shown = await desk.call("GET", "/openapi.json", None)
            assert (status, shown) == (200, json.loads(json.dumps(DOCUMENT)))
            assert shown["openapi"] == "3.1.0"
            assert shown["servers"] == [{"url": PREFIX}]

    real_loop(run())
