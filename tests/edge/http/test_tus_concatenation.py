"""Concatenation of tus over real sockets; each line of the protocol's checklist by its number."""

import asyncio
import base64
from collections.abc import Sequence

import pytest

from edge.facts import OutcomeState
from edge.partials import destroy
from edge.record import State
from edge.sinks.base import UnknownUpload
from edge.snapshot import Limits
from tests.support.http_door import PATCH_TYPE, Door, address_of, run
from tests.support.snapshots import Customer
from tests.support.writing import read_whole
from zentransfer.ids import UploadID
from zentransfer.limits import (
    FINALS_PER_PARTIAL_MAX,
    UPLOAD_CONCAT_CHARS_MAX,
    UPLOAD_METADATA_CHARS_MAX,
)

PARTIAL = "Upload-Concat: partial"
NAMED = "Upload-Metadata: filename YS5iaW4="


async def part(door: Door, data: bytes, *lines: str, sent: int | None = None) -> str:
    """Create a partial upload of *data*, of which *sent* bytes come; returns its address."""
    address = await door.created(len(data), PARTIAL, *lines)
    count = len(data) if sent is None else sent
    if count:
        status, _ = await door.patched(address, 0, data[:count])
        assert status == 204
    return address


async def joined(door: Door, addresses: Sequence[str], *lines: str) -> tuple[int, dict[str, str]]:
    concat = f"Upload-Concat: final;{' '.join(addresses)}"
    status, fields, _ = await door.asked("POST", "/files/", concat, *lines)
    return status, fields


async def head(door: Door, address: str) -> tuple[int, dict[str, str]]:
    status, fields, _ = await door.asked("HEAD", address)
    assert fields["tus-resumable"] == "1.0.0"
    return status, fields


def upload_of(door: Door, address: str) -> UploadID:
    return door.capabilities.upload(address.removeprefix("/files/"))


async def state(door: Door, address: str) -> State:
    return (await door.node.sink.record(upload_of(door, address))).value.state


async def content(door: Door) -> bytes:
    (outcome,) = door.node.outcomes()
    assert outcome.state is OutcomeState.COMMITTED
    return await read_whole(door.node.sink, outcome.upload_id, door.node.keys)


@pytest.mark.parametrize("uvloop", [False, True])
def test_t100_t101_t103_parts_become_one_upload_in_the_order_given(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        first, second = bytes(range(256)) * 2_000, b"x" * 70_000
        a, b = await part(door, first), await part(door, second)
        assert door.node.outcomes() == []
        assert door.node.woken == [], "a part is never delivered by itself"
        status, fields = await joined(door, [b, a], NAMED)
        assert status == 201
        assert await content(door) == second + first
        (outcome,) = door.node.outcomes()
        assert (outcome.size_bytes, outcome.upload_id) == (582_000, fields["zt-upload-id"])
        assert door.node.woken == [outcome.upload_id]
        assert upload_of(door, address_of(fields)) == outcome.upload_id

    run(test, uvloop=uvloop)


def test_t101_addresses_may_be_absolute_or_relative() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"abc"), await part(door, b"def")
        absolute = f"http://127.0.0.1:{door.port}{a}"
        status, _ = await joined(door, [absolute, b])
        assert status == 201
        assert await content(door) == b"abcdef"

    run(test)


def test_t102_a_final_has_no_length_of_its_own_and_no_bytes() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc")
        assert (await joined(door, [a], "Upload-Length: 3"))[0] == 400
        assert (await joined(door, [a], "Upload-Defer-Length: 1"))[0] == 400
        concat = f"Upload-Concat: final;{a}"
        status, _, _ = await door.asked("POST", "/files/", concat, PATCH_TYPE, body=b"abc")
        assert status == 400
        assert door.node.outcomes() == []

    run(test)


def test_t103_a_part_may_be_repeated_and_used_again() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"ab"), await part(door, b"")
        assert (await joined(door, [a, b, a, a]))[0] == 201
        assert (await joined(door, [a]))[0] == 201
        found = {
            await read_whole(door.node.sink, outcome.upload_id, door.node.keys)
            for outcome in door.node.outcomes()
        }
        assert found == {b"ababab", b"ab"}

    run(test)


