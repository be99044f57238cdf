"""Files by FTP: gone on with after a cut, held for their last name, and sent again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.facts import OutcomeState
from edge.ftp.coming import DIALECT
from edge.ftp.doors import FtpDoor
from edge.ftp.passive import PassivePorts
from edge.ftp.paths import maybe_lasting
from edge.neighbours import Neighbours
from edge.record import State
from edge.region_state import MemoryRegion
from edge.snapshot import Limits
from tests.support.ftp_door import QUICK, Client, Door, reset, run
from tests.support.ports import DATA
from tests.support.snapshots import Customer
from tests.support.taking import Node
from zentransfer import health
from zentransfer.errors import Code
from zentransfer.limits import FTP_CANDIDATES_MAX, FTP_RENAME_S, FTP_RESEND_S
from zentransfer.sealed_name import FileName

WHOLE = Random(5).randbytes(700_000)
HALF = 400_000


async def cut(client: Client, name: str | bytes, content: bytes, verb: bytes = b"STOR") -> int:
    """Send *content* and vanish with the data connection; return the last code."""
    async with client.data() as data:
        assert await client.say(verb + b" " + (name if isinstance(name, bytes) else name.encode()))
        data.write(content)
        await data.drain()
        await asyncio.sleep(0.05)
        reset(data)
        return (await client.heard())[0]


async def size(client: Client, name: str) -> int:
    await client.send(f"SIZE {name}")
    code, text = await client.heard()
    return int(text) if code == 213 else -code


async def send(client: Client, command: str, content: bytes) -> int:
    async with client.data() as data:
        code = await client.say(command)
        if code != 150:
            return code
        data.write(content)
        data.write_eof()
        return (await client.heard())[0]


async def the_files(door: Door) -> list[tuple[str, bytes]]:
    return [(name.name, content) for name, content in await door.committed()]


@asynccontextmanager
async def other(door: Door, region: MemoryRegion | None = None) -> AsyncGenerator[Door, None]:
    """Another process of the region, that reaches the same sink."""
    node = await Node(door.node.disk, door.node.customer, process="ingest-1").start()
    node.clock = door.node.clock
    if region is not None:
        Neighbours(region.process(), node.resumables.unfinished, node.sink, "fr-1/ingest-1")
    made = FtpDoor(node.resumables, PassivePorts("127.0.0.1", DATA, Random()), node.clock, QUICK)
    listener = health.listen("127.0.0.1", 0, "test")
    await made.serve(listener)
    try:
        yield Door(node, made, listener)
    finally:
        await made.close()


# -- going on with what was cut -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["REST and STOR", "REST and APPE", "APPE alone"])
@pytest.mark.parametrize("uvloop", [False, True])
def test_a_cut_file_is_gone_on_with_exactly(how: str, uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(client, "a.jpg")
            assert 0 < held <= HALF
            if how.startswith("REST"):
                assert await client.say(f"REST {held}") == 350
            verb = "STOR" if how.endswith("STOR") else "APPE"
            assert await send(client, f"{verb} a.jpg", WHOLE[held:]) == 226
            assert await size(client, "a.jpg") == len(WHOLE)
        assert await the_files(door) == [("a.jpg", WHOLE)]
        (outcome,) = door.node.outcomes()
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert len(record.segments) <= 2, "the open segment is gone on with"

    run(test, uvloop=uvloop)


def test_it_is_gone_on_with_over_a_new_connection_and_cut_again_and_again() -> None:
    async def test(door: Door) -> None:
        held = 0
        for piece in range(1, 7):
            async with door.client() as client:
                assert await client.say(f"REST {held}") == 350
                end = piece * 100_000
                assert await cut(client, "a.jpg", WHOLE[held:end]) == 426
                held = await size(client, "a.jpg")
                assert 0 < held <= end
        async with door.client() as client:
            assert await client.say(f"REST {held}") == 350
            assert await send(client, "STOR a.jpg", WHOLE[held:]) == 226
        assert await the_files(door) == [("a.jpg", WHOLE)]

    run(test)


def test_rest_for_another_place_than_we_hold_is_554_and_costs_nothing() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("REST 7") == 350
            assert await send(client, "STOR a.jpg", b"tail") == 554, "nothing is held at all"
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(client, "a.jpg")
            for wrong in (held + 1, held - 1, 10**15):
                assert await client.say(f"REST {wrong}") == 350
                assert await send(client, "STOR a.jpg", b"tail") == 554
            assert await size(client, "a.jpg") == held
            assert await client.say(f"REST {held}") == 350
            assert await send(client, "STOR a.jpg", WHOLE[held:]) == 226
        assert await the_files(door) == [("a.jpg", WHOLE)]

    run(test)


def test_appe_to_nothing_begins_and_to_what_is_whole_is_refused() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "APPE a.log", b"one") == 226
            assert await send(client, "APPE a.log", b"two") == 550
            assert await send(client, "STOR a.log", b"onetwo") == 226
        assert await the_files(door) == [("a.log", b"one"), ("a.log", b"onetwo")]

    run(test)


def test_a_file_that_is_sent_anew_takes_the_place_of_the_cut_one() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            assert await send(client, "STOR a.jpg", WHOLE) == 226
            assert await size(client, "a.jpg") == len(WHOLE)
        states = {(one.state, one.error) for one in await door.until_told(2)}
        assert states == {
            (OutcomeState.COMMITTED, None),
            (OutcomeState.CANCELLED, Code.SUPERSEDED),
        }
        assert await the_files(door) == [("a.jpg", WHOLE)]
        assert door.node.resumables.unfinished.uploads == []

    run(test)


def test_a_cut_file_is_seen_by_its_own_credential_only() -> None:
    async def test(door: Door) -> None:
        mine, theirs = door.node.customer, Customer(seed=9, kind=door.node.customer.kind)
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
        await door.node.snapshots.keep(theirs.snapshot(2))
        door.node.customer = theirs
        async with door.client() as stranger:
            assert await size(stranger, "a.jpg") == -550
            assert await stranger.say("APPE a.jpg") == 425
            assert await send(stranger, "APPE a.jpg", b"theirs") == 226
        door.node.customer = mine
        assert await the_files(door) == [("a.jpg", b"theirs")]

    run(test)


def test_two_bodies_with_one_name_at_once_are_two_files_and_never_one() -> None:
    async def test(door: Door) -> None:
        async with door.client() as one, door.client() as two:
            async with one.data() as first, two.data() as second:
                assert await one.say("STOR x.jpg") == 150
                assert await two.say("STOR x.jpg") == 150
                first.write(WHOLE[:HALF])
                second.write(WHOLE)
                await asyncio.sleep(0.1)
                reset(first)
                assert (await one.heard())[0] == 426
                second.write_eof()
                assert (await two.heard())[0] == 226
            assert await size(one, "x.jpg") == len(WHOLE), "the whole one, and no cut one"
            assert await one.say(f"REST {HALF}") == 350
            assert await send(one, "STOR x.jpg", WHOLE[HALF:]) == 554
        assert await the_files(door) == [("x.jpg", WHOLE)]

    run(test)


@pytest.mark.parametrize("hears", [False, True])
def test_any_process_of_the_region_goes_on_with_it(hears: bool) -> None:
    async def test(door: Door) -> None:
        region = MemoryRegion()
        first = door.node
        Neighbours(region.process(), first.resumables.unfinished, first.sink, "fr-1/ingest-0")
        async with other(door, region if hears else None) as second:
            async with door.client() as client:
                assert await cut(client, "A/a.jpg", WHOLE[:HALF]) == 426
                held = await size(client, "A/a.jpg")
            async with second.client() as client:
                if not hears:  # nobody told it: then the file is sent anew
                    assert await size(client, "A/a.jpg") == -550
                    assert await send(client, "STOR A/a.jpg", WHOLE) == 226
                else:
                    assert await size(client, "A/a.jpg") == held
                    assert await client.say(f"REST {held}") == 350
                    assert await send(client, "STOR A/a.jpg", WHOLE[held:]) == 226
            assert await the_files(second) == [("a.jpg", WHOLE)]
            assert door.node.outcomes() == []

    run(test)


def test_what_another_process_made_whole_is_whole_here_too() -> None:
    async def test(door: Door) -> None:
        region, first = MemoryRegion(), door.node
        Neighbours(region.process(), first.resumables.unfinished, first.sink, "fr-1/ingest-0")
        async with other(door, region) as second:
            async with door.client() as here, second.client() as there:
                assert await cut(here, "a.jpg", WHOLE[:HALF]) == 426
                held = await size(there, "a.jpg")
                assert await there.say(f"REST {held}") == 350
                assert await send(there, "STOR a.jpg", WHOLE[held:]) == 226
                assert await size(here, "a.jpg") == len(WHOLE)
                assert await send(here, "APPE a.jpg", b"more") == 550
            assert await the_files(second) == [("a.jpg", WHOLE)]

    run(test)


def test_a_process_that_starts_again_goes_on_with_what_the_dead_one_held() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.data() as data:
            assert await client.say(b"STOR caf\xe9.jpg") == 150
            data.write(WHOLE[:HALF])
            await asyncio.sleep(0.05)
            reset(data)
            await client.heard()
        door.node.disk = door.node.disk.crash()
        async with other(door) as again:
            await again.node.sweep()
            async with again.client() as client:
                await client.send(b"SIZE caf\xe9.jpg")
                code, text = await client.heard()
                assert code == 213
                assert await client.say(f"REST {text}") == 350
                async with client.data() as data:
                    assert await client.say(b"STOR caf\xe9.jpg") == 150
                    data.write(WHOLE[int(text) :])
                    data.write_eof()
                    assert (await client.heard())[0] == 226
            assert await the_files(again) == [("café.jpg", WHOLE)]

    run(test)


@pytest.mark.reaches("FTP_CANDIDATES_MAX")
def test_only_so_many_files_that_were_cut_elsewhere_are_remembered() -> None:
    async def test(door: Door) -> None:
        unfinished = door.node.resumables.unfinished
        for _ in range(FTP_CANDIDATES_MAX + 5):
            unfinished.heard_of(door.node.intake.new_id("up"))  # type: ignore[arg-type]
        assert len(unfinished.elsewhere) == FTP_CANDIDATES_MAX
        async with door.client() as client:
            assert await size(client, "x") == -550
        assert not unfinished.elsewhere, "all of them were looked at, and are nobody's"

    run(test)


def test_what_nobody_goes_on_with_expires_and_is_not_shown_then() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            (upload,) = door.node.resumables.unfinished.uploads
            await door.node.resumables.expire(upload)
            assert await send(client, "APPE a.jpg", WHOLE) == 226, "it begins anew"
        expired, whole = await door.until_told(2)
        assert expired.state is OutcomeState.EXPIRED
        assert whole.state is OutcomeState.COMMITTED

    run(test)


def test_dele_of_a_cut_file_cancels_it() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            assert await client.say("DELE a.jpg") == 250
            assert await client.say("DELE a.jpg") == 550
            assert await size(client, "a.jpg") == -550
        (outcome,) = await door.until_told()
        assert outcome.state is OutcomeState.CANCELLED

    run(test)


def test_a_cut_in_a_file_that_is_too_large_is_no_cut() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", b"x" * 8) == 426
            held = await size(client, "a.jpg")
            assert held == 8
            assert await send(client, "APPE a.jpg", b"x" * 8) == 550
            assert await size(client, "a.jpg") == -550 or door.node.outcomes()
        (outcome,) = await door.until_told()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.TOO_LARGE)

    run(test, customer=Customer(limits=Limits(upload_bytes_max=10)))


# -- sent again -----------------------------------------------------------------------------------


@pytest.mark.reaches("FTP_RESEND_S")
def test_a_resend_after_a_lost_226_is_226_and_delivered_once() -> None:
    async def test(door: Door) -> None:
        for _ in range(2):
            async with door.client() as client:
                assert await send(client, "STOR a.jpg", WHOLE) == 226
        told = await door.until_told(2)
        assert [(one.state, one.error) for one in told] == [
            (OutcomeState.COMMITTED, None),
            (OutcomeState.CANCELLED, Code.DUPLICATE),
        ]
        door.node.clock.advance(int(FTP_RESEND_S * 1000) + 1)
        async with door.client() as client:
            assert await send(client, "STOR a.jpg", WHOLE) == 226
            assert await send(client, "STOR a.jpg", WHOLE[:-1] + b"!") == 226
            assert await send(client, "STOR b.jpg", WHOLE) == 226
        assert len(await door.committed()) == 4, "later, other, and under another name"

    run(test)


def test_a_resend_of_what_came_in_two_pieces_is_known_too() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(client, "a.jpg")
            assert await client.say(f"REST {held}") == 350
            assert await send(client, "STOR a.jpg", WHOLE[held:]) == 226
            assert await send(client, "STOR a.jpg", WHOLE) == 226
        assert await the_files(door) == [("a.jpg", WHOLE)]

    run(test)


# -- temporary names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lasting"),
    [
        ("x.jpg.part", "x.jpg"),
        ("x.jpg.PARTIAL", "x.jpg"),
        ("x.tmp", "x"),
        ("x.jpg.filepart", "x.jpg"),
        (".in.x.jpg.", "x.jpg"),
        (".x.jpg", "x.jpg"),
        ("..x", "x"),
        ("x.jpg", None),
        (".part", "part"),
        ("part", None),
        ("x.parts", None),
    ],
)
def test_temporary_names_as_clients_make_them(name: str, lasting: str | None) -> None:
    found = maybe_lasting(FileName("F", name))
    assert found == (None if lasting is None else FileName("F", lasting))


@given(st.text(min_size=1))
def test_what_is_meant_by_a_temporary_name_is_never_empty(name: str) -> None:
    found = maybe_lasting(FileName("", name))
    assert found is None or (found.name and found.name != name)


def test_a_file_gets_its_last_name_before_it_is_delivered() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "STOR A/x.jpg.tmp", WHOLE) == 226
            (outcome,) = door.node.outcomes()
            record = (await door.node.sink.record(outcome.upload_id)).value
            assert record.state is State.COMMITTED
            known = door.node.intake.tools.settling.open(record)
            waits_until_ms = known.waits_until_ms(record.ending.ended_ms)
            assert waits_until_ms == record.ending.ended_ms + FTP_RENAME_S * 1000
            assert await client.say("RNFR A/x.jpg.tmp") == 350
            assert await client.say("RNTO A/y.jpg") == 250
            assert await size(client, "A/y.jpg") == len(WHOLE)
            assert await size(client, "A/x.jpg.tmp") == -550
            record = (await door.node.sink.record(outcome.upload_id)).value
            known = door.node.intake.tools.settling.open(record)
            assert not known.waits_until_ms(record.ending.ended_ms)
        assert door.node.woken[-1] == outcome.upload_id
        assert await door.name(outcome.upload_id) == FileName("own/A", "y.jpg")
        assert door.node.outcomes() == [outcome], "and it is told as it was"

    run(test, customer=Customer(folder="own"))


def test_a_file_that_is_deleted_under_its_temporary_name_is_delivered_nowhere() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "STOR x.jpg.tmp", b"abc") == 226
            (outcome,) = door.node.outcomes()
            assert await client.say("DELE x.jpg.tmp") == 250
            assert await size(client, "x.jpg.tmp") == -550
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert door.node.intake.tools.settling.open(record).is_withdrawn

    run(test)


@pytest.mark.reaches("FTP_RENAME_S")
def test_a_rename_after_delivery_changes_what_is_shown_only() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "STOR x.tmp", b"abc") == 226
            (outcome,) = door.node.outcomes()
            door.node.clock.advance(int(FTP_RENAME_S * 1000))
            for name, to in (("x.tmp", "x.jpg"), ("x.jpg", "y.jpg"), ("y.jpg", "y.jpg")):
                assert await client.say(f"RNFR {name}") == 350
                assert await client.say(f"RNTO {to}") == 250
            assert await size(client, "y.jpg") == 3
        assert await door.name(outcome.upload_id) == FileName("", "x.tmp")

    run(test)


def test_rnto_comes_right_after_rnfr_and_a_cut_file_is_not_renamed() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "STOR x.jpg", b"abc") == 226
            assert await client.say("RNTO y.jpg") == 503
            assert await client.say("RNFR x.jpg") == 350
            assert await client.say("NOOP") == 200
            assert await client.say("RNTO y.jpg") == 503
            assert await client.say("RNFR none.jpg") == 550
            assert await client.say("RNFR x.jpg") == 350
            assert await client.say("RNTO ../y.jpg") == 501
            assert await cut(client, "c.jpg", WHOLE[:HALF]) == 426
            assert await client.say("RNFR c.jpg") == 450

    run(test)


def test_the_dialect_of_every_file_is_one() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "STOU", b"abc") == 226
        (outcome,) = door.node.outcomes()
        assert (await door.node.sink.record(outcome.upload_id)).value.dialect == DIALECT

    run(test)
