"""Who may do what: every route of the router, by everybody.

A route without a line here fails: nobody has thought about who may use it.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from control.accounts.model import Account, CredentialKind
from control.uploads.model import DeliveryState
from control.web import api
from control.web.routes import PREFIX
from tests.control.builders import NOW_MS, delivery_change, fixed, outcome
from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer.ids import Kind

ID = "{id}"


@dataclass(frozen=True)
class Line:
    """How one route is called: what its id names, what it is sent, what its owner gets."""

    status: int
    names: str = ""
    body: dict[str, Any] | None = None
    is_open: bool = False
    streams: bool = False


FOLDER = {"kind": "folder", "label": "Desk", "address": "/srv/a"}
BUCKET = {
    "kind": "s3",
    "label": "Bucket",
    "address": "s3://bucket",
    "access_key_id": "id",
    "secret_access_key": "key",
}
SECRET = {"version": 1, "access_key_id": "other", "secret_access_key": "key"}
PLAN = {"name": "All", "destinations": list[str]()}
MATRIX: dict[tuple[str, str], Line] = {
    ("GET", "/destinations"): Line(200),
    ("POST", "/destinations"): Line(201, body=FOLDER),
    ("PUT", "/destinations/{id}/secret"): Line(200, "bucket", SECRET),
    ("DELETE", "/destinations/{id}"): Line(204, "spare destination"),
    ("POST", "/destinations/{id}/test"): Line(200, "destination"),
    ("GET", "/workflows"): Line(200),
    ("POST", "/workflows"): Line(201, body=PLAN),
    ("PUT", "/workflows/{id}"): Line(200, "workflow", {**PLAN, "version": 1}),
    ("DELETE", "/workflows/{id}"): Line(204, "spare workflow"),
    ("GET", "/credentials"): Line(200),
    ("POST", "/credentials"): Line(201, body={"kind": "ftp", "label": "Z9"}),
    ("DELETE", "/credentials/{id}"): Line(204, "credential"),
    ("POST", "/credentials/{id}/trace"): Line(200, "camera"),
    ("GET", "/credentials/{id}/trace"): Line(200, "camera", streams=True),
    ("DELETE", "/credentials/{id}/trace"): Line(204, "camera"),
    ("GET", "/uploads"): Line(200),
    ("GET", "/uploads/{id}"): Line(200, "upload"),
    ("POST", "/uploads/{id}/cancel"): Line(202, "upload"),
    ("POST", "/deliveries/{id}/retry"): Line(202, "delivery"),
    ("GET", "/events"): Line(200, streams=True),
    ("GET", "/openapi.json"): Line(200, is_open=True),
}
KINDS = {
    "destination": Kind.DESTINATION,
    "spare destination": Kind.DESTINATION,
    "bucket": Kind.DESTINATION,
    "workflow": Kind.WORKFLOW,
    "spare workflow": Kind.WORKFLOW,
    "credential": Kind.CREDENTIAL,
    "camera": Kind.CREDENTIAL,
    "upload": Kind.UPLOAD,
    "delivery": Kind.DELIVERY,
}


@dataclass
class Owner:
    """An account with one of everything."""

    account: Account
    token: str
    ids: dict[str, str] = field(default_factory=dict[str, str])


async def owner(desk: Desk, name: str) -> Owner:
    """Make an account that has one of everything that a route can name."""
    account, token = await desk.account(name)
    made = Owner(account, token)
    one = outcome(account, name)
    parked = delivery_change(one, DeliveryState.PARKED)
    await desk.tell(one, parked)
    desk.clock.advance(1)  # what follows is younger, so nothing else is sent through it
    _, spare = await desk.call("POST", "/destinations", token, json=FOLDER)
    _, bucket = await desk.call("POST", "/destinations", token, json=BUCKET)
    _, flow = await desk.call("POST", "/workflows", token, json=PLAN)
    spare_credential, _ = await desk.issue(account)
    camera, _ = await desk.issue(account, CredentialKind.FTP)
    desk.services.traces.open(account.id, camera, NOW_MS)
    made.ids = {
        "camera": camera,
        "destination": fixed(Kind.DESTINATION, (account.id, "desk")),
        "spare destination": spare["id"],
        "bucket": bucket["id"],
        "workflow": fixed(Kind.WORKFLOW, (account.id, "all")),
        "spare workflow": flow["id"],
        "credential": spare_credential,
        "upload": one.upload_id,
        "delivery": parked.delivery_id,
    }
    return made


def known_routes() -> set[tuple[str, str]]:
    """Return the routes of the router itself, not of our table."""
    app = web.Application()
    app.add_routes(api.routes(NOBODYS))
    found: set[tuple[str, str]] = set()
    for route in app.router.routes():
        resource = route.resource
        assert resource is not None
        if route.method != "HEAD":  # aiohttp offers it beside each GET, by the same handler
            found.add((route.method, resource.canonical.removeprefix(PREFIX)))
    return found


NOBODYS: Any = None  # the router is only looked at


def test_every_route_of_the_router_has_a_line() -> None:
    assert known_routes() == set(MATRIX)


def path_of(path: str, line: Line, ids: dict[str, str]) -> str:
    return path.replace(ID, ids.get(line.names, "")) if line.names else path


async def status(desk: Desk, method: str, path: str, line: Line, token: str | None) -> int:
    """Call one route; of a stream only the beginning is read."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with desk.session.request(
        method, desk.base + path, headers=headers, json=line.body
    ) as answer:
        if line.streams and answer.status == 200:
            await answer.content.readline()
            answer.close()
        else:
            await answer.read()
        return answer.status


