"""What the door of new uploads is shown, byte by byte, by clients that are up to something."""

import asyncio
from dataclasses import replace

from edge.handover import Flaw, Signer
from edge.snapshot import TicketKeyEntry
from tests.support.http_door import Client
from tests.support.regions import SG, SINGAPORE, US, Pinned, RegionDoor, Regions, run
from zentransfer.limits import NEAREST_FROM_BYTES, UNFINISHED_PER_ACCOUNT_MAX

SIZE = NEAREST_FROM_BYTES
LENGTH = f"Content-Length: {SIZE}"
ASKS = "Expect: 100-continue"
FORM = "Content-Type: multipart/form-data; boundary=b"
TUS = ("Tus-Resumable: 1.0.0", f"Upload-Length: {SIZE}")
BEGUN = ("Upload-Complete: ?0", f"Upload-Length: {SIZE}")

Answer = tuple[int, dict[str, str]]


async def said(
    door: RegionDoor, first: str, *lines: str, body: bytes = b"", name: str = "127.0.0.1"
) -> Answer:
    """Return status and fields of the final answer to one request; *body* goes when asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    client = Client(reader, writer)
    try:
        head = [f"{first} HTTP/1.1", f"Host: {name}:{door.port}", *lines, "", ""]
        await client.send("\r\n".join(head))
        status, fields, _ = await client.answer()
        if status == 100:
            await client.send(body)
            status, fields, _ = await client.answer()
        return status, fields
    finally:
        client.reset()


async def begun(both: Regions, method: str, path: str, *lines: str) -> Answer:
    """Begin by the entry name of us, as a client that is near sg."""
    who = f"Authorization: Bearer {both.us.customer.token}"
    near = f"ZT-Lab-Client: {SINGAPORE}"
    return await said(both.us, f"{method} {path}", who, near, *lines, name="localhost")


async def handed(both: Regions, method: str, path: str, *lines: str) -> str:
    """Return the target, ticket and all, that us sends a client on to."""
    agent = "User-Agent: curl/8"
    status, fields = await begun(both, method, path, agent, *(lines or (LENGTH, ASKS)))
    assert status == 307
    return fields["location"].removeprefix(both.sg.url)


async def put(both: Regions, target: str) -> int:
    """Show a good ticket as it is meant; returns the status."""
    return (await said(both.sg, f"PUT {target}", LENGTH, ASKS, body=bytes(SIZE)))[0]


def test_nobody_is_sent_on_with_a_key_that_control_has_not_told() -> None:
    async def test(both: Regions) -> None:
        signer = both.us.signer
        good = TicketKeyEntry(signer.kid, US, signer.public)
        other = Signer(b"another origin..", US)
        for keys in (
            [],
            [replace(good, key=other.public)],
            [TicketKeyEntry(other.kid, US, other.public)],
            [replace(good, not_before_ms=1 << 50)],
            [replace(good, not_after_ms=1)],
        ):
            both.us.keys = [*keys]
            await both.us.learn(*both.us.customer.entries())
            assert (await begun(both, "PUT", "/in/a", "Content-Length: 0"))[0] == 201
            assert (await begun(both, "POST", "/files/", "User-Agent: curl/8", *TUS))[0] == 201
        both.us.keys = [good]
        await both.us.learn(*both.us.customer.entries())
        assert await handed(both, "PUT", "/in/a")

    run(test)


def test_a_ticket_opens_no_form_and_is_good_afterwards() -> None:
    async def test(both: Regions) -> None:
        target = await handed(both, "PUT", "/in/")
        status, _ = await said(both.sg, f"POST {target}", FORM, LENGTH, ASKS)
        assert (status, both.sg.nearest.flaws) == (401, {Flaw.FORM: 1})
        target = await handed(both, "PUT", "/in/a")
        status, _ = await said(both.sg, f"POST {target}", FORM, LENGTH, ASKS)
        assert status == 401
        assert await put(both, target) == 201

    run(test)


def test_a_form_is_sent_nowhere_for_it_would_be_refused_there() -> None:
    async def test(both: Regions) -> None:
        status, _ = await begun(both, "POST", "/in/", FORM, LENGTH, ASKS)
        assert status == 421

    run(test, us=Pinned(SG, region=US), sg=Pinned(SG, region=SG))


def test_a_region_without_room_for_it_leaves_the_ticket_good_and_reserves_nothing() -> None:
    async def test(both: Regions) -> None:
        intake = both.sg.node.intake
        target = await handed(both, "PUT", "/in/a")
        both.sg.node.free_bytes, intake._room_until_s = SIZE, 0.0
        assert await put(both, target) == 507
        intake._room_until_s = 0.0
        both.sg.node.free_bytes = SIZE + 1  # enough for it once
        assert await put(both, target) == 201
        both.sg.node.free_bytes, intake._room_until_s = 1 << 40, 0.0
        assert await put(both, target) == 401

    run(test)


def test_who_has_too_many_unfinished_ones_keeps_the_ticket() -> None:
    async def test(both: Regions) -> None:
        of, unfinished = both.sg.customer.account_id, both.sg.node.resumables.unfinished
        for lines in (TUS, BEGUN):
            target = await handed(both, "POST", "/files/", *lines)
            unfinished._of_account[of] = UNFINISHED_PER_ACCOUNT_MAX
            for expected in (429, 201):
                status, _ = await said(both.sg, f"POST {target}", *lines, "Content-Length: 0")
                assert status == expected
                unfinished._of_account[of] = 0
        assert await put(both, await handed(both, "PUT", "/in/a")) == 201, "whole files go on"

    run(test)


def test_a_ticket_s_size_is_that_of_what_comes_whatever_else_is_said() -> None:
    async def test(both: Regions) -> None:
        more = f"Content-Length: {SIZE + 1}"
        told = f"Upload-Length: {SIZE}"
        target = await handed(both, "PUT", "/in/a")
        tries: list[tuple[str, tuple[str, ...]]] = [
            ("PUT", (told, more, ASKS)),
            ("PUT", (told, "Tus-Resumable: 1.0.0", more, ASKS)),
            ("PUT", (told, "Transfer-Encoding: chunked", ASKS)),
            ("POST", (told, f"Upload-Length: {SIZE + 1}", "Upload-Complete: ?0", LENGTH, ASKS)),
            ("POST", ("Upload-Complete: ?0", LENGTH, ASKS)),
        ]
        for method, lines in tries:
            assert (await said(both.sg, f"{method} {target}", *lines))[0] == 401
        assert both.sg.nearest.flaws == {Flaw.OTHER_SIZE: len(tries)}
        assert both.sizes()[SG] == []
        assert await put(both, target) == 201
        # And so it is where the ticket is made.
        small = ("Upload-Length: 10", f"Content-Length: {SIZE + 1}", ASKS)
        target = await handed(both, "PUT", "/in/a", *small)
        status, _ = await said(both.sg, f"PUT {target}", "Content-Length: 10", ASKS)
        assert status == 401

    run(test)
