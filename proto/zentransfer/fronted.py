"""HTTP listeners behind a front that ends TLS or spreads the load: HAProxy, Caddy, a cloud's own.

The rule: a request that came through a trusted front has its client's address and scheme, before
any handler sees it; one from anybody else has its own, whatever its headers say.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import Field, field_validator

from zentransfer.errors import Error
from zentransfer.front import (
    Address,
    Client,
    Network,
    forwarded_client,
    is_trusted,
    maybe_header,
)
from zentransfer.health import PlainHandler
from zentransfer.settings import Group

_FIELDS: Final = ("forwarded", "x-forwarded-for", "x-forwarded-proto")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Saying(StrEnum):
    """How a front says who it speaks for."""

    HEADERS = "headers"
    PROXY = "proxy"


class Front(Group):
    """Which fronts are believed, and what they send; none by default."""

    networks: tuple[str, ...] = Field(
        default=(), description="networks of the fronts that are believed, such as 10.1.0.0/24"
    )
    saying: Saying = Field(
        default=Saying.HEADERS,
        description="headers: Forwarded or X-Forwarded-*; proxy: the PROXY protocol, 1 or 2",
    )

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, told: tuple[str, ...]) -> tuple[str, ...]:
        for each in told:
            ip_network(each)  # raises ValueError, which says what is wrong with it
        return told


def kind(front: Front) -> type[PlainHandler]:
    """Return what handles a connection at a listener behind *front*."""
    if not front.networks or front.saying is not Saying.PROXY:
        return PlainHandler

    class Behind(_ProxyHandler):
        __slots__ = ()
        networks = _networks(front)

    return Behind


def middleware(front: Front) -> Middleware:
    """Return the middleware that gives each request its client's address and scheme."""
    networks = _networks(front)

    @web.middleware
    async def behind(request: web.Request, handler: _Handler) -> web.StreamResponse:
        client = _client(request, networks)
        return await handler(request if client is None else _as_sent(request, client))

    return behind


def _networks(front: Front) -> tuple[Network, ...]:
    return tuple(ip_network(each) for each in front.networks)


def _client(request: web.Request, networks: tuple[Network, ...]) -> Client | None:
    if not networks:
        return None
    if isinstance(request.protocol, _ProxyHandler):
        return request.protocol.client
    headers = {name: request.headers.getall(name, ()) for name in _FIELDS}
    return forwarded_client(_maybe_address(request.remote), headers, networks)


def _as_sent(request: web.Request, client: Client) -> web.Request:
    remote = "" if client.address is None else str(client.address)  # "": nobody knows
    return request.clone(remote=remote, scheme="https" if client.is_tls else request.scheme)


def _maybe_address(text: str | None) -> Address | None:
    try:
        return None if text is None else ip_address(text)
    except ValueError:  # a zone behind it, or no internet socket at all
        return None


class _ProxyHandler(PlainHandler):
    """A connection of which a front says first who it speaks for."""

    __slots__ = ("_before", "client")
    networks: tuple[Network, ...] = ()
    """Where the fronts are."""

    def connection_made(self, transport: object) -> None:
        """Wait for the header if a front calls; others have none to send."""
        super().connection_made(transport)  # type: ignore[arg-type]  # as asyncio declares it
        self.client: Client | None = None
        assert self.transport is not None
        peer: tuple[str, int] | None = self.transport.get_extra_info("peername")
        address = None if peer is None else _maybe_address(peer[0])
        is_front = is_trusted(address, self.networks)
        self._before: bytes | None = b"" if is_front else None

    def data_received(self, data: bytes) -> None:
        """Read the header first, then what it stands before."""
        if self._before is None:
            super().data_received(data)
            return
        self._before += data
        try:
            header = maybe_header(self._before)
        except Error:
            self.force_close()
            return
        if header is None:
            return
        data, self._before = self._before[header.size :], None
        self.client = header.client
        if data:
            super().data_received(data)
