"""The HTTP door's handlers for tus: about as many lines a verb as it has words.

The rule: a handler translates and decides nothing; and an address is told only when the upload is
durable, an offset only when its bytes are.
"""

from dataclasses import replace
from random import Random
from typing import Final

from aiohttp import web

from edge.capability import Capabilities
from edge.http import cors, tus
from edge.http.exchange import (
    ask_for_body,
    at_host,
    hang_up,
    is_there,
    response,
    say_nothing,
    wanted,
)
from edge.http.problem import Answer
from edge.http.tus import Standing
from edge.pace import Patience
from edge.resumable import Resumables
from edge.resuming import Resuming, Wanted
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import UPLOAD_BYTES_MAX

_STRETCH_MAX: Final = 2.0
_NEVER_WAS: Final = UploadID("up_" + "a" * 26)


class TusDoor:
    """The tus collection of one listener."""

    def __init__(
        self,
        resumables: Resumables,
        capabilities: Capabilities,
        patience: Patience,
        clock: Clock,
        random: Random,
    ) -> None:
        self._resumables = resumables
        self._capabilities = capabilities
        self._patience = patience
        self._clock = clock
        self._random = random

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the collection and of every upload in it."""
        paths = (tus.PREFIX.rstrip("/"), tus.PREFIX + "{capability:.*}")
        return [web.route("*", path, self.serve, expect_handler=say_nothing) for path in paths]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Do what the client asks for, or say why not."""
        verbs = tus.UPLOAD_VERBS if self._shown(request) else tus.COLLECTION_VERBS
        more = cors.headers_for(request.headers, verbs)
        try:
            answer = await self._answer(request)
        except Error as error:
            answer = tus.refusal(error, self._random.uniform(1.0, _STRETCH_MAX))
            if error.code is Code.METHOD_NOT_ALLOWED:  # RFC 9110 section 15.5.6
                more["Allow"] = ", ".join(verbs)
            if error.code is Code.SUPERSEDED:
                hang_up(request)
        return response(request, answer, more)

    async def _answer(self, request: web.Request) -> Answer:
        verb = tus.verb(request.method, request.headers)
        if verb == "OPTIONS":
            return tus.options(self._size_max())
        tus.check_version(request.headers)
        shown = self._shown(request)
        match verb, bool(shown):
            case "POST", False:
                return await self._create(request)
            case "HEAD", True:
                return await self._look(request, shown)
            case "PATCH", True:
                return await self._append(request, shown)
            case "DELETE", True:
                return await self._terminate(request, shown)
            case _:
                raise Error(Code.METHOD_NOT_ALLOWED)

    async def _create(self, request: web.Request) -> Answer:
        has_body = request.can_read_body
        incoming = tus.incoming(request.headers, has_body=has_body)
        partials = tuple(self._upload(shown) for shown in tus.partials(request.headers))
        incoming = replace(incoming, partials=partials)
        length = request.content_length if incoming.length is None else incoming.length
        asked = wanted(request, length, self._clock.now_ms())
        async with self._resumables.create(asked) as taking:
            upload = await taking.begin(incoming)
            if has_body:
                tus.check_fits(0, request.content_length, incoming.length)
                body, check = await ask_for_body(request), tus.check(request.headers)
                await taking.receive(body, self._patience, check)
            standing = await self._settled(taking)
        capability = self._capabilities.of(upload)
        host, scheme = at_host(request)
        return tus.created(capability, standing, has_body=has_body, host=host, scheme=scheme)

    async def _look(self, request: web.Request, shown: str) -> Answer:
        asked = wanted(request, None, self._clock.now_ms())
        upload = Wanted(self._upload(shown), tus.DIALECT)
        async with self._resumables.attach(asked, upload) as taking:
            known = taking.known
            if taking.is_complete:  # and if its sender was cut before the commit, it comes now
                await taking.commit()
            standing = _standing(taking)
        return tus.found(replace(standing, metadata=known.metadata, concat=known.concat))

    async def _append(self, request: web.Request, shown: str) -> Answer:
        append = tus.append(request.headers)
        asked = wanted(request, request.content_length, self._clock.now_ms())
        upload = Wanted(
            self._upload(shown),
            tus.DIALECT,
            adds=True,
            is_checked=append.check is not None,
            offset=append.offset,
            is_there=lambda: is_there(request),
        )
        async with self._resumables.attach(asked, upload) as taking:
            taking.expect(append.offset)
            if append.length is not None:
                await taking.announce(append.length)
            tus.check_fits(append.offset, request.content_length, taking.length)
            await taking.receive(await ask_for_body(request), self._patience, append.check)
            standing = await self._settled(taking)
            is_partial = taking.is_partial and taking.is_complete
        if is_partial:  # perhaps it is the last one that another waits for
            await self._resumables.join(upload.upload)
        return tus.appended(standing)

    async def _terminate(self, request: web.Request, shown: str) -> Answer:
        asked = wanted(request, None, self._clock.now_ms())
        upload = Wanted(self._upload(shown), tus.DIALECT, claims=False)
        async with self._resumables.attach(asked, upload) as taking:
            await taking.terminate()
            return tus.terminated()

    async def _settled(self, taking: Resuming) -> Standing:
        """Make durable what came, the commit too if that is all; returns where it stands."""
        await (taking.commit() if taking.is_complete else taking.keep())
        return _standing(taking)

    def _upload(self, shown: str) -> UploadID:
        """Return the upload that *shown* stands for; for nobody's one that never was.

        So who asks is asked first, and a stranger does not learn which addresses are well formed.
        """
        try:
            return self._capabilities.upload(shown)
        except Error:
            return _NEVER_WAS

    def _size_max(self) -> int:
        snapshot = self._resumables.intake.tools.snapshots.current
        knob = None if snapshot is None else snapshot.knob("upload_bytes_max", UPLOAD_BYTES_MAX)
        return UPLOAD_BYTES_MAX if knob is None else knob

    def _shown(self, request: web.Request) -> str:
        return tus.shown_capability(request.raw_path)


def _standing(taking: Resuming) -> Standing:
    is_waiting = taking.is_final and not taking.is_complete  # T106: no offset until it is done
    offset = None if is_waiting else taking.offset
    upload = None if taking.is_partial else taking.upload  # its owner never hears of it
    return Standing(offset, taking.length, upload=upload, expires_ms=taking.expires_ms)
