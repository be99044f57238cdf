"""The HTTP door's handlers: from a request to the intake, and from its word to a response.

The rule: a handler translates and decides nothing.  What is refused is refused before the body is
asked for, and a refusal whose body was not read closes the connection.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from aiohttp import web

from edge.http import plain, tus
from edge.http.exchange import ask_for_body, response, say_nothing, wanted
from edge.http.problem import Answer, refusal
from edge.intake import Intake
from edge.pace import Patience
from zentransfer.clock import Clock
from zentransfer.errors import Error

_STRETCH_MAX: Final = 2.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """The upload verbs of one listener."""

    def __init__(self, intake: Intake, patience: Patience, clock: Clock, random: Random) -> None:
        self._intake = intake
        self._patience = patience
        self._clock = clock
        self._random = random

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the door."""
        return [web.put(plain.PREFIX + "{name:(?s:.*)}", self.put, expect_handler=say_nothing)]

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Take one file; 201 when it is whole and durable, with its outcome."""
        try:
            return response(request, await self._put(request))
        except Error as error:
            stretch = self._random.uniform(1.0, _STRETCH_MAX)
            return response(request, refusal(error, stretch))

    async def _put(self, request: web.Request) -> Answer:
        asked = wanted(request, request.content_length, self._clock.now_ms())
        async with self._intake.take(asked) as taking:
            await taking.begin(plain.incoming(request.raw_path, request.headers, asked.length))
            await taking.receive(await ask_for_body(request), self._patience)
            return plain.created(await taking.commit(), taking.digest())


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse, for every path of the door, what is not meant for it."""
    try:
        plain.check_target(request.raw_path, request.headers)
    except Error as error:
        answer = tus.refusal(error) if tus.is_ours(request.raw_path) else refusal(error)
        return response(request, answer)
    return await handler(request)