@pytest.mark.reaches("FINALS_PER_PARTIAL_MAX")
def test_t103_a_part_is_used_again_so_often_and_no_more() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"ab")
        for number in range(FINALS_PER_PARTIAL_MAX):
            assert (await joined(door, [a], f"Upload-Metadata: n{number}"))[0] == 201
        assert (await joined(door, [a]))[0] == 400
        committed = [one for one in door.node.outcomes() if one.state is OutcomeState.COMMITTED]
        assert len(committed) == FINALS_PER_PARTIAL_MAX

    run(test)


def test_t101_a_final_whose_answer_was_lost_is_asked_for_again_and_is_the_same() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"abc"), await part(door, b"def")
        concat = f"Upload-Concat: final;{a} {b}"
        async with door.client() as client:
            await client.send(door.tus("POST", "/files/", concat))
            client.reset()
        await door.until_told()
        status, fields = await joined(door, [a, b])
        assert status == 201
        assert await content(door) == b"abcdef"
        (outcome,) = door.node.outcomes()
        assert fields["zt-upload-id"] == outcome.upload_id
        await destroy(door.node.sink, outcome.upload_id)  # delivered meanwhile, parts and all
        status, again = await joined(door, [a, b])
        assert (status, again["location"]) == (201, fields["location"])
        assert len(door.node.outcomes()) == 1
        other = await joined(door, [a, b], NAMED)
        assert other[0] == 400, "another file of the same parts is another upload"

    run(test)


def test_t104_metadata_of_parts_are_not_the_final_s() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc", "Upload-Metadata: filename cGFydA==,x")
        _, fields = await joined(door, [a], NAMED)
        _, found = await head(door, address_of(fields))
        assert f"Upload-Metadata: {found['upload-metadata']}" == NAMED
        _, fields = await joined(door, [a])
        _, found = await head(door, address_of(fields))
        assert "upload-metadata" not in found
        _, found = await head(door, a)
        assert found["upload-metadata"] == "filename cGFydA==,x"

    run(test)


@pytest.mark.parametrize("is_done", [True, False])
def test_t105_a_final_takes_no_bytes_and_nothing_changes(is_done: bool) -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc", sent=3 if is_done else 1)
        _, fields = await joined(door, [a])
        final = address_of(fields)
        before = await head(door, final), await head(door, a)
        for offset, body in ((0, b"xyz"), (3, b""), (3, b"x"), (0, b"")):
            status, fields = await door.patched(final, offset, body)
            assert status == 403
        after = await head(door, final), await head(door, a)
        for old, new in zip(before, after, strict=True):
            assert {**old[1], "date": "", "upload-expires": ""} == {
                **new[1],
                "date": "",
                "upload-expires": "",
            }
        if is_done:
            assert await content(door) == b"abc"

    run(test)


def test_t106_t107_t108_t110_a_final_may_come_before_its_parts_are_whole() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"abc", sent=1), await part(door, b"def", sent=0)
        status, fields = await joined(door, [a, b, a])
        assert status == 201
        assert "upload-expires" in fields
        final = address_of(fields)
        status, found = await head(door, final)
        assert (status, found["upload-length"]) == (200, "9")
        assert "upload-offset" not in found
        assert "upload-defer-length" not in found
        assert (await head(door, a))[1]["upload-offset"] == "1"
        assert (await door.patched(b, 0, b"def"))[0] == 204
        assert "upload-offset" not in (await head(door, final))[1]
        assert door.node.outcomes() == []
        assert (await door.patched(a, 1, b"bc"))[0] == 204
        assert await content(door) == b"abcdefabc", "whole with its last part, unasked"
        _, found = await head(door, final)
        assert (found["upload-offset"], found["upload-length"]) == ("9", "9")
        assert "upload-expires" not in found

    run(test)


def test_t108_a_length_that_nobody_knows_yet_is_not_told() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc")
        _, fields, _ = await door.asked("POST", "/files/", "Upload-Defer-Length: 1", PARTIAL)
        b = address_of(fields)
        _, fields = await joined(door, [a, b])
        final = address_of(fields)
        assert "upload-length" not in (await head(door, final))[1]
        lines = ("Upload-Offset: 0", PATCH_TYPE, "Upload-Length: 2")
        assert (await door.asked("PATCH", b, *lines, body=b"d"))[0] == 204
        assert (await head(door, final))[1]["upload-length"] == "5"
        assert (await door.patched(b, 1, b"e"))[0] == 204
        assert await content(door) == b"abcde"

    run(test)


