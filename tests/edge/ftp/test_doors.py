import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import cast

import pytest

from edge.admission import Admit, Request
from edge.facts import Door as Kind
from edge.ftp.bounds import Bounds
from edge.ftp.coming import DIALECT
from edge.ftp.doors import FtpDoor
from edge.intake import Intake
from tests.support.ftp_door import QUICK, Client, Door, dialled, run
from zentransfer.errors import Code
from zentransfer.limits import (
    FTP_COMMANDS_AHEAD_MAX,
    FTP_IDLE_S,
    FTP_LAST_WORD_S,
    FTP_LINE_BYTES_MAX,
    FTP_LOGIN_S,
    FTP_REPLY_S,
    FTP_SESSIONS_MAX,
    FTP_SESSIONS_PER_ADDRESS_MAX,
    FTP_STRANGERS_MAX,
)

LOOPS = pytest.mark.parametrize("uvloop", [False, True])


@LOOPS
def test_files_come_in_one_after_another(uvloop: bool) -> None:
    contents = {"a.bin": b"abc", "b.bin": b"", "c.bin": b"d" * 700_000}

    async def test(door: Door) -> None:
        async with door.client() as client:
            for name, content in contents.items():
                assert await client.store(name, content) == 226
            assert await client.say("QUIT") == 221
            assert await client.is_closed()
        found = {name.name: content for name, content in await door.committed()}
        assert found == contents
        (outcome, *_) = door.node.outcomes()
        assert outcome.door is Kind.FTP
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert record.dialect == DIALECT

    run(test, uvloop=uvloop)


def test_pipelined_commands_are_answered_in_their_order() -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        async with door.stranger() as client:
            await client.heard()
            lines = [f"USER {shown.name}", f"PASS {shown.secret}", "MKD A", "CWD A", "PWD", "QUIT"]
            await client.send("\r\n".join(lines))
            assert [(await client.heard())[0] for _ in lines] == [331, 230, 257, 250, 257, 221]
            assert await client.is_closed()

    run(test)


def test_commands_during_a_transfer_wait_and_noop_need_not() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR a.jpg") == 150
            data.write(b"abc")
            assert await client.say("NOOP") == 200
            assert await client.say("STAT") == 211
            await client.send("CWD A\r\nNOOP\r\nQUIT")
            await asyncio.sleep(0.05)
            data.write_eof()
            replies = [(await client.heard())[0] for _ in range(4)]
            assert replies == [226, 250, 200, 221]
        ((_, content),) = await door.committed()
        assert content == b"abc"

    run(test)


@pytest.mark.reaches("FTP_COMMANDS_AHEAD_MAX")
def test_only_so_many_commands_are_read_ahead() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR a.jpg") == 150
            for _ in range(FTP_COMMANDS_AHEAD_MAX):
                await client.send("PWD")
            await asyncio.sleep(0.05)
            await client.send("ABOR")  # nobody reads on: it is heard when all is over
            await asyncio.sleep(0.05)
            data.write_eof()
            replies = [(await client.heard())[0] for _ in range(FTP_COMMANDS_AHEAD_MAX + 2)]
            assert replies == [226, *[257] * FTP_COMMANDS_AHEAD_MAX, 226]
        assert len(await door.committed()) == 1

    run(test)


def test_unknown_commands_and_lines_that_are_too_long_cost_themselves() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("MAGIC") == 502
            assert await client.say("") == 502
            assert await client.say(b"\xff\xfe\x00\x01") == 502
            assert await client.say(b"STOR " + b"x" * 70_000) == 500
            assert await client.say(b"STOR " + b"x" * FTP_LINE_BYTES_MAX) == 500
            assert await client.store("a.jpg") == 226
            for _ in range(15):
                assert await client.say("MAGIC") == 502
            assert await client.say("MAGIC") == 421
            assert await client.is_closed()

    run(test)


def test_a_browser_gets_no_word() -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await client.heard()
            await client.send("GET / HTTP/1.1\r\nHost: x\r\n")
            assert await client.is_closed()

    run(test)


def test_no_verb_of_the_library_is_in_the_table() -> None:
    async def test(door: Door) -> None:
        table = door.door.commands_mapping
        assert not set(table) & {"stor", "retr", "appe", "mlsd", "rnto"}
        for handler in table.values():
            made = getattr(handler, "func", handler)
            assert made.__module__.startswith("edge.ftp"), "a verb that is not ours"
        assert isinstance(door.door, FtpDoor)

    run(test)


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.reaches("FTP_SESSIONS_MAX", "FTP_SESSIONS_PER_ADDRESS_MAX")
def test_sessions_are_bounded_in_all_and_for_each_address() -> None:
    assert Bounds().sessions_max == FTP_SESSIONS_MAX
    assert Bounds().per_address_max == FTP_SESSIONS_PER_ADDRESS_MAX

    async def test(door: Door) -> None:
        async with door.client(), door.client():
            async with door.stranger() as third:
                assert (await third.heard())[0] == 421
                assert await third.is_closed()
            async with door.stranger("127.0.0.2") as other:
                assert (await other.heard())[0] == 220
                async with door.stranger("127.0.0.3") as fourth:
                    assert (await fourth.heard())[0] == 421
        await asyncio.sleep(0.05)
        assert door.door.sessions == 0
        async with door.client():
            assert door.door.sessions == 1

    run(test, bounds=replace(QUICK, sessions_max=3, per_address_max=2))


