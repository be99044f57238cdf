"""What stock servers do wrong (proven against aioftp 0.28.3), each shown not to be so here.

D2, D3 and D18 are with the tests of TLS and of data connections.
"""

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace

import pytest

from edge.facts import OutcomeState
from tests.support.ftp_door import QUICK, Client, Door, dialled, one_port, reset, run
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_DATA_WAIT_S, FTP_LINE_BYTES_MAX


def test_d01_a_thief_at_the_data_port_gets_nothing_in() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            port = await client.passive()
            reader, thief = await dialled(port, "127.0.0.2")
            thief.write(b"stolen")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            thief.close()
            _, data = await dialled(port)
            assert await client.say("STOR x.jpg") == 150
            data.write(b"mine")
            data.close()
            assert (await client.heard())[0] == 226
        assert [content for _, content in await door.committed()] == [b"mine"]

    run(test)


def test_d04_the_idle_timer_does_not_end_a_transfer() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR x.jpg") == 150
            for _ in range(8):
                data.write(b"x")
                await asyncio.sleep(0.1)
            data.write_eof()
            assert (await client.heard())[0] == 226

    run(test, bounds=replace(QUICK, idle_s=0.3))


def test_d05_a_data_connection_may_come_late() -> None:
    assert FTP_DATA_WAIT_S >= 30

    async def test(door: Door) -> None:
        async with door.client() as client:
            port = await client.passive()
            assert await client.say("STOR x.jpg") == 150
            await asyncio.sleep(1.3)
            _, data = await dialled(port)
            data.write(b"late")
            data.close()
            assert (await client.heard())[0] == 226

    run(test)


@pytest.mark.parametrize("between", ["PASV", "EPSV", "TYPE I", "PBSZ 0", "PROT P", "NOOP", "CWD A"])
def test_d06_rest_is_never_forgotten_so_no_tail_looks_whole(between: str) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR /x.jpg") == 150
                data.write(b"12345")
                await asyncio.sleep(0.05)
                reset(data)
                assert (await client.heard())[0] == 426
            assert await client.say("REST 5") == 350
            await client.say(between)
            assert await client.store("/x.jpg", b"67") == 226
            assert await client.say("REST 5") == 350
            await client.say(between)
            assert await client.store("/y.jpg", b"67") == 554, "and not a file of 2 bytes"
        assert [content for _, content in await door.committed()] == [b"1234567"]

    run(test)


def test_d07_pipelined_commands_do_not_race() -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        async with door.stranger() as client:
            await client.heard()
            lines = [
                *(f"USER {shown.name}", f"PASS {shown.secret}", "MKD A", "CWD A", "PWD"),
                *("RNFR none", "RNTO b", "CWD ..", "PWD"),
            ]
            await client.send("\r\n".join(lines))
            codes = [(await client.heard())[0] for _ in lines]
            assert codes == [331, 230, 257, 250, 257, 550, 503, 250, 257]

    run(test)


def test_d08_user_alone_takes_no_place_from_others() -> None:
    async def test(door: Door) -> None:
        name = door.node.customer.shown.name
        async with door.stranger() as one, door.stranger() as two:
            for client in (one, two):
                await client.heard()
                assert await client.say(f"USER {name}") == 331
            async with door.client() as client:
                assert await client.store("x.jpg") == 226

    run(test, bounds=replace(QUICK, per_credential_max=1))


@pytest.mark.parametrize("how", ["no UTF-8", "telnet", "out of band"])
def test_d09_odd_bytes_cost_no_connection(how: str) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            if how == "no UTF-8":
                assert await client.say(b"CWD \xe9\xff\xfe") == 250
            async with client.data() as data:
                assert await client.say("STOR x.jpg") == 150
                data.write(b"abc")
                await asyncio.sleep(0.02)
                if how == "out of band":
                    assert isinstance(client.writer, asyncio.StreamWriter)
                    raw: socket.socket = client.writer.get_extra_info("socket")
                    with socket.socket(fileno=raw.fileno()) as same:
                        same.send(b"ABOR\r\n", socket.MSG_OOB)
                        same.detach()
                else:
                    await client.send(b"\xff\xf4\xff\xf2ABOR" if how == "telnet" else b"ABOR")
                assert [(await client.heard())[0] for _ in range(2)] == [426, 226]
            assert await client.say("NOOP") == 200

    run(test)


def test_d10_a_failure_after_150_closes_the_data_connection() -> None:
    async def test(door: Door) -> None:
        sink = door.node.sink

        async def fails(*_: object, **__: object) -> None:
            raise Error(Code.SINK_UNAVAILABLE)

        async with door.client() as client:
            reader, data = await dialled(await client.passive())
            sink.create = fails  # type: ignore[assignment,method-assign]
            assert await client.say("STOR x.jpg") == 150
            assert (await client.heard())[0] == 451
            with suppress(ConnectionError):
                assert await reader.read() == b""
            data.close()
            del sink.create
            assert await client.store("x.jpg") == 226

    run(test)


