"""The HTTP door's handlers: from a request to the intake, and from its word to a response.

The rule: a handler translates and decides nothing.  What is refused is refused before the body is
asked for, and a refusal whose body was not read closes the connection.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from aiohttp import web

from edge.facts import Outcome
from edge.http import cors, multipart, plain, tus
from edge.http.exchange import ask_for_body, response, say_nothing, wanted
from edge.http.form import Form
from edge.http.problem import Answer, refusal
from edge.intake import Intake
from edge.pace import Patience
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.sealed_name import FileName

_STRETCH_MAX: Final = 2.0
_CODES: Final = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}  # of what has no route

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
        path = plain.PREFIX + "{name:(?s:.*)}"
        return [
            web.put(path, self.put, expect_handler=say_nothing),
            web.post(path, self.post, expect_handler=say_nothing),
        ]

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Take one file; 201 when it is whole and durable, with its outcome."""
        return await self._answered(request, self._take)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take one file, or all files of a form, each with an outcome of its own."""
        is_form = multipart.is_form(request.headers.get("Content-Type", ""))
        return await self._answered(request, self._take_form if is_form else self._take)

    async def _answered(
        self, request: web.Request, take: Callable[[web.Request], Awaitable[Answer]]
    ) -> web.StreamResponse:
        more = cors.headers_for(request.headers, plain.VERBS)
        try:
            return response(request, await take(request), more)
        except Error as error:
            return response(request, refusal(error, self._stretch()), more)

    async def _take(self, request: web.Request) -> Answer:
        asked = wanted(request, request.content_length, self._clock.now_ms())
        async with self._intake.take(asked) as taking:
            await taking.begin(plain.incoming(request.raw_path, request.headers, asked.length))
            await taking.receive(await ask_for_body(request), self._patience)
            return plain.created(await taking.commit(), taking.digest())

    async def _take_form(self, request: web.Request) -> Answer:
        asked = wanted(request, None, self._clock.now_ms())
        self._intake.admitted(asked)  # before the body is asked for; each file is asked anew
        folder = multipart.form_folder(request.raw_path)
        boundary = multipart.boundary_of(request.headers.get("Content-Type", ""))
        form = Form(await ask_for_body(request), boundary, self._patience)
        taken: list[tuple[Outcome, FileName]] = []
        failure: Error | None = None
        try:
            while (part := await form.next_file()) is not None:
                incoming = multipart.form_file(folder, part)
                async with self._intake.take(asked) as taking:
                    await taking.begin(incoming)
                    await taking.receive(form, self._patience)
                    taken.append((await taking.commit(), incoming.name))
        except Error as error:
            failure = error
        if not taken and failure is None:
            failure = Error(Code.INVALID, "the form has no file: a file is a part with a filename")
        return multipart.form_taken(taken, failure, self._stretch())

    def _stretch(self) -> float:
        return self._random.uniform(1.0, _STRETCH_MAX)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse, for every path of the door, what is not meant for it; and say each fault our way.

    What aiohttp answers by itself, and what is a fault of ours, is said as the path's dialect says
    it, without a word of the peer's.
    """
    more: dict[str, str] = {}
    try:
        plain.check_target(request.raw_path, request.headers)
        return await handler(request)
    except Error as error:
        failure = error
    except web.HTTPException as answer:
        if answer.status not in _CODES:
            raise
        failure = Error(_CODES[answer.status])
        more = {name: answer.headers[name] for name in ("Allow",) if name in answer.headers}
    except ConnectionError:  # nobody is there to hear it
        raise
    except Exception as fault:  # noqa: BLE001 - the rim of a request: the others go on
        log.error("http.failed", fault)
        failure = Error(Code.INTERNAL)
    if request.writer.output_size > 0:
        raise ConnectionError("the answer has begun; only a cut tells the peer")
    is_tus = tus.is_ours(request.raw_path)
    return response(request, tus.refusal(failure) if is_tus else refusal(failure), more)
