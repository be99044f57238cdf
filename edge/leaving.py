"""How an ingest process leaves its doors, so that no request is lost.

The rule: who was let in is served.  First no new connection is taken; then, for a moment, those
that were accepted and not read yet are served as ever, and each answer ends its connection, so that
clients come back to whoever serves next; only then is a request refused.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from zentransfer.limits import LEAVE_GRACE_S

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Leaving:
    """The doors of one process, and whether they are shut."""

    def __init__(self) -> None:
        self._shut: list[Callable[[], Awaitable[None]]] = []
        self._has_begun = False

    def shuts(self, shut: Callable[[], Awaitable[None]]) -> None:
        """Call *shut*, which takes no more connections, when it begins."""
        self._shut.append(shut)

    async def run(self) -> None:
        """Shut every door; returns when nobody waits behind one any more."""
        self._has_begun = True
        for shut in self._shut:
            await shut()
        await asyncio.sleep(LEAVE_GRACE_S)

    def middleware(self) -> Middleware:
        """Return the middleware that lets answers end their connections from then on."""

        @web.middleware
        async def ending(request: web.Request, handler: _Handler) -> web.StreamResponse:
            answer = await handler(request)
            if self._has_begun:
                answer.force_close()
            return answer

        return ending
