"""``GET /route``: the nearest regions for whoever asks, on control and on every node.

The rule: the client's own address decides, it is looked up in memory, and it is neither kept nor
logged.  An address in the header ``ZT-Lab-Client`` counts only where the lab's setting allows it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from geo.answer import Doors, answer
from geo.choose import Choice, choose
from geo.health import ALL_UP, Health
from geo.load import IDLE, Load
from geo.mmdb import DatabaseError, Locator, open_database
from geo.network import Address, network_of, parse
from geo.region import Region
from geo.settings import Route
from zentransfer.errors import Code, Error, problem
from zentransfer.service import CannotStart

PATH: Final = "/route"
LAB_HEADER: Final = "ZT-Lab-Client"

_HEADERS: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Router:
    """What an answer stands on; without a *locator* the stated default order serves."""

    doors: dict[Region, Doors]
    locator: Locator | None
    is_lab: bool
    health: Callable[[], Health] = lambda: ALL_UP

    def routes(self) -> list[web.RouteDef]:
        """Return the route of this door."""

        async def route(request: web.Request) -> web.Response:
            return await self.ask(request)

        return [web.get(PATH, route)]

    async def ask(self, request: web.Request, pin: Region | None = None) -> web.Response:
        """Answer with the regions for the client, or with its account's *pin*.

        400 for a lab's address that is none.
        """
        try:
            choice = self.choice(request, pin)
        except Error as wrong:
            return _json(problem(wrong), wrong.reply.http, "application/problem+json")
        sources = () if self.locator is None else self.locator.sources
        lines = sorted({source.attribution for source in sources if source.attribution})
        return _json(answer(choice, self.doors, lines), 200, "application/json")

    def choice(self, request: web.Request, pin: Region | None = None, load: Load = IDLE) -> Choice:
        """Return the regions for the client; raises ``Error(INVALID)`` for a lab's bad address."""
        address, locator = self._address(request), self.locator
        return choose(
            None if address is None else network_of(address),
            pin=pin,
            location=None if locator is None or address is None else locator.locate(address),
            health=self.health(),
            load=load,
        )

    def _address(self, request: web.Request) -> Address | None:
        told = request.headers.get(LAB_HEADER)
        if told is not None:
            if not self.is_lab:
                raise Error(Code.INVALID, f"{LAB_HEADER} is for a lab; leave it out")
            return parse(told)
        return parse(request.remote) if request.remote else None


def router(settings: Route, *, is_lab: bool, health: Callable[[], Health]) -> Router:
    """Return the router that *settings* describe; raises :class:`CannotStart`."""
    doors = {region: Doors(url, settings.ftp.get(region)) for region, url in settings.http.items()}
    return Router(doors, _opened(settings.database), is_lab, health)


def _opened(database: Path | None) -> Locator | None:
    if database is None:
        return None
    try:
        return open_database(database)
    except DatabaseError as exc:
        raise CannotStart(
            f"The address database {exc.path} cannot be used: {exc.problem}.",
            f"{exc.cure[:1].upper()}{exc.cure[1:]}, or leave out route.database.",
        ) from exc


def _json(document: object, status: int, media: str) -> web.Response:
    return web.Response(
        status=status, text=json.dumps(document) + "\n", content_type=media, headers=_HEADERS
    )
