"""A transfer that was cut, in every way there is, is never delivered: it is kept to go on with."""

import asyncio
import signal
import socket
import sys

import pytest

from edge.facts import Outcome, OutcomeState
from edge.record import State
from tests.support.ftp_door import Client, Door, dialled, reset, run
from zentransfer.errors import Code

LOOPS = pytest.mark.parametrize("uvloop", [False, True])
HALF, REST = b"x" * 500_000, b"y" * 100


async def the_one(door: Door) -> Outcome:
    (outcome,) = await door.until_told()
    return outcome


async def is_cut(door: Door, size: int | None = None) -> None:
    """Nothing is whole; what came is kept, *size* bytes of it if that is known.

    If nothing did before the cut, or nothing was looked at, it has failed.
    """
    async with asyncio.timeout(20):
        while door.node.intake.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await door.committed() == []
    if size == 0 or (size is None and door.node.outcomes()):
        outcome = await the_one(door)
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)
        return
    assert door.node.outcomes() == []
    (upload,) = door.node.resumables.unfinished.uploads
    record = (await door.node.sink.record(upload)).value
    assert record.state is State.RECEIVING
    assert record.mark is not None
    assert size in (None, record.mark.offset)


async def lives(client: Client) -> None:
    """The control connection goes on as if nothing had been."""
    assert await client.say("NOOP") == 200
    assert await client.store("again.jpg", b"whole") == 226


@LOOPS
@pytest.mark.parametrize("content", [b"", HALF])
def test_a_reset_of_the_data_connection(content: bytes, uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR a.jpg") == 150
                data.write(content)
                await asyncio.sleep(0.1)
                reset(data)
                assert (await client.heard())[0] == 426
            await is_cut(door, None if content else 0)
            await lives(client)

    run(test, uvloop=uvloop)


@LOOPS
def test_a_fin_before_the_announced_size(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say(f"ALLO {len(HALF) + 1}") == 200
            assert await client.store("a.jpg", HALF) == 426
            await is_cut(door, len(HALF))
            await lives(client)

    run(test, uvloop=uvloop)


@LOOPS
@pytest.mark.parametrize("how", ["plain", "telnet", "urgent"])
def test_abor(how: str, uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR a.jpg") == 150
                data.write(HALF)
                await asyncio.sleep(0.05)
                if how == "urgent":  # as ftplib does
                    assert isinstance(client.writer, asyncio.StreamWriter)
                    raw: socket.socket = client.writer.get_extra_info("socket")
                    with socket.socket(fileno=raw.fileno()) as same:
                        same.send(b"ABOR\r\n", socket.MSG_OOB)
                        same.detach()
                else:
                    await client.send(b"\xff\xf4\xff\xf2ABOR" if how == "telnet" else b"ABOR")
                assert [(await client.heard())[0] for _ in range(2)] == [426, 226]
            await is_cut(door)
            assert await client.say("ABOR") == 226
            await lives(client)

    run(test, uvloop=uvloop)


def test_abor_before_the_data_connection_came() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.passive()
            assert await client.say("STOR a.jpg") == 150
            await client.send("ABOR")
            assert [(await client.heard())[0] for _ in range(2)] == [426, 226]
            await client.passive()
            assert await client.say("ABOR") == 226
            assert await client.say("STOR a.jpg") == 425, "ABOR took the reservation"
            await lives(client)
        assert len(door.node.outcomes()) == 1

    run(test)


@LOOPS
@pytest.mark.reaches("FTP_FAREWELL_S")
@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("order", ["control", "together", "data"])
def test_a_lost_control_connection(how: str, order: str, uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR a.jpg") == 150
            data.write(HALF)
            if order != "together":
                await asyncio.sleep(0.1)
            if order == "data":
                data.write_eof()
            if how == "fin":
                client.writer.close()
            else:
                assert isinstance(client.writer, asyncio.StreamWriter)
                reset(client.writer)
            if order == "together":  # as a process that dies
                data.write_eof()
            await is_cut(door)
            await asyncio.sleep(0.05)
            assert door.door.sessions == 0

    run(test, uvloop=uvloop)


@LOOPS
def test_a_lost_control_connection_is_no_cut_where_all_that_was_announced_came(
    uvloop: bool,
) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say(f"ALLO {len(HALF) + len(REST)}") == 200
            async with client.data() as data:
                assert await client.say("STOR a.jpg") == 150
                data.write(HALF)
                await asyncio.sleep(0.05)
                client.writer.close()
                await asyncio.sleep(0.1)
                data.write(REST)
                data.write_eof()
                outcome = await the_one(door)
        assert outcome.state is OutcomeState.COMMITTED
        ((_, content),) = await door.committed()
        assert content == HALF + REST

    run(test, uvloop=uvloop)


@LOOPS
def test_quit_right_after_the_last_byte_is_no_cut(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR a.jpg") == 150
            data.write(HALF)
            data.write_eof()
            client.writer.write(b"QUIT\r\n")
            client.writer.write_eof()
            assert [(await client.heard())[0] for _ in range(2)] == [226, 221]
            assert await client.is_closed()
        ((_, content),) = await door.committed()
        assert content == HALF

    run(test, uvloop=uvloop)


def test_a_resend_of_a_cut_file_is_the_whole_file() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR a.jpg") == 150
                data.write(HALF)
                await asyncio.sleep(0.05)
                reset(data)
                assert (await client.heard())[0] == 426
            assert await client.say("SIZE a.jpg") == 213
            assert await client.store("a.jpg", HALF + REST) == 226
        ((_, content),) = await door.committed()
        assert content == HALF + REST

    run(test)


CAMERA = """
import ftplib, sys
ftp = ftplib.FTP()
ftp.connect("127.0.0.1", int(sys.argv[1]))
ftp.login(sys.argv[2], sys.argv[3])
data = ftp.transfercmd("STOR killed.jpg")
data.sendall(b"x" * 3_000_000)
print("half", flush=True)
sys.stdin.read()
"""


@pytest.mark.peer
@LOOPS
def test_a_sender_that_is_killed(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        camera = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CAMERA, str(door.port), shown.name, shown.secret),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert camera.stdout is not None
        assert await camera.stdout.readline() == b"half\n"
        camera.send_signal(signal.SIGKILL)
        await camera.wait()
        await is_cut(door)

    run(test, uvloop=uvloop)


def test_a_data_connection_that_came_and_went_before_stor() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            _, data = await dialled(await client.passive())
            data.write(b"abc")
            await asyncio.sleep(0.05)
            reset(data)
            await asyncio.sleep(0.05)
            assert await client.say("STOR a.jpg") == 150
            assert (await client.heard())[0] == 426
            await lives(client)
        assert [content for _, content in await door.committed()] == [b"whole"]

    run(test)
