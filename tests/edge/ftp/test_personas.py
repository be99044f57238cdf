"""Cameras and programs as they behave, each from its connection to the file in its owner's hands.

Those that need TLS are with the tests of TLS.
"""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from edge.facts import OutcomeState
from edge.pace import Patience
from tests.support.ftp_door import QUICK, Client, Door, dialled, reset, run
from zentransfer.sealed_name import FileName

WHOLE = Random(7).randbytes(300_000)


async def names(door: Door) -> list[tuple[str, str, bytes]]:
    return [(name.folder, name.name, content) for name, content in await door.committed()]


async def the_size(client: Client, name: str) -> str:
    await client.send(f"SIZE {name}")
    code, text = await client.heard()
    assert code == 213, text
    return text


@pytest.mark.parametrize(("tries_port", "enters_any"), [(False, True), (True, False)])
def test_p01_a_body_that_makes_its_folders_and_sends_many_files(
    tries_port: bool, enters_any: bool
) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("TYPE I") == 200
            if tries_port:
                await client.send("PORT 192,168,1,5,4,1")
                assert await client.heard() == (502, "Use passive mode")
            for folder in ("A", "DCIM", "100EOSR5"):
                code = await client.say(f"CWD {folder}")
                assert code == (250 if enters_any else 550)
                if code == 550:
                    assert await client.say(f"MKD {folder}") == 257
                    assert await client.say(f"CWD {folder}") == 250
            for number in range(1, 13):
                assert await client.store(f"IMG_{number:04}.CR3", b"%d" % number) == 226
            assert await client.say("QUIT") == 221
        found = await names(door)
        assert found == [
            ("A/DCIM/100EOSR5", f"IMG_{number:04}.CR3", b"%d" % number) for number in range(1, 13)
        ]

    run(test, bounds=replace(QUICK, enters_any=enters_any))


def test_p03_a_body_that_reconnects_for_each_file_leaks_no_port_and_no_slot() -> None:
    async def test(door: Door) -> None:
        for number in range(12):
            async with door.client() as client:
                assert await client.store(f"{number}.jpg") == 226
        async with asyncio.timeout(20):
            while door.door.sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert door.node.intake.in_flight == 0
        assert not door.door._passive._expected
        assert not door.door._verbs._signed_in
        assert not door.door._verbs.defence._signed_in
        assert not door.door._verbs.stores._coming

    run(test)


def test_p04_pasv_connect_cwd_stor() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            _, data = await dialled(await client.passive())
            assert await client.say("CWD A") == 250
            assert await client.say("STOR x.jpg") == 150
            data.write(WHOLE)
            data.close()
            assert (await client.heard())[0] == 226
        assert await names(door) == [("A", "x.jpg", WHOLE)]

    run(test)


def test_p05_rest_pasv_stor() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.data() as data:
                assert await client.say("STOR x.jpg") == 150
                data.write(WHOLE[:100_000])
                await asyncio.sleep(0.05)
                reset(data)
                assert (await client.heard())[0] == 426
            held = int(await the_size(client, "x.jpg"))
            assert await client.say(f"REST {held}") == 350
            assert await client.store("x.jpg", WHOLE[held:]) == 226  # PASV is in between
        assert await names(door) == [("", "x.jpg", WHOLE)]

    run(test)


def test_p06_a_body_that_vanishes_without_a_fin_and_comes_back() -> None:
    async def test(door: Door) -> None:
        async with door.client() as gone, gone.data() as silent:
            assert await gone.say("STOR x.jpg") == 150
            silent.write(WHOLE[:100_000])
            await asyncio.sleep(0.05)
            async with door.client() as client:  # its old connections are still open here
                assert await client.store("x.jpg", WHOLE) == 226
            assert (await gone.heard())[0] == 426, "who is silent is cut"
        whole, cut = await door.until_told(2)
        assert whole.state is OutcomeState.COMMITTED
        assert cut.state is OutcomeState.FAILED, "nobody will come back for it"
        assert await names(door) == [("", "x.jpg", WHOLE)]

    content = Patience(idle_s=0.6, window_s=1.0, rate_min=1_024)
    run(test, bounds=replace(QUICK, content=content))


def test_p07_noop_during_the_transfer() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR x.jpg") == 150
            for begin in range(0, len(WHOLE), 100_000):
                data.write(WHOLE[begin : begin + 100_000])
                assert await client.say("NOOP") == 200
            data.write_eof()
            assert (await client.heard())[0] == 226
        assert await names(door) == [("", "x.jpg", WHOLE)]

    run(test)


def test_p08_allo_before_stor() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say(f"ALLO {len(WHOLE)}") == 200
            assert await client.store("x.jpg", WHOLE) == 226
        assert await names(door) == [("", "x.jpg", WHOLE)]

    run(test)


@pytest.mark.parametrize("name", ["größe".encode("latin-1"), "テスト".encode("shift-jis")])
def test_p09_a_folder_that_is_no_utf_8_is_kept_byte_for_byte(name: bytes) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say(b"MKD " + name) == 257
            assert await client.say(b"CWD " + name) == 250
            await client.send("PWD")
            code, text = await client.heard()
            assert (code, text.encode(errors="surrogateescape")) == (257, b'"/' + name + b'"')
            assert await client.store("x.jpg") == 226
            assert await client.say(b"SIZE /" + name + b"/x.jpg") == 213
        ((name_of, _),) = await door.committed()
        assert isinstance(name_of, FileName)
        assert name_of.folder

    run(test)


def test_p11_two_bodies_with_one_credential_and_the_same_names_at_once() -> None:
    rolls = [[bytes([body, number]) * 40_000 for number in range(5)] for body in range(2)]

    async def body(door: Door, roll: list[bytes]) -> None:
        async with door.client() as client:
            assert await client.say("MKD DCIM") in (257, 550)
            assert await client.say("CWD DCIM") == 250
            for number, content in enumerate(roll):
                assert await client.store(f"IMG_{number:04}.JPG", content) == 226

    async def test(door: Door) -> None:
        async with asyncio.TaskGroup() as group:
            for roll in rolls:
                group.create_task(body(door, roll))
        found = await door.committed()
        assert sorted(name.name for name, _ in found) == sorted(
            f"IMG_{number:04}.JPG" for number in range(5) for _ in rolls
        )
        assert {content for _, content in found} == {one for roll in rolls for one in roll}

    run(test)


def test_p13_quit_right_after_the_last_byte() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say("STOR x.jpg") == 150
            data.write(WHOLE)
            data.write_eof()
            await client.send("QUIT")
            assert [(await client.heard())[0] for _ in range(2)] == [226, 221]
            assert await client.is_closed()
        assert await names(door) == [("", "x.jpg", WHOLE)]

    run(test)


def test_p14_size_and_list_after_delivery_are_answered_from_the_ghost() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.store("A/x.jpg", WHOLE) == 226
        (outcome,) = door.node.outcomes()
        await door.node.sink.destroy(outcome.upload_id)  # as delivery does in the end
        async with door.client() as client:
            assert await the_size(client, "A/x.jpg") == str(len(WHOLE))
            assert await client.say("MDTM A/x.jpg") == 213
            reader, writer = await dialled(await client.passive())
            assert await client.say("LIST A") == 150
            assert b" 300000 " in await reader.read()
            assert (await client.heard())[0] == 226
            writer.close()
            assert await client.say("RETR A/x.jpg") == 550

    run(test)
