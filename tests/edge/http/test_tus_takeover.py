"""Who has an upload when several requests want it, over real sockets."""

import asyncio
import json

import pytest

from edge.admission import Admit, Request
from edge.intake import Intake
from tests.edge.http.test_tus_door import NOWHERE, content
from tests.support.http_door import PATCH_TYPE, Client, Door, run
from zentransfer.health import SERVER


async def sending(door: Door, client: Client, address: str, body: bytes, length: int) -> None:
    """Begin a PATCH of *length* bytes, of which *body* comes and is taken."""
    lines = ("Upload-Offset: 0", PATCH_TYPE, f"Content-Length: {length}")
    await client.send(door.tus("PATCH", address, *lines), body)
    held = door.node.resumables.unfinished.held
    upload = door.capabilities.upload(address.removeprefix("/files/"))
    async with asyncio.timeout(20):
        while True:
            segment = held.of(upload).segment
            if segment is not None and segment.pump.written == len(body):
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("offset", [1, 4, 7, 10, 10**20])
def test_t21_a_hopeless_offset_disturbs_nobody(offset: int) -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        async with door.client() as healthy:
            await sending(door, healthy, address, b"abc", 9)
            if offset == 1:  # behind what is durable
                upload = door.capabilities.upload(address.removeprefix("/files/"))
                segment = door.node.resumables.unfinished.held.of(upload).segment
                assert segment is not None
                await segment.pump.flush()
            status, _ = await door.patched(address, offset, b"x")
            assert status == 409
            await healthy.send("defghi")
            assert (await healthy.answer())[0] == 204
        assert await content(door) == b"abcdefghi"

    run(test)


@pytest.mark.parametrize("request_", ["HEAD", "PATCH", "DELETE"])
def test_t120_the_newest_request_that_may_hope_takes_over(request_: str) -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        async with door.client() as older:
            await sending(door, older, address, b"abc", 9)
            if request_ == "PATCH":
                assert (await door.patched(address, 3, b"defghi"))[0] == 204
            else:
                assert (await door.asked(request_, address))[0] in (200, 204)
            assert await older.is_closed()

    run(test)


def test_t120_a_request_that_may_not_disturbs_nobody() -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        async with door.client() as healthy:
            await sending(door, healthy, address, b"abc", 9)
            lines = ("Upload-Offset: 3", PATCH_TYPE)
            wrong = "Content-Type: text/plain"
            for verb, more, token, status in (
                ("HEAD", (), "zt_x", 401),
                ("DELETE", (), "zt_x", 401),
                ("PATCH", lines, "zt_x", 401),
                ("PATCH", ("Upload-Offset: 3", wrong), None, 415),
                ("PATCH", ("Upload-Offset: -3", PATCH_TYPE), None, 400),
                ("PATCH", (*lines, "Upload-Checksum: x"), None, 400),
            ):
                found, _, _ = await door.asked(verb, address, *more, token=token)
                assert (verb, found) == (verb, status)
            await healthy.send("defghi")
            assert (await healthy.answer())[0] == 204

    run(test)


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_connection_that_was_hung_up_leaves_no_task_behind(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        before = len(asyncio.all_tasks())
        address = await door.created(300_000)
        for _ in range(20):
            async with door.client() as silent:
                await sending(door, silent, address, b"", 300_000)
                assert await door.offset(address) == 0
                assert await silent.is_closed()
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - aiohttp's own end
                await asyncio.sleep(0.01)

    run(test, uvloop=uvloop)


class Faulty(Intake):
    """An intake in which a request meets a fault of ours."""

    def admitted(self, request: Request, *, begins: bool = True) -> Admit:
        raise RuntimeError("canary")


def test_t04_a_fault_of_ours_is_said_as_everything_else() -> None:
    async def test(door: Door) -> None:
        for verb, target, is_tus in (("POST", "/files/", True), ("PUT", "/in/x", False)):
            async with door.client() as client:
                head = door.tus(verb, target, "Upload-Length: 3", "Content-Length: 0")
                await client.send(head)
                status, fields, body = await client.answer()
            page = json.loads(body)
            assert (status, page["code"], page["status"]) == (500, "internal", 500)
            assert page["type"].startswith("tag:")
            assert fields["content-type"] == "application/problem+json"
            assert ("tus-resumable" in fields) is is_tus
            assert b"canary" not in body

    run(test, intake_type=Faulty)


def test_t02_t44_a_length_beyond_all_bounds_is_too_large() -> None:
    async def test(door: Door) -> None:
        for length in (10**18, 10**40):
            status, _, body = await door.asked("POST", "/files/", f"Upload-Length: {length}")
            assert (status, json.loads(body)["code"]) == (413, "too_large")
        _, fields, _ = await door.asked("POST", "/files/", "Upload-Defer-Length: 1")
        address = fields["location"].partition("/files/")[2]
        lines = ("Upload-Offset: 0", PATCH_TYPE, f"Upload-Length: {10**18}")
        assert (await door.asked("PATCH", f"/files/{address}", *lines))[0] == 413

    run(test)


def test_what_is_no_http_is_answered_in_the_same_form() -> None:
    async def test(door: Door) -> None:
        for request in (b"canary\r\n\r\n", b"GET / HTTP/1.1\r\ncanary\x00: a\r\n\r\n"):
            async with door.client() as client:
                await client.send(request)
                status, fields, body = await client.answer()
            page = json.loads(body)
            assert (status, page["code"], page["status"]) == (400, "invalid", 400)
            assert page["type"].startswith("tag:")
            assert (fields["content-type"], fields["server"]) == (
                "application/problem+json; charset=utf-8",
                SERVER,
            )
            assert b"canary" not in body
        for verb, target, code in (
            ("GET", "/nowhere/canary", "not_found"),
            ("DELETE", "/in/canary", "method_not_allowed"),
        ):
            async with door.client() as client:
                await client.send(f"{verb} {target} HTTP/1.1\r\nHost: x\r\n\r\n")
                status, fields, body = await client.answer()
            assert json.loads(body)["code"] == code
            assert ("allow" in fields) is (status == 405)
            assert b"canary" not in body
        assert (await door.asked("HEAD", NOWHERE))[0] == 404

    run(test)