def test_t109_head_echoes_what_was_received() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"abc"), await part(door, b"def", sent=1)
        concat = f"final;http://whatever.example{a} {b}"
        _, fields, _ = await door.asked("POST", "/files/", f"Upload-Concat: {concat}")
        final = address_of(fields)
        assert (await head(door, final))[1]["upload-concat"] == concat
        assert (await head(door, a))[1]["upload-concat"] == "partial"
        assert (await head(door, b))[1]["upload-concat"] == "partial"
        await door.patched(b, 1, b"ef")
        assert (await head(door, final))[1]["upload-concat"] == concat
        assert (await head(door, b))[1]["upload-concat"] == "partial"
        plain = await door.created(3)
        assert "upload-concat" not in (await head(door, plain))[1]

    run(test)


def test_parts_that_are_not_there_or_another_s_or_no_parts_are_refused() -> None:
    async def test(door: Door) -> None:
        a, whole = await part(door, b"abc"), await door.created(3)
        await door.patched(whole, 0, b"xyz")
        gone = await part(door, b"abc")
        assert (await door.asked("DELETE", gone))[0] == 204
        _, fields = await joined(door, [a])
        final = address_of(fields)
        other = Customer(seed=9)
        other.pepper = door.node.customer.pepper
        await door.node.snapshots.keep(door.node.customer.snapshot(2, *other.entries()))
        _, fields, _ = await door.asked(
            "POST", "/files/", "Upload-Length: 1", PARTIAL, token=other.token
        )
        foreign = address_of(fields)
        said = set[bytes]()
        for address in ("/files/" + "a" * 26, "/files/x", whole, gone, final, foreign):
            concat = f"Upload-Concat: final;{a} {address}"
            status, _, body = await door.asked("POST", "/files/", concat)
            assert (address, status) == (address, 400)
            if address in (foreign, "/files/" + "a" * 26, "/files/x"):
                said.add(body)
        assert len(said) == 1, "another account's upload looks like none"
        assert len(door.node.outcomes()) == 2

    run(test)


def test_a_final_that_is_too_large_is_refused_and_its_parts_stay() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc")
        assert (await joined(door, [a, a]))[0] == 413
        assert await state(door, a) is State.PARTIAL
        assert (await joined(door, [a]))[0] == 201

    run(test, customer=Customer(limits=Limits(upload_bytes_max=5)))


def test_the_parts_are_destroyed_with_the_last_whole_upload_that_needs_them() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"abc"), await part(door, b"def")
        _, one = await joined(door, [a, b, a])
        _, two = await joined(door, [a])
        sink = door.node.sink
        await destroy(sink, UploadID(one["zt-upload-id"]))  # as delivery does at the end of a run
        assert await state(door, a) is State.PARTIAL
        assert await state(door, b) is State.DESTROYED
        assert await read_whole(sink, UploadID(two["zt-upload-id"]), door.node.keys) == b"abc"
        await destroy(sink, UploadID(two["zt-upload-id"]))
        assert await state(door, a) is State.DESTROYED
        assert (await head(door, a))[0] == 410
        await destroy(sink, UploadID(two["zt-upload-id"]))
        folders = [await door.node.sink.record(each) async for each in sink.uploads()]
        assert all(each.value.state is State.DESTROYED for each in folders)
        assert len(door.node.outcomes()) == 2

    run(test)


@pytest.mark.parametrize("sent", [1, 3])
def test_t90_a_part_may_be_ended_by_its_sender_and_nobody_is_told(sent: int) -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc", sent=sent)
        assert (await door.asked("DELETE", a))[0] == 204
        for verb in ("HEAD", "DELETE"):
            assert (await door.asked(verb, a))[0] == 410
        assert await state(door, a) is State.DESTROYED
        assert door.node.outcomes() == []
        assert door.node.resumables.unfinished.uploads == []

    run(test)


def test_t90_a_part_of_a_whole_upload_is_not_its_sender_s_to_end() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc")
        await joined(door, [a])
        assert (await door.asked("DELETE", a))[0] == 403
        assert await content(door) == b"abc"

    run(test)


