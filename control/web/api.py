"""The API's router: finds out who calls, reads what was sent, and answers in one form.

The rule: nothing is read from a stranger.  The token comes before the body, and every refusal is
problem details from the one table of errors.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web
from pydantic import BaseModel

from control.accounts.signin import Caller, signed_in
from control.web.problem import HEADERS, problem
from control.web.request import Call, bearer, parsed
from control.web.routes import PREFIX, Answer, OpenRoute, Page, Route, Services
from control.web.table import OPEN_ROUTES, ROUTES
from zentransfer.errors import Error

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HOUR_MS = 3_600_000


def routes(services: Services) -> list[web.RouteDef]:
    """Return the routes of the API, to be added to an application."""
    known = [
        web.route(route.method, PREFIX + route.path, _endpoint(services, route)) for route in ROUTES
    ]
    return known + [web.get(PREFIX + one.path, _open_endpoint(one)) for one in OPEN_ROUTES]


def _endpoint(services: Services, route: Route) -> Endpoint:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        try:
            now_ms = services.clock.now_ms()
            caller = await _caller(services, request, now_ms)
            body = await parsed(request, route.takes) if route.takes is not None else None
            answer = await route.handle(services, Call(request, caller, now_ms, body))
        except Error as refused:
            return problem(refused, request)
        return _answered(answer, route)

    return endpoint


def _open_endpoint(route: OpenRoute) -> Endpoint:
    async def endpoint(_: web.Request) -> web.StreamResponse:
        return route.handle()

    return endpoint


async def _caller(services: Services, request: web.Request, now_ms: int) -> Caller:
    """Return who calls, and note once an hour that they did; raises ``Error(UNAUTHENTICATED)``."""
    token = bearer(request)
    async with services.database.read() as uow:
        caller = await signed_in(token, uow, now_ms, services.tools.keys)
    if now_ms // _HOUR_MS > (caller.last_used_ms or 0) // _HOUR_MS:
        with suppress(Error):  # a note that cannot be made now is no reason to refuse
            async with services.database.write() as uow:
                await uow.accounts.used({caller.credential_id: now_ms})
    return caller


def _answered(answer: Answer, route: Route) -> web.StreamResponse:
    match answer:
        case web.StreamResponse():
            return answer
        case None:
            return web.Response(status=route.status, headers=HEADERS)
        case Page():
            items = [one.model_dump(mode="json") for one in answer.items]
            return _json({"items": items, "next": answer.next}, route)
        case BaseModel():
            return _json(answer.model_dump(mode="json"), route)


def _json(document: dict[str, object], route: Route) -> web.Response:
    return web.Response(
        status=route.status,
        text=json.dumps(document) + "\n",
        content_type=route.media,
        headers=HEADERS,
    )
