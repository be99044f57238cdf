import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from random import Random

import asyncssh
import pytest

from edge.sftp.bounds import Bounds
from edge.snapshot import AccountState, Limits
from tests.support.sftp_door import QUICK, Door, run
from tests.support.snapshots import Customer
from zentransfer.credential import make_pepper
from zentransfer.limits import FTP_WRONG_MAX

REFUSED = (asyncssh.Error, OSError)


def test_a_wrong_password_is_refused_and_too_many_end_the_connection() -> None:
    async def test(door: Door) -> None:
        for secret in ("wrong", "a" * 20):
            with pytest.raises(asyncssh.PermissionDenied):
                async with door.connected(secret):
                    pass
        tries = 0

        class Guesser(asyncssh.SSHClient):
            def password_auth_requested(self) -> str:
                nonlocal tries
                tries += 1
                return "a" * 20

        with pytest.raises(asyncssh.DisconnectError, match="Too many wrong passwords"):
            await asyncssh.connect(
                *("127.0.0.1", door.port),
                client_factory=Guesser,
                username="abcdefgh",
                known_hosts=None,
                config=None,
                client_keys=None,
                agent_path=None,
            )
        assert tries == 3

    run(test)


def test_nobody_signs_in_where_accounts_cannot_be_looked_up_and_hears_why() -> None:
    async def test(door: Door) -> None:
        door.node.customer.pepper = make_pepper(Random(8).randbytes)
        with pytest.raises(asyncssh.DisconnectError, match="cannot be reached for now"):
            async with door.connected():
                pass

    run(test)


def test_a_suspended_account_hears_why_before_it_is_refused() -> None:
    banners = list[str]()

    class Reader(asyncssh.SSHClient):
        def auth_banner_received(self, msg: str, lang: str) -> None:
            banners.append(msg)

    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                *("127.0.0.1", door.port),
                client_factory=Reader,
                username=shown.name,
                password=shown.secret,
                known_hosts=None,
                config=None,
                client_keys=None,
                agent_path=None,
            )

    run(test, customer=Customer(state=AccountState.SUSPENDED))
    assert "suspended" in "".join(banners)


