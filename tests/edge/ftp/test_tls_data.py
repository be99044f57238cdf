"""Data connections by TLS: their ends, their sessions, and handshakes that fail."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from edge.ftp.security import Policy, Reuse
from edge.ftp.tls import Entrance, Rules
from edge.snapshot import snapshot_of
from tests.support.ftp_door import Client, Door, dialled, reset, run
from tests.support.snapshots import Customer
from tests.support.tls_client import Secure, client_context, ftp_context
from zentransfer.ids import Region
from zentransfer.limits import (
    FTP_DATA_BUFFER_BYTES,
    FTP_HANDSHAKE_S,
    FTP_HANDSHAKES_MAX,
    FTP_REUSE_KEPT_MAX,
    FTP_TLS_BUFFER_BYTES,
)

LOOPS = pytest.mark.parametrize("uvloop", [False, True])
CONTENT = Random(4).randbytes(1_500_000)
TLS_1_2 = ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return ftp_context(tmp_path_factory.mktemp("tls"))


def sent(
    tls: ssl.SSLContext,
    test: Callable[[Door, Client, ssl.SSLContext], Awaitable[None]],
    *,
    uvloop: bool = False,
    policy: Policy | None = None,
    context: ssl.SSLContext | None = None,
) -> None:
    """Run *test* with a client that has signed in and encrypts everything."""
    own = context or client_context()

    async def main(door: Door) -> None:
        async with door.stranger() as client:
            assert (await client.heard())[0] == 220
            await client.private(own)
            assert await client.sign_in() == 230
            await test(door, client, own)

    run(main, uvloop=uvloop, entrances=(Entrance(tls),), policy=policy or Policy())


async def lives(client: Client, context: ssl.SSLContext) -> None:
    assert await client.say("NOOP") == 200
    code, _ = await client.store_by_tls("again.jpg", b"whole", context)
    assert code == 226


# -- ends ------------------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("size", [0, 1, len(CONTENT)])
def test_p10_no_close_notify_is_a_cut(tls: ssl.SSLContext, size: int, uvloop: bool) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        code, _ = await client.store_by_tls("a.jpg", CONTENT[:size], context, ends=False)
        assert code == 426
        assert await door.committed() == []
        await lives(client, context)

    sent(tls, test, uvloop=uvloop)


@LOOPS
def test_p10_no_close_notify_is_an_end_where_that_is_tolerated(
    tls: ssl.SSLContext, uvloop: bool
) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        code, _ = await client.store_by_tls("a.jpg", CONTENT, context, ends=False)
        assert code == 226
        assert [content for _, content in await door.committed()] == [CONTENT]

    sent(tls, test, uvloop=uvloop, policy=Policy(tolerates_cuts=True))


def test_no_close_notify_is_an_end_where_all_that_was_announced_came(tls: ssl.SSLContext) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        assert await client.say(f"ALLO {len(CONTENT)}") == 200
        code, _ = await client.store_by_tls("a.jpg", CONTENT, context, ends=False)
        assert code == 226
        assert await client.say(f"ALLO {len(CONTENT) + 1}") == 200
        code, _ = await client.store_by_tls("b.jpg", CONTENT, context, ends=False)
        assert code == 426

    sent(tls, test)


@LOOPS
def test_d03_a_reset_of_a_data_connection_by_tls_leaves_the_other_one(
    tls: ssl.SSLContext, uvloop: bool
) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        reader, writer = await dialled(await client.passive())
        assert await client.say("STOR a.jpg") == 150
        data = await Secure(reader, writer, context).handshake()
        data.write(CONTENT)
        await asyncio.sleep(0.05)
        reset(writer)
        assert (await client.heard())[0] == 426
        assert await door.committed() == []
        await lives(client, context)

    sent(tls, test, uvloop=uvloop)


@LOOPS
@pytest.mark.reaches("FTP_TLS_BUFFER_BYTES")
def test_a_sender_by_tls_is_held_to_the_sinks_pace(tls: ssl.SSLContext, uvloop: bool) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        reader, writer = await dialled(await client.passive())
        (control,) = door.door._sessions
        channel = control.take_reserved()
        assert channel is not None
        data = Secure(reader, writer, context)
        async with asyncio.TaskGroup() as group:
            group.create_task(data.handshake())
            await channel.data.connected(10)
        content = CONTENT * 8  # 12 MB, more than the kernel's buffers hold
        data.write(content)
        data.write_eof()
        await asyncio.sleep(0.2)
        assert channel.data.received <= FTP_TLS_BUFFER_BYTES, "nobody reads yet"
        first = await channel.data.readany()
        await asyncio.sleep(0.2)
        assert channel.data.received - len(first) <= FTP_DATA_BUFFER_BYTES
        found = [first]
        while part := await channel.data.readany():
            found.append(part)
        assert b"".join(found) == content
        channel.end()
        data.close()

    sent(tls, test, uvloop=uvloop)


def test_tls_may_begin_before_the_transfer_and_prot_may_change_meanwhile(
    tls: ssl.SSLContext,
) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        reader, writer = await dialled(await client.passive())
        data = await Secure(reader, writer, context).handshake()  # as aioftp's client
        data.write(CONTENT)
        data.write_eof()
        assert await client.say("STOR early.jpg") == 150
        assert (await client.heard())[0] == 226
        data.close()
        port = await client.passive()
        assert await client.say("PROT C") == 200
        _, plain = await dialled(port)
        assert await client.say("STOR clear.jpg") == 150
        plain.write(b"clear")
        plain.write_eof()
        assert (await client.heard())[0] == 226
        plain.close()
        port = await client.passive()
        assert await client.say("PROT P") == 200
        reader, writer = await dialled(port)
        assert await client.say("STOR late.jpg") == 150
        data = await Secure(reader, writer, context).handshake()
        data.write(b"late")
        data.write_eof()
        assert (await client.heard())[0] == 226
        data.close()
        found = [content for _, content in await door.committed()]
        assert found == [CONTENT, b"clear", b"late"]

    sent(tls, test)


def test_a_list_by_tls_ends_in_tls(tls: ssl.SSLContext) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        code, _ = await client.store_by_tls("a.jpg", CONTENT, context)
        assert code == 226
        reader, writer = await dialled(await client.passive())
        assert await client.say("NLST") == 150
        data = await Secure(reader, writer, context).handshake()
        found = b""
        while more := await data.read():
            found += more
        assert found == b"a.jpg\r\n"
        data.close()
        assert (await client.heard())[0] == 226

    sent(tls, test)


# -- sessions --------------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("most", [None, TLS_1_2])
def test_data_continues_the_session_of_its_control_connection_and_gets_no_tickets(
    tls: ssl.SSLContext, most: ssl.TLSVersion | None, uvloop: bool
) -> None:
    async def test(_: Door, client: Client, context: ssl.SSLContext) -> None:
        assert client.tls is not None
        session = client.tls.object.session
        assert session is not None
        assert session.has_ticket
        for _number in range(3):
            code, data = await client.store_by_tls("a.jpg", CONTENT, context, session=session)
            assert code == 226
            assert data.object.session_reused
        code, data = await client.store_by_tls("b.jpg", CONTENT, context)
        assert code == 226
        assert not data.object.session_reused
        if most is None:
            got = data.object.session
            assert got is None or not got.has_ticket, "it would be unread when a client closes"

    sent(tls, test, uvloop=uvloop, context=client_context(most=most))


@pytest.mark.parametrize(
    ("reuse", "resumes", "codes"),
    [
        (Reuse.OFF, [False, True, False], [226, 226, 226]),
        (Reuse.REQUIRED, [False, True, False], [425, 226, 425]),
        (Reuse.REMEMBERED, [False, True, True, False], [226, 226, 226, 425]),
        (Reuse.REMEMBERED, [True, False, False], [226, 226, 226]),  # as curl does by TLS 1.3
    ],
)
def test_who_must_continue_a_session(
    tls: ssl.SSLContext, reuse: Reuse, resumes: list[bool], codes: list[int]
) -> None:
    async def test(_: Door, client: Client, context: ssl.SSLContext) -> None:
        assert client.tls is not None
        own = client.tls.object.session
        for is_resumed, code in zip(resumes, codes, strict=True):
            session = own if is_resumed else None
            try:
                stored = await client.store_by_tls("a.jpg", b"abc", context, session=session)
                got = stored[0]
            except (ConnectionError, ssl.SSLError):  # cut off before it could send
                got, text = await client.heard()
                assert "must continue" in text
            assert got == code

    sent(tls, test, policy=Policy(reuse=reuse))


@pytest.mark.reaches("FTP_REUSE_KEPT_MAX")
def test_as_many_senders_are_remembered_to_continue_sessions_as_fit() -> None:
    rules = Rules(Policy(reuse=Reuse.REMEMBERED))

    def is_accepted(name: str, *, is_resumed: bool) -> bool:
        sender = (name, "192.0.2.0/24", "TLSv1.3")
        return rules.is_accepted(sender, is_resumed=is_resumed, is_first=True)

    assert is_accepted("first", is_resumed=True)
    assert not is_accepted("first", is_resumed=False)
    assert is_accepted("another", is_resumed=False)
    for number in range(FTP_REUSE_KEPT_MAX):
        assert is_accepted(f"camera {number}", is_resumed=True)
    assert is_accepted("first", is_resumed=False), "forgotten"


# -- handshakes that fail --------------------------------------------------------------------------


async def refused(client: Client, data: bytes) -> str:
    """Begin a transfer with *data* where a handshake should be; returns the 425 that follows."""
    _, writer = await dialled(await client.passive())
    assert await client.say("STOR a.jpg") == 150
    if data:
        writer.write(data)
        await writer.drain()
    else:
        writer.close()
    code, text = await client.heard()
    writer.close()
    assert code == 425
    return text


@LOOPS
def test_d18_a_data_connection_without_a_handshake_is_told(
    tls: ssl.SSLContext, uvloop: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        assert "without TLS" in await refused(client, b"\xff\xd8\xff\xe1 a picture")
        assert "closed" in await refused(client, b"")
        assert await door.committed() == []
        await lives(client, context)

    sent(tls, test, uvloop=uvloop)
    lines = [line for line in capsys.readouterr().err.splitlines() if "ftp.tls_refused" in line]
    assert [line.split('"reason":"')[1].split('"')[0] for line in lines] == ["no_tls", "hung_up"]


def test_d18_a_client_that_trusts_us_not_or_speaks_otherwise_is_told(tls: ssl.SSLContext) -> None:
    strict = ssl.create_default_context()
    old = client_context(suites="ALL:@SECLEVEL=0", most=ssl.TLSVersion.TLSv1_1)

    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        for other, words in ((strict, "not trusted"), (old, "version in common")):
            reader, writer = await dialled(await client.passive())
            assert await client.say("STOR a.jpg") == 150
            with pytest.raises(ssl.SSLError):
                await Secure(reader, writer, other, name="localhost").handshake()
            writer.close()
            code, text = await client.heard()
            assert code == 425
            assert words in text
        await lives(client, context)

    sent(tls, test)


@pytest.mark.reaches("FTP_HANDSHAKE_S")
def test_a_handshake_that_goes_on_and_on_is_ended(tls: ssl.SSLContext) -> None:
    assert Policy().handshake_s == FTP_HANDSHAKE_S

    async def test(door: Door, client: Client, context: ssl.SSLContext) -> None:
        _, writer = await dialled(await client.passive())
        assert await client.say("STOR a.jpg") == 150
        code, text = await client.heard()
        assert (code, "too long" in text) == (425, True)
        writer.close()
        await lives(client, context)

    sent(tls, test, policy=Policy(handshake_s=0.5))

    async def silent(door: Door) -> None:
        async with door.stranger() as client:
            assert await client.is_closed()

    implicit = Entrance(tls, is_implicit=True)
    run(silent, entrances=(implicit,), policy=Policy(handshake_s=0.2))


@pytest.mark.reaches("FTP_HANDSHAKES_MAX")
def test_only_so_many_handshakes_go_on_at_once(tls: ssl.SSLContext) -> None:
    assert Policy().handshakes_max == FTP_HANDSHAKES_MAX

    async def test(door: Door) -> None:
        async with door.stranger() as first, door.stranger() as second:
            for client in (first, second):
                assert (await client.heard())[0] == 220
            assert await first.say("AUTH TLS") == 234
            assert await second.say("AUTH TLS") == 421
            async with door.stranger(entrance=1) as third:
                assert await third.is_closed()
            await first.secure(client_context())
            assert await first.sign_in() == 230
            async with door.stranger() as fourth:
                assert (await fourth.heard())[0] == 220
                await fourth.private(client_context())

    both = (Entrance(tls), Entrance(tls, is_implicit=True))
    run(test, entrances=both, policy=Policy(handshakes_max=1))


def test_nobody_is_asked_for_tls_by_a_name_that_needs_none() -> None:
    customer = Customer()
    snapshot = snapshot_of(Region.FR, 1, 1, customer.entries())
    assert not Rules().must_be_private(snapshot, customer.shown.name)
    assert not Rules().must_be_private(None, "x")
    assert Rules(Policy(is_required=True)).must_be_private(None, "x")