def test_d11_quit_lets_the_transfer_finish() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR x.jpg") == 150
            data.write(b"abc")
            await client.send("QUIT")
            await asyncio.sleep(0.1)
            data.write(b"def")
            data.write_eof()
            assert [(await client.heard())[0] for _ in range(2)] == [226, 221]
        assert [content for _, content in await door.committed()] == [b"abcdef"]

    run(test)


def test_d12_a_cut_file_is_not_published_and_takes_nothing_of_the_old_one() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("x.jpg", b"old and whole") == 226
            async with client.data() as data:
                assert await client.say("STOR x.jpg") == 150
                data.write(b"new")
                await asyncio.sleep(0.02)
                await client.send("ABOR")
                assert [(await client.heard())[0] for _ in range(2)] == [426, 226]
            assert await client.say("ALLO 10") == 200
            assert await client.store("y.jpg", b"short") == 426
        assert [content for _, content in await door.committed()] == [b"old and whole"]

    run(test)


def test_d13_guessing_takes_time_and_tells_nothing_of_names() -> None:
    async def test(door: Door) -> None:
        loop, shown = asyncio.get_running_loop(), door.node.customer.shown
        async with door.stranger() as client:
            await client.heard()
            heard = list[tuple[int, str]]()
            begun_s = loop.time()
            for name in (shown.name, "nobodyyy"):
                assert await client.say(f"USER {name}") == 331
                await client.send("PASS wrong")
                heard.append(await client.heard())
            assert heard[0] == heard[1], "the same words for either"
            assert loop.time() - begun_s >= 0.2
            assert await client.say("USER x") == 331
            assert await client.say("PASS x") == 421
            assert await client.is_closed()

    run(test, bounds=replace(QUICK, login_pause_s=0.1))


def test_d14_a_long_line_is_500_and_a_silent_stranger_is_sent_away() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, door.stranger() as silent:
            assert await client.say(b"STOR " + b"x" * 70_000) == 500
            assert await client.say(b"CWD " + b"x" * FTP_LINE_BYTES_MAX) == 500
            assert await client.store("x.jpg") == 226
            assert (await silent.heard())[0] == 220
            assert (await silent.heard())[0] == 421
            assert await silent.is_closed()

    run(test, bounds=replace(QUICK, login_s=0.3))


def test_d15_failures_have_their_own_codes() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for line, code in (
                ("SIZE none", 550),
                ("STOR ..", 425),
                ("MODE B", 504),
                ("RNTO x", 503),
                ("REST x", 501),
                ("XYZ", 502),
            ):
                assert await client.say(line) == code
            door.node.free_bytes = 0
            door.node.intake._room_until_s = 0.0
            assert await client.store("x.jpg") == 451, "ours, and it heals"

    run(test)


def test_d16_a_data_port_is_shared_with_no_other_process() -> None:
    ports = one_port()

    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.passive()
            with socket.socket() as rival:
                rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with pytest.raises(OSError, match="in use"):
                    rival.bind(("127.0.0.1", ports[0]))

    run(test, ports=ports)


def test_d17_one_port_serves_clients_one_after_another_and_of_many_addresses() -> None:
    async def stored(door: Door, source: str) -> None:
        async with door.stranger(source) as client:
            await client.heard()
            assert await client.sign_in() == 230
            async with client.data(source) as data:
                assert await client.say("STOR x.jpg") == 150
                data.write(source.encode())
                data.write_eof()
                assert (await client.heard())[0] == 226

    async def test(door: Door) -> None:
        await stored(door, "127.0.0.2")
        async with asyncio.TaskGroup() as group:
            for number in range(2, 8):
                group.create_task(stored(door, f"127.0.0.{number}"))
        for _ in range(3):
            await stored(door, "127.0.0.2")
        whole = [one for one in door.node.outcomes() if one.state is OutcomeState.COMMITTED]
        assert len(whole) >= 6

    run(test, ports=one_port())


async def _text(client: Client, line: str) -> str:
    await client.send(line)
    return (await client.heard())[1]


def test_d19_epsv_never_closes_mlsd_ends_with_226_and_replies_have_text() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for line, code in (("EPSV 1", 229), ("EPSV 2", 522), ("EPSV ALL", 200)):
                assert await client.say(line) == code
            assert await client.say("TYPE i") == 200
            assert await client.say("TYPE A N") == 200
            assert await _text(client, "MKD A") == '"/A" created'
            assert await _text(client, "CWD A")
            await client.send("EPSV")
            reader, data = await dialled(int((await client.heard())[1].split("|")[3]))
            assert await client.say("MLSD") == 150
            assert (await reader.read()).startswith(b"type=cdir;")
            assert (await client.heard())[0] == 226
            data.close()

    run(test)