ASKED: dict[str, Callable[[asyncssh.SSHClientConnection, int], Awaitable[object]]] = {
    "shell": lambda connection, _: connection.open_session(),
    "exec": lambda connection, _: connection.open_session("scp -t x"),
    "forward": lambda connection, port: connection.open_connection("127.0.0.1", port),
    "other subsystem": lambda connection, _: connection.open_session(subsystem="other"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_nothing_but_sftp_can_be_asked_for(asked: str) -> None:
    async def test(door: Door) -> None:
        async with door.connected() as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await ASKED[asked](connection, door.port)

    run(test)


@pytest.mark.parametrize(
    ("kind", "weak"),
    [
        ("encryption_algs", "chacha20-poly1305@openssh.com"),
        ("encryption_algs", "aes128-cbc"),
        ("mac_algs", "hmac-sha1"),
        ("kex_algs", "diffie-hellman-group14-sha1"),
        ("compression_algs", "zlib@openssh.com"),
    ],
)
def test_weak_algorithms_are_not_offered(kind: str, weak: str) -> None:
    async def test(door: Door) -> None:
        more = {"encryption_algs": "aes128-ctr"} if kind == "mac_algs" else {}
        with pytest.raises(asyncssh.KeyExchangeFailed):
            await asyncssh.connect(
                *("127.0.0.1", door.port),
                known_hosts=None,
                config=None,
                **{kind: weak, **more},
            )

    run(test)


@pytest.mark.reaches("SFTP_CHANNELS_MAX")
def test_a_connection_has_only_so_many_sessions() -> None:
    async def test(door: Door) -> None:
        async with door.connected() as connection:
            clients = [await connection.start_sftp_client() for _ in range(10)]
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.start_sftp_client()
            clients[0].exit()
            await clients[0].wait_closed()
            await clients[1].listdir("/")

    run(test)


@pytest.mark.reaches("SFTP_CONNECTIONS_MAX")
@pytest.mark.reaches("SFTP_PER_ADDRESS_MAX")
@pytest.mark.reaches("SFTP_HANDSHAKES_MAX")
@pytest.mark.parametrize("bound", ["connections_max", "per_address_max", "handshakes_max"])
def test_who_is_too_many_is_turned_away_and_let_in_later(bound: str) -> None:
    async def test(door: Door) -> None:
        async with AsyncExitStack() as stack:
            for number in range(2):
                if bound == "handshakes_max":
                    source = (f"127.0.0.{number + 2}", 0)
                    _, writer = await asyncio.open_connection(
                        "127.0.0.1", door.port, local_addr=source
                    )
                    stack.callback(writer.close)
                else:
                    await stack.enter_async_context(door.connected())
            while door.door.connections < 2:  # noqa: ASYNC110 - of the kernel's making
                await asyncio.sleep(0.01)
            with pytest.raises(REFUSED):
                async with door.connected():
                    pass
        while door.door.connections:  # noqa: ASYNC110 - of the kernel's making
            await asyncio.sleep(0.01)
        async with door.client() as client:
            await client.listdir("/")

    run(test, bounds=replace(QUICK, **{bound: 2}))


def test_strangers_of_one_address_leave_places_to_the_others() -> None:
    async def test(door: Door) -> None:
        async with AsyncExitStack() as stack:
            for number in range(3):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", door.port, local_addr=("127.0.0.2", 0)
                )
                stack.callback(writer.close)
                if number < 2:
                    assert (await reader.readline()).startswith(b"SSH-2.0")
                else:
                    with suppress(ConnectionError):
                        assert await reader.readline() == b""
            async with door.client() as client:
                await client.listdir("/")

    run(test, bounds=replace(QUICK, handshakes_max=8))


def test_wrong_passwords_are_counted_with_those_of_ftp() -> None:
    async def test(door: Door) -> None:
        defence, now_s = door.door.defence, asyncio.get_running_loop().time()
        with pytest.raises(asyncssh.PermissionDenied):
            async with door.connected("wrong"):
                pass
        for _ in range(FTP_WRONG_MAX + 10):
            defence.wrong("127.0.0.9", now_s)
        with pytest.raises(REFUSED):
            async with door.connected():
                pass
        for _ in range(12):
            defence.right("127.0.0.9", now_s)
        async with door.connected():
            pass

    run(test)


def test_an_account_has_only_so_many_connections_by_ftp_and_sftp() -> None:
    async def test(door: Door) -> None:
        async with door.connected():
            with pytest.raises(asyncssh.DisconnectError, match="too many"):
                async with door.connected():
                    pass
        while door.door.connections:  # noqa: ASYNC110 - of the kernel's making
            await asyncio.sleep(0.01)
        async with door.connected():
            pass

    run(test, customer=Customer(limits=Limits(connections_max=1)))


def test_silence_costs_the_connection_but_not_one_that_is_at_work() -> None:
    async def test(door: Door) -> None:
        async with door.connected() as silent:
            await silent.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        assert (await reader.readline()).startswith(b"SSH-2.0-ZenTransfer")
        while await reader.read(1_000):
            pass  # it was never signed in
        writer.close()

    run(test, bounds=Bounds(idle_s=0.2, login_s=0.2))


def test_a_door_that_leaves_lets_a_file_finish_and_sends_the_idle_away() -> None:
    async def test(door: Door) -> None:
        async with door.client() as busy, door.connected() as idle:
            file = await busy.open("a", "wb")
            await file.write(b"abc", 0)
            await door.door.leave()
            await idle.wait_closed()
            with pytest.raises(REFUSED):
                async with door.connected():
                    pass
            await file.write(b"def", 3)
            await file.close()
        assert [content for _, content in await door.committed()] == [b"abcdef"]
        assert door.door.connections == 0

    run(test)


def test_a_door_that_closes_cuts_what_is_open() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a", "wb")
            await file.write(b"abc", 0)
            await door.door.close()
            assert door.door.connections == 0
            assert await door.committed() == []

    run(test)


@pytest.mark.reaches("SFTP_REPLIES_BYTES_MAX")
def test_who_takes_no_replies_is_cut() -> None:
    def packet(kind: int, *fields: bytes) -> bytes:
        strings = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
        return (len(strings) + 5).to_bytes(4, "big") + bytes([kind, 0, 0, 0, 7]) + strings

    async def test(door: Door) -> None:
        async with door.connected() as connection:
            writer, reader, _ = await connection.open_session(
                subsystem="sftp", encoding=None, window=1 << 30
            )
            writer.write(b"\0\0\0\5\1\0\0\0\3")
            for number in range(128):
                made = packet(14, f"{number:0200}".encode(), b"")  # the empty field: no attributes
                writer.write(made)
            connection._transport.pause_reading()  # type: ignore[union-attr]
            for number in range(400):  # OPENDIR, READDIR, CLOSE
                handle = number.to_bytes(4, "big")
                writer.write(packet(11, b"/") + packet(12, handle) + packet(4, handle))
            while door.door.connections:  # noqa: ASYNC110 - of the kernel's making
                await asyncio.sleep(0.01)
            assert reader.channel is not None

    run(test)


def test_the_library_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.listdir("/")

    with caplog.at_level(logging.DEBUG):
        run(test)
    assert [record for record in caplog.records if record.name.startswith("asyncssh")] == []