@pytest.mark.reaches("FTP_STRANGERS_MAX")
def test_strangers_leave_places_to_those_who_sign_in() -> None:
    assert Bounds().strangers_max == FTP_STRANGERS_MAX
    assert Bounds().strangers_per_address_max == FTP_STRANGERS_MAX // 4

    async def test(door: Door) -> None:
        async with AsyncExitStack() as stack:
            for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"):
                stranger = await stack.enter_async_context(door.stranger(source))
                assert (await stranger.heard())[0] == 220
            async with door.stranger("127.0.0.2") as third:
                assert (await third.heard())[0] == 421, "a quarter of them for one address"
            for _ in range(6):
                await stack.enter_async_context(door.client())
            for source in ("127.0.0.4", "127.0.0.4", "127.0.0.5", "127.0.0.5"):
                stranger = await stack.enter_async_context(door.stranger(source))
                assert (await stranger.heard())[0] == 220
            async with door.stranger("127.0.0.6") as last:
                assert (await last.heard())[0] == 421
        await asyncio.sleep(0.05)
        assert not door.door._verbs.signed_in

    run(test, bounds=replace(QUICK, strangers_max=8))


@pytest.mark.reaches("FTP_LOGIN_S", "FTP_IDLE_S")
def test_silence_ends_a_session_but_not_while_a_file_comes() -> None:
    assert Bounds().login_s == FTP_LOGIN_S
    assert Bounds().idle_s == FTP_IDLE_S

    async def test(door: Door) -> None:
        async with door.stranger() as silent, door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR a.jpg") == 150
                for _ in range(10):
                    data.write(b"x")
                    await asyncio.sleep(0.06)
                data.write_eof()
                assert (await client.heard())[0] == 226
            assert (await silent.heard())[0] == 220
            assert (await silent.heard())[0] == 421
            assert await silent.is_closed()
            assert (await client.heard())[0] == 421
            assert await client.is_closed()

    run(test, bounds=replace(QUICK, login_s=0.3, idle_s=0.3))


@pytest.mark.reaches("FTP_REPLY_S")
def test_a_client_that_takes_no_replies_is_left() -> None:
    assert Bounds().reply_s == FTP_REPLY_S

    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("CWD /" + "/".join([200 * "x"] * 8)) == 250
            assert isinstance(client.writer, asyncio.StreamWriter)
            cast("asyncio.Transport", client.writer.transport).pause_reading()
            client.writer.write(b"PWD\r\n" * 20_000)  # 32 MB: the kernel's buffers hold less
            async with asyncio.timeout(20):
                while door.door.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            client.writer.transport.abort()

    run(test, bounds=replace(QUICK, reply_s=0.3))


class Broken(Intake):
    """An intake with a fault of ours in it."""

    def admitted(self, request: Request, *, begins: bool = True) -> Admit:
        raise RuntimeError("a fault")


def test_a_fault_of_ours_ends_one_session_and_is_logged_without_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def test(door: Door) -> None:
        async with door.client() as other:
            async with door.client() as client:
                assert await client.store("secret-name.jpg") == 421
                assert await client.is_closed()
            assert await other.say("NOOP") == 200

    run(test, intake_type=Broken)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "ftp.failed" in line]
    assert "secret-name" not in line


def test_a_session_by_ipv6_uses_epsv() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("PASV") == 503
            assert await client.say("EPSV 1") == 522
            await client.send("EPSV 2")
            code, text = await client.heard()
            assert code == 229
            _, writer = await dialled(int(text.split("|")[3]), "::1")
            assert await client.say("STOR a.jpg") == 150
            writer.write(b"abc")
            writer.close()
            assert (await client.heard())[0] == 226

    run(test, host="::1")


# -- leaving --------------------------------------------------------------------------------------


async def said(client: Client) -> list[int]:
    """Read replies until the other side has no more to say."""
    codes = list[int]()
    assert isinstance(client.reader, asyncio.StreamReader)
    while not client.reader.at_eof():
        try:
            codes.append((await client.heard())[0])
        except asyncio.IncompleteReadError:
            break
    return codes


@LOOPS
def test_a_door_that_leaves_finishes_what_runs_and_sends_the_others_away(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as busy, door.client() as idle, busy.data() as data:
            assert await busy.say("STOR a.jpg") == 150
            data.write(b"abc")
            await asyncio.sleep(0.05)
            await door.door.leave()
            assert await said(idle) == [421]
            with pytest.raises(ConnectionRefusedError):
                await dialled(door.port)
            data.write(b"def")
            data.write_eof()
            assert await said(busy) == [226, 421]
        ((_, content),) = await door.committed()
        assert content == b"abcdef"

    run(test, uvloop=uvloop)


def test_a_node_that_admits_nothing_says_so_at_the_door_and_at_stor() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            door.node.is_admitting = False
            async with door.stranger() as late:
                assert await said(late) == [421]
            assert await client.store("a.jpg") == 421
            assert await client.is_closed()

    run(test)


def test_an_upload_that_a_drain_cuts_is_426_and_421_and_kept() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR a.jpg") == 150
            data.write(b"abc")
            await asyncio.sleep(0.05)
            await door.door.leave()
            door.node.intake.cut(Code.DRAINING)
            assert await said(client) == [426, 421]
        assert door.node.outcomes() == []
        (upload,) = door.node.resumables.unfinished.uploads
        mark = (await door.node.sink.record(upload)).value.mark
        assert mark is not None
        assert mark.offset == 3

    run(test)


@pytest.mark.reaches("FTP_LAST_WORD_S")
def test_a_door_that_closes_waits_for_nobody_for_long() -> None:
    async def test(door: Door) -> None:
        loop = asyncio.get_running_loop()
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR a.jpg") == 150
            data.write(b"abc")
            await asyncio.sleep(0.05)
            begun_s = loop.time()
            await door.door.close()
            assert FTP_LAST_WORD_S <= loop.time() - begun_s < FTP_LAST_WORD_S + 2
            assert await client.is_closed()
        assert door.node.intake.in_flight == 0
        assert await door.committed() == []

    run(test)