Scene = Callable[[Desk, Owner, Owner, tuple[str, str], Line], Awaitable[None]]


async def the_owner_may(
    desk: Desk, mine: Owner, _: Owner, route: tuple[str, str], line: Line
) -> None:
    method, path = route
    assert (
        await status(desk, method, path_of(path, line, mine.ids), line, mine.token) == line.status
    )


async def another_account_finds_nothing(
    desk: Desk, mine: Owner, other: Owner, route: tuple[str, str], line: Line
) -> None:
    method, path = route
    if not line.names:
        return
    made_up = {line.names: fixed(KINDS[line.names], "nobody has this")}
    malformed = {line.names: "up_" + "!" * 26}
    answers = [
        await desk.call(method, path_of(path, line, ids), other.token, json=line.body)
        for ids in (mine.ids, made_up, malformed)
    ]
    assert answers[0][0] == 404
    assert answers[0] == answers[1] == answers[2], "foreign looks like what is not there"


async def a_list_holds_ones_own_things_only(
    desk: Desk, mine: Owner, other: Owner, route: tuple[str, str], line: Line
) -> None:
    method, path = route
    if method != "GET" or line.names or line.streams or line.is_open:
        return
    for caller, stranger in ((mine, other), (other, mine)):
        _, page = await desk.call(method, path, caller.token)
        listed = re.findall(r"[a-z]{2}_[a-z2-7]{26}", str(page))
        assert listed
        assert not set(listed) & {*stranger.ids.values(), stranger.account.id}


async def nobody_may(desk: Desk, mine: Owner, _: Owner, route: tuple[str, str], line: Line) -> None:
    method, path = route
    expected = line.status if line.is_open else 401
    for token in (None, "", "zt_abcdefgh_" + "a" * 20, mine.account.id, "Basic abc"):
        got = await status(desk, method, path_of(path, line, mine.ids), line, token)
        assert got == expected, token


async def a_camera_may_not(
    desk: Desk, mine: Owner, _: Owner, route: tuple[str, str], line: Line
) -> None:
    method, path = route
    camera = (await desk.issue(mine.account, CredentialKind.FTP))[1]
    expected = line.status if line.is_open else 401
    assert await status(desk, method, path_of(path, line, mine.ids), line, camera) == expected


async def a_revoked_credential_may_not(
    desk: Desk, mine: Owner, _: Owner, route: tuple[str, str], line: Line
) -> None:
    method, path = route
    issued, token = await desk.issue(mine.account)
    async with desk.services.database.write() as uow:
        assert await uow.accounts.revoke(mine.account.id, issued, NOW_MS)
    expected = line.status if line.is_open else 401
    assert await status(desk, method, path_of(path, line, mine.ids), line, token) == expected


SCENES: list[Scene] = [
    another_account_finds_nothing,
    a_list_holds_ones_own_things_only,
    nobody_may,
    a_camera_may_not,
    a_revoked_credential_may_not,
    the_owner_may,  # the last one, because it removes what the others only try to
]


@pytest.mark.parametrize("route", MATRIX, ids=" ".join)
def test_who_may_use_a_route(route: tuple[str, str]) -> None:
    async def run() -> None:
        async with served() as desk:
            mine, other = await owner(desk, "nina"), await owner(desk, "ola")
            for scene in SCENES:
                await scene(desk, mine, other, route, MATRIX[route])

    real_loop(run())
