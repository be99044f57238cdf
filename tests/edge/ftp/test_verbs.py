import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from edge.facts import OutcomeState
from edge.ftp.bounds import Bounds
from edge.pace import Patience
from edge.snapshot import AccountState, Limits
from tests.support.ftp_door import QUICK, Door, dialled, one_port, run
from tests.support.snapshots import Customer
from zentransfer.errors import Code
from zentransfer.limits import (
    FTP_DATA_WAIT_S,
    FTP_LOGIN_PAUSE_S,
)
from zentransfer.sealed_name import FileName


def test_two_files_of_one_name_are_both_kept_also_at_the_same_time() -> None:
    async def test(door: Door) -> None:
        async with door.client() as one, door.client() as other:
            assert await one.store("x.jpg", b"one") == 226
            async with one.data() as first, other.data() as second:
                assert await one.say("STOR x.jpg") == 150
                assert await other.say("STOR x.jpg") == 150
                for data, content in ((first, b"two"), (second, b"three")):
                    data.write(content)
                    data.write_eof()
                assert (await one.heard())[0] == 226
                assert (await other.heard())[0] == 226
        found = await door.committed()
        assert [name.name for name, _ in found] == ["x.jpg"] * 3
        assert {content for _, content in found} == {b"one", b"two", b"three"}

    run(test)


def test_names_come_in_as_they_were_meant() -> None:
    names: list[tuple[bytes, str]] = [
        (b"with  spaces .jpg", "with  spaces .jpg"),
        ("Grüße 東京.jpg".encode(), "Grüße 東京.jpg"),
        (b"caf\xe9.jpg", "café.jpg"),
        (b"-rf", "_-rf"),
        (b"n" * 251 + b".jpg", "n" * 196 + ".jpg"),
    ]

    async def test(door: Door) -> None:
        async with door.client() as client:
            for sent, _ in names:
                assert await client.store(sent) == 226
            for bad in (b"..", b"../x", b"a/../../x", b"a\x00b", b"a\rb", b"", b"x" * 5_000):
                assert await client.store(bad) in (500, 501)
            assert await client.say("NOOP") == 200, "a name never ends the connection"
        assert [name.name for name, _ in await door.committed()] == [want for _, want in names]
        assert len(door.node.outcomes()) == len(names)

    run(test)


def test_a_file_lies_in_the_folder_that_the_client_made_below_its_own() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("MKD A") == 257
            assert await client.say("CWD A") == 250
            assert await client.say(b"MKD caf\xe9") == 257
            await client.send(b"CWD caf\xe9")
            assert (await client.heard())[0] == 250
            await client.send("PWD")
            code, path = await client.heard()
            assert (code, path.encode(errors="surrogateescape")) == (257, b'"/A/caf\xe9"')
            assert await client.store("b.jpg") == 226
            assert await client.store("/C/d.jpg") == 226
        names = [name for name, _ in await door.committed()]
        assert names == [FileName("own/A/café", "b.jpg"), FileName("own/C", "d.jpg")]

    run(test, customer=Customer(folder="own"))


# -- signing in -----------------------------------------------------------------------------------


@pytest.mark.reaches("FTP_LOGIN_PAUSE_S")
def test_a_wrong_password_costs_time_and_the_third_the_connection() -> None:
    assert Bounds().login_pause_s == FTP_LOGIN_PAUSE_S

    async def test(door: Door) -> None:
        loop = asyncio.get_running_loop()
        shown = door.node.customer.shown
        async with door.stranger() as client:
            await client.heard()
            begun_s = loop.time()
            tries = [(shown.name, "wrong"), ("nobodyxx", shown.secret), (shown.name, "a" * 20)]
            for (name, secret), code in zip(tries, (530, 530, 421), strict=True):
                assert await client.say(f"USER {name}") == 331
                assert await client.say(f"PASS {secret}") == code
            assert loop.time() - begun_s >= 0.3
            assert await client.is_closed()
        async with door.client():
            pass  # nothing was taken from the one who has the right password

    run(test, bounds=replace(QUICK, login_pause_s=0.1))


def test_only_a_few_things_are_said_to_a_stranger() -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await client.heard()
            for line in ("PWD", "PASV", "EPSV", "STOR x", "LIST", "CWD x", "MKD x", "ALLO 3"):
                assert await client.say(line) == 530
            assert await client.say("PASS x") == 503
            assert await client.say("NOPE") == 502
            for line in ("SYST", "FEAT", "NOOP", "HELP", "OPTS UTF8 ON"):
                assert (await client.say(line)) // 100 == 2
            assert await client.sign_in() == 230
            assert await client.say("USER x") == 331
            assert await client.say("PWD") == 530, "USER begins anew"

    run(test)


@pytest.mark.parametrize(
    ("customer", "code"),
    [
        (Customer(state=AccountState.SUSPENDED), 530),
        (Customer(state=AccountState.CLOSED), 530),
    ],
)
def test_who_may_not_upload_is_not_signed_in(customer: Customer, code: int) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await client.heard()
            assert await client.sign_in() == code

    run(test, customer=customer)


def test_a_credential_for_programs_does_not_sign_in() -> None:
    async def test(door: Door) -> None:
        door.node.customer.kind = Customer().kind
        await door.node.snapshots.keep(door.node.customer.snapshot(2))
        async with door.stranger() as client:
            await client.heard()
            assert await client.sign_in() == 530

    run(test)


def test_a_revoked_credential_stores_nothing_more() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("a.jpg") == 226
            customer = door.node.customer
            customer.shown = Customer(seed=9).shown
            await door.node.snapshots.keep(customer.snapshot(2))
            assert await client.store("b.jpg") == 530
            assert await client.say("NOOP") == 200

    run(test)


# -- what is refused ------------------------------------------------------------------------------