def test_t90_a_final_that_waits_may_be_ended_and_its_parts_stay() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"abc", sent=1)
        _, fields = await joined(door, [a])
        assert (await door.asked("DELETE", address_of(fields)))[0] == 204
        assert (await head(door, address_of(fields)))[0] == 410
        assert [one.state for one in door.node.outcomes()] == [OutcomeState.CANCELLED]
        assert (await door.patched(a, 1, b"bc"))[0] == 204
        assert (await door.asked("DELETE", a))[0] == 204

    run(test)


def test_a_final_whose_part_is_gone_has_failed() -> None:
    async def test(door: Door) -> None:
        a, b = await part(door, b"abc", sent=1), await part(door, b"def")
        _, fields = await joined(door, [a, b])
        assert (await door.asked("DELETE", a))[0] == 204
        for _ in range(2):
            assert (await head(door, address_of(fields)))[0] == 410
        assert [one.state for one in door.node.outcomes()] == [OutcomeState.FAILED]
        assert await state(door, b) is State.PARTIAL, "it may be a part of the next one"

    run(test)


def test_parts_and_finals_expire_as_unfinished_uploads_do() -> None:
    async def test(door: Door) -> None:
        node = door.node
        idle, waiting = await part(door, b"abc"), await part(door, b"abc", sent=1)
        kept = await part(door, b"def")
        assert "upload-expires" in (await head(door, idle))[1]
        assert (await joined(door, [kept]))[0] == 201
        _, fields = await joined(door, [waiting])
        node.clock.advance(86_400_000)
        await node.look_after()
        assert await state(door, idle) is State.DESTROYED
        assert await state(door, waiting) is State.DESTROYED
        assert await state(door, kept) is State.PARTIAL
        await node.look_after()
        states = sorted(one.state for one in node.outcomes())
        assert states in (
            [OutcomeState.COMMITTED, OutcomeState.EXPIRED],
            [OutcomeState.COMMITTED, OutcomeState.FAILED],
        )
        assert (await head(door, address_of(fields)))[0] == 410
        assert len(node.resumables.unfinished.uploads) == 1, "the part that is needed"

    run(test)


def test_three_parts_sent_at_once_make_one_upload_with_one_outcome() -> None:
    async def test(door: Door) -> None:
        data = [bytes([n]) * 200_000 for n in range(3)]
        addresses = [await part(door, each, sent=0) for each in data]
        _, fields = await joined(door, addresses)
        async with asyncio.TaskGroup() as group:
            for address, each in zip(addresses, data, strict=True):
                group.create_task(door.patched(address, 0, each))
        await door.until_told()
        assert await content(door) == b"".join(data)
        assert (await head(door, address_of(fields)))[1]["upload-offset"] == "600000"

    run(test)


def test_a_part_that_nobody_was_told_of_leaves_nothing() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            lines = ("Upload-Length: 9", PARTIAL, PATCH_TYPE, "Content-Length: 9")
            await client.send(door.tus("POST", "/files/", *lines), b"abc")
            await asyncio.sleep(0.05)
            client.reset()
        async with asyncio.timeout(20):
            while door.node.intake.in_flight:  # noqa: ASYNC110 - ends in another task
                await asyncio.sleep(0.01)
        assert door.node.outcomes() == []
        assert door.node.resumables.unfinished.uploads == []
        for upload in [each async for each in door.node.sink.uploads()]:
            try:
                record = (await door.node.sink.record(upload)).value
            except UnknownUpload:
                continue
            assert record.state is State.DESTROYED

    run(test)


def test_t101_t109_the_longest_line_that_arrives_names_hundreds_of_parts() -> None:
    async def test(door: Door) -> None:
        a = await part(door, b"ab")
        count = (UPLOAD_CONCAT_CHARS_MAX - len("final;") - len("Upload-Concat: ")) // (len(a) + 1)
        longest = "x" * 255 + ".jpg"
        metadata = f"Upload-Metadata: filename {base64.b64encode(longest.encode()).decode()},"
        metadata += "y" * (UPLOAD_METADATA_CHARS_MAX - len(metadata) + len("Upload-Metadata: "))
        status, fields = await joined(door, [a] * count, metadata)
        assert (status, count > 200) == (201, True)
        assert await content(door) == b"ab" * count
        _, found = await head(door, address_of(fields))
        assert found["upload-concat"].count(a) == count
        assert found["upload-length"] == str(2 * count)

    run(test)
