"""Cut files of which somebody knows less than is true: their clients, and other processes."""

import asyncio
from contextlib import closing

import pytest

from edge.facts import OutcomeState
from edge.ftp.coming import quoted, unquoted
from tests.edge.ftp.test_storing import HALF, WHOLE, cut, other, send, size, the_files
from tests.support.ftp_door import Door, reset, run
from zentransfer.errors import Code

MORE = 200_000


async def until_came(door: Door, count: int) -> None:
    """Wait until the transfers under way at *door* have brought *count* bytes."""
    coming = door.door._verbs.stores._coming
    async with asyncio.timeout(20):
        while max((each.size for many in coming.values() for each in many), default=0) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_tail_never_lands_behind_what_a_dead_client_still_brought() -> None:
    async def test(door: Door) -> None:
        async with door.client() as dead, door.client() as client:
            assert await cut(dead, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(client, "a.jpg")
            assert await dead.say(f"REST {held}") == 350
            async with dead.data() as data:
                assert await dead.say("STOR a.jpg") == 150
                assert await size(client, "a.jpg") == held
                data.write(WHOLE[held : HALF + MORE])
                await until_came(door, HALF + MORE)
                # Without a FIN: the network is gone, and the client comes back with what it knows.
                code = await send(client, "APPE a.jpg", WHOLE[held:])
                assert code == 554
                while code == 554:
                    held = await size(client, "a.jpg")
                    code = await send(client, "APPE a.jpg", WHOLE[held:])
                assert code == 226
        assert await the_files(door) == [("a.jpg", WHOLE)]

    run(test)


def test_a_tail_is_no_file_when_its_beginning_has_gone() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(client, "a.jpg")
            (upload,) = door.node.resumables.unfinished.uploads
            await door.node.resumables.expire(upload)
            assert await send(client, "APPE a.jpg", WHOLE[held:]) == 554
            assert await size(client, "a.jpg") == -550, "what it was told before is forgotten"
            assert await send(client, "APPE a.jpg", WHOLE) == 226
        assert await the_files(door) == [("a.jpg", WHOLE)]

    run(test)


@pytest.mark.parametrize("is_contested", [False, True])
def test_who_lost_an_upload_to_another_process_leaves_it_alone(is_contested: bool) -> None:
    async def test(door: Door) -> None:
        async with other(door) as second, door.client() as here, second.client() as there:
            assert await cut(here, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(here, "a.jpg")
            (upload,) = door.node.resumables.unfinished.uploads
            second.node.resumables.unfinished.heard_of(upload)
            assert await here.say(f"REST {held}") == 350
            assert await size(there, "a.jpg") == held
            async with here.data() as old, there.data() as new:
                assert await here.say("STOR a.jpg") == 150
                if is_contested:
                    async with door.client() as beside, beside.data() as nothing:
                        assert await beside.say("STOR a.jpg") == 150
                        reset(nothing)
                        assert (await beside.heard())[0] == 426
                assert await there.say("APPE a.jpg") == 150
                new.write(WHOLE[held : HALF + MORE])
                await until_came(second, HALF + MORE)
                old.write(b"other bytes")
                reset(old) if is_contested else old.write_eof()
                assert (await here.heard())[0] in (426, 450, 451)
                new.write(WHOLE[HALF + MORE :])
                new.write_eof()
                assert (await there.heard())[0] == 226
            assert await the_files(second) == [("a.jpg", WHOLE)]
            assert upload in {one.upload_id for one in second.node.outcomes()}

    run(test)


def test_a_disk_that_fails_leaves_what_was_kept_before() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            held = await size(client, "a.jpg")
            async with client.data() as data:
                assert await client.say(f"REST {held}") == 350
                assert await client.say("STOR a.jpg") == 150
                data.write(WHOLE[held : HALF + MORE])
                await until_came(door, HALF + MORE)
                door.node.disk.fail_flush()
                data.write_eof()
                assert (await client.heard())[0] == 451
            assert await size(client, "a.jpg") >= held
            held = await size(client, "a.jpg")
            assert await client.say(f"REST {held}") == 350
            assert await send(client, "STOR a.jpg", WHOLE[held:]) == 226
        assert await the_files(door) == [("a.jpg", WHOLE)]

    run(test)


def test_a_record_that_cannot_be_read_stops_nobody() -> None:
    async def test(door: Door) -> None:
        async with other(door) as second, door.client() as here, second.client() as there:
            for name in ("a.jpg", "b.jpg"):
                assert await cut(here, name, WHOLE[:HALF]) == 426
            for upload in door.node.resumables.unfinished.uploads:
                second.node.resumables.unfinished.heard_of(upload)
            broken, _ = door.node.resumables.unfinished.uploads
            path = door.node.sink._records._path(broken)
            with closing(door.node.disk.open(path, write=True)) as file:
                file.write_at(b"\xff" * 64, 0)
            assert await size(there, "b.jpg") > 0
            assert await size(there, "a.jpg") == -550
            assert not second.node.resumables.unfinished.elsewhere

    run(test)


def test_a_list_shows_what_another_process_made_of_a_cut_file() -> None:
    async def test(door: Door) -> None:
        async with other(door) as second, door.client() as here, second.client() as there:
            for name in ("a.jpg", "b.jpg", "c.jpg"):
                assert await cut(here, name, WHOLE[:HALF]) == 426
            a, b, c = door.node.resumables.unfinished.uploads
            for upload in (a, b, c):
                second.node.resumables.unfinished.heard_of(upload)
            held = await size(there, "a.jpg")
            assert await here.say(f"REST {await size(here, 'a.jpg')}") == 350
            assert await send(here, "STOR a.jpg", WHOLE[held:]) == 226
            assert await here.say("DELE b.jpg") == 250
            assert await here.say(f"REST {await size(here, 'c.jpg')}") == 350
            assert await cut(here, "c.jpg", WHOLE[held : HALF + MORE]) == 426
            more = await size(here, "c.jpg")
            async with there.data() as data:
                assert await there.say("LIST") == 150
                assert (await there.heard())[0] == 226
                data.close()
            views = second.door._verbs.stores.views
            (credential,) = views
            shown = {name: each.size for name, each in views.of(credential).children(()) if each}
            assert shown == {"a.jpg": len(WHOLE), "c.jpg": more}

    run(test)


@pytest.mark.parametrize("resumes", [False, True])
def test_a_resend_that_was_cut_and_sent_again_is_delivered_once(resumes: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await send(client, "STOR a.jpg", WHOLE) == 226
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            held = 0
            if resumes:
                held = await size(client, "a.jpg")
                assert await client.say(f"REST {held}") == 350
            assert await send(client, "STOR a.jpg", WHOLE[held:]) == 226
            assert await size(client, "a.jpg") == len(WHOLE)
        assert await the_files(door) == [("a.jpg", WHOLE)]
        assert door.node.resumables.unfinished.uploads == []

    run(test)


def test_a_rename_onto_a_cut_file_ends_that() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await cut(client, "a.jpg", WHOLE[:HALF]) == 426
            assert await send(client, "STOR a.tmp", WHOLE) == 226
            assert await client.say("RNFR a.tmp") == 350
            assert await client.say("RNTO a.jpg") == 250
            assert await size(client, "a.jpg") == len(WHOLE)
        ends = {(one.state, one.error) for one in await door.until_told(2)}
        assert ends == {
            (OutcomeState.COMMITTED, None),
            (OutcomeState.CANCELLED, Code.SUPERSEDED),
        }
        assert door.node.resumables.unfinished.uploads == []

    run(test)


def test_a_path_is_found_again_by_its_bytes() -> None:
    for path in (("a.jpg",), ("A", "caf\udce9.jpg"), ("x y", "%2F")):
        assert unquoted(quoted(path)) == path
    assert unquoted("") == ()