def test_too_large_is_refused_before_the_data_or_in_it() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data():
                assert await client.say("ALLO 11") == 200
                assert await client.say("STOR a.jpg") == 550
            assert door.node.outcomes() == []
            assert await client.store("a.jpg", b"x" * 11) == 550
            assert await client.store("a.jpg", b"x" * 10) == 226
        assert [one.error for one in await door.until_told(2)] == [Code.TOO_LARGE, None]

    run(test, customer=Customer(limits=Limits(upload_bytes_max=10)))


def test_a_full_node_says_that_it_heals_and_the_data_connection_is_not_left_open() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            door.node.free_bytes = 0
            reader, writer = await dialled(await client.passive())
            door.node.intake._room_until_s = 0.0
            assert await client.say("STOR a.jpg") == 451
            assert await reader.read() == b""
            writer.close()
            async with door.stranger() as other:
                assert (await other.heard())[0] == 421
            door.node.free_bytes = 1 << 40
            door.node.intake._room_until_s = 0.0
            assert await client.store("a.jpg") == 226

    run(test)


# -- data connections -----------------------------------------------------------------------------


def test_a_data_connection_may_come_before_stor_or_long_after() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                data.write(b"abc")
                data.write_eof()
                await asyncio.sleep(0.05)
                assert await client.say("CWD A") == 250  # between PASV and STOR, as some do
                assert await client.say("STOR early.jpg") == 150
                assert (await client.heard())[0] == 226
            port = await client.passive()
            assert await client.say("STOR late.jpg") == 150
            await asyncio.sleep(1.3)
            _, writer = await dialled(port)
            writer.write(b"def")
            writer.close()
            assert (await client.heard())[0] == 226
        assert [content for _, content in await door.committed()] == [b"abc", b"def"]

    run(test)


def test_a_data_connection_that_never_comes_is_425_and_the_session_lives() -> None:
    assert Bounds().data_wait_s == FTP_DATA_WAIT_S

    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("STOR a.jpg") == 425  # without PASV
            port = await client.passive()
            assert await client.say("STOR a.jpg") == 150
            assert (await client.heard())[0] == 425
            reader, writer = await dialled(port)
            with suppress(ConnectionError):
                assert await reader.read() == b"", "nobody is expected any more"
            writer.close()
            assert await client.store("a.jpg") == 226
        assert len(door.node.outcomes()) == 1
        assert door.node.intake.in_flight == 0

    run(test, bounds=replace(QUICK, data_wait_s=0.1))


def test_a_data_connection_of_another_address_is_refused() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            port = await client.passive()
            reader, thief = await dialled(port, "127.0.0.2")
            thief.write(b"stolen")
            assert await client.say("STOR a.jpg") == 150
            with suppress(ConnectionError):
                assert await reader.read() == b""
            thief.close()
            _, writer = await dialled(port)
            writer.write(b"mine")
            writer.close()
            assert (await client.heard())[0] == 226
        ((_, content),) = await door.committed()
        assert content == b"mine"

    run(test)


def test_extended_passive_mode_in_all_its_forms() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("EPSV 1") == 229
            assert await client.say("EPSV 2") == 522
            await client.send("EPSV")
            code, text = await client.heard()
            assert code == 229
            _, writer = await dialled(int(text.split("|")[3]))
            assert await client.say("STOR a.jpg") == 150
            writer.write(b"abc")
            writer.close()
            assert (await client.heard())[0] == 226
            assert await client.say("EPSV ALL") == 200
            assert await client.say("PASV") == 503
            assert await client.say("EPSV") == 229

    run(test)


def test_a_listing_is_whole_and_needs_a_data_connection() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("a.jpg") == 226
            assert await client.say("MKD A") == 257
            for line, is_there in (("LIST", True), ("LIST -la /A", False), ("NLST", True)):
                reader, writer = await dialled(await client.passive())
                assert await client.say(line) == 150
                assert (b"a.jpg\r\n" in await reader.read()) == is_there
                writer.close()
                assert (await client.heard())[0] == 226
            await client.passive()
            assert await client.say("LIST /B") == 550
            assert await client.say("LIST") == 425

    run(test)


def test_a_sender_that_is_silent_or_too_slow_is_cut() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR a.jpg") == 150
                data.write(b"abc")
                assert (await client.heard())[0] == 426
            assert await client.store("a.jpg") == 226
        whole, old = await door.until_told(2)
        assert whole.state is OutcomeState.COMMITTED
        assert (old.state, old.error) == (OutcomeState.CANCELLED, Code.SUPERSEDED)

    content = Patience(idle_s=0.2, window_s=0.4, rate_min=1_024)
    run(test, bounds=replace(QUICK, content=content))


def test_a_client_without_a_free_port_is_told_to_try_again() -> None:
    async def test(door: Door) -> None:
        async with door.client() as one, door.client() as other:
            await one.passive()
            assert await other.say("PASV") == 425
            assert await other.say("EPSV") == 425
            assert await other.say("STOR a.jpg") == 425
            assert await one.say("ABOR") == 226
            assert await other.store("a.jpg") == 226

    run(test, ports=one_port())


def test_pasv_names_the_address_that_nat_gives_us() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send("PASV")
            code, text = await client.heard()
            assert code == 227
            assert "(203,0,113,9," in text

    run(test, public_host="203.0.113.9")


def test_the_time_from_the_last_byte_to_226_is_heard() -> None:
    async def test(door: Door) -> None:
        heard = list[float]()
        door.door.observe(heard.append)
        async with door.client() as client:
            assert await client.store("a.jpg") == 226
            assert await client.say("ALLO 9") == 200
            assert await client.store("b.jpg") == 426
        (seconds,) = heard
        assert 0 < seconds < 5

    run(test)
