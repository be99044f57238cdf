from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from geo.answer import Doors
from geo.health import Health
from geo.mmdb import Locator, MemoryLocator
from geo.region import Location, Place, Region
from geo.settings import Route
from geo.web import LAB_HEADER, Router, router
from tests.support.real_loop import real_loop
from zentransfer import health
from zentransfer.service import CannotStart

DOORS = {region: Doors(f"http://{region}.example") for region in Region}
WORLD = MemoryLocator(
    {
        ip_network("203.0.113.0/24"): Location("SG", Place(1.3, 103.8)),
        ip_network("198.51.100.0/24"): Location("US", Place(40.7, -74.0)),
        ip_network("127.0.0.0/8"): Location("FR", Place(48.9, 2.4)),
    }
)


@asynccontextmanager
async def served(of: Router) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(of.routes())
    runner = health.http_runner(app)
    await runner.setup()
    listener = health.listen("127.0.0.1", 0, "route")
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/route"
    finally:
        await runner.cleanup()


def asked(of: Router, client: str | None = None) -> tuple[int, dict[str, Any]]:
    async def ask() -> tuple[int, dict[str, Any]]:
        headers = {} if client is None else {LAB_HEADER: client}
        async with (
            served(of) as url,
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers) as response,
        ):
            assert response.headers["Cache-Control"] == "no-store"
            return response.status, await response.json(content_type=None)

    return real_loop(ask())


def order(of: Router, client: str | None = None) -> list[str]:
    status, document = asked(of, client)
    assert status == 200
    return [one["region"] for one in document["regions"]]


def lab(locator: Locator | None = WORLD, up: frozenset[Region] = frozenset(Region)) -> Router:
    return Router(DOORS, locator, is_lab=True, health=lambda: Health(up))


def test_who_asks_is_sent_to_the_nearest_region() -> None:
    assert order(lab())[0] == "fr"  # by its own address, 127.0.0.1
    assert order(lab(), "203.0.113.7")[0] == "sg"
    assert order(lab(), "198.51.100.7")[0] == "us"


def test_a_region_that_is_down_comes_last() -> None:
    up = frozenset((Region.US, Region.FR))
    assert order(lab(up=up), "203.0.113.7")[-1] == "sg"
    assert asked(lab(up=up))[1]["marks"] == ["down:sg"]


def test_without_a_database_the_stated_order_serves() -> None:
    status, document = asked(lab(locator=None), "203.0.113.7")
    assert (status, document["reason"]) == (200, "default")
    assert [one["region"] for one in document["regions"]] == ["fr", "us", "sg"]


def test_outside_a_lab_nobody_says_where_he_is() -> None:
    closed = Router(DOORS, WORLD, is_lab=False)
    status, document = asked(closed, "203.0.113.7")
    assert status == 400
    assert "203.0.113" not in str(document)
    assert order(closed)[0] == "fr"


def test_a_malformed_address_is_refused_with_what_to_type() -> None:
    status, document = asked(lab(), "somewhere")
    assert status == 400
    assert "203.0.113.9" in document["detail"]
    assert "somewhere" not in str(document)


def test_a_database_that_cannot_be_read_is_named_at_the_start(tmp_path: Any) -> None:
    missing = Route(database=tmp_path / "none.mmdb")
    with pytest.raises(CannotStart, match="no such file"):
        router(missing, is_lab=False, health=Health)
