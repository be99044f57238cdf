"""The tus door over real sockets; each line of the protocol's checklist is a test by its number."""

import asyncio
import base64

import pytest

from edge.facts import OutcomeState
from edge.record import State
from edge.snapshot import Limits, snapshot_of
from tests.support.http_door import PATCH_TYPE, QUICK, Door, address_of, run
from tests.support.snapshots import Customer
from tests.support.writing import read_whole
from zentransfer.errors import Code
from zentransfer.ids import Region
from zentransfer.limits import UPLOAD_BYTES_MAX

NAMED = f"Upload-Metadata: filename {base64.b64encode('IMG ä.jpg'.encode()).decode()},x"
NOWHERE = "/files/" + "a" * 26


async def content(door: Door) -> bytes:
    (outcome,) = door.node.outcomes()
    return await read_whole(door.node.sink, outcome.upload_id, door.node.keys)


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_file_comes_in_by_pieces_and_is_whole(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        sent = bytes(range(256)) * 2_000
        address, fields = await door.created(len(sent), NAMED), dict[str, str]()
        for at in range(0, len(sent), 100_000):
            status, fields = await door.patched(address, at, sent[at : at + 100_000])
            end = min(at + 100_000, len(sent))
            assert (status, fields["upload-offset"]) == (204, str(end))
        assert await content(door) == sent
        (outcome,) = door.node.outcomes()
        assert outcome.state is OutcomeState.COMMITTED
        assert fields["zt-upload-id"] == outcome.upload_id
        assert await door.offset(address) == len(sent)
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert len(record.segments) == 1, "one process goes on in one segment"

    run(test, uvloop=uvloop)


def test_t04_t05_every_answer_names_the_version_and_another_is_refused_untouched() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        for verb, target, status in (
            ("HEAD", address, 200),
            ("HEAD", NOWHERE, 404),
            ("GET", address, 405),
            ("POST", address, 405),
            ("DELETE", "/files/", 405),
            ("PATCH", "/files/a/b", 415),
            ("POST", "/files/", 400),
        ):
            found, fields, _ = await door.asked(verb, target)
            assert (verb, found, fields["tus-resumable"]) == (verb, status, "1.0.0")
        async with door.client() as client:
            wrong = door.tus("PATCH", address, "Upload-Offset: 0", PATCH_TYPE, "Content-Length: 3")
            await client.send(wrong.replace("Tus-Resumable: 1.0.0", "Tus-Resumable: 0.2.2"), "abc")
            status, fields, _ = await client.answer()
            assert (status, fields["tus-version"], fields["tus-resumable"]) == (
                412,
                "1.0.0",
                "1.0.0",
            )
        async with door.client() as client:
            await client.send(door.tus("POST", "/files/", "Upload-Length: 3", "Upgrade: x"))
            status, fields, _ = await client.answer()
            assert (status, fields["tus-resumable"]) == (400, "1.0.0")
        assert await door.offset(address) == 0

    run(test)


def test_t08_the_method_is_the_overriding_one() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        lines = ("Upload-Offset: 0", PATCH_TYPE, "X-HTTP-Method-Override: PATCH")
        status, fields, _ = await door.asked("POST", address, *lines, body=b"abc")
        assert (status, fields["upload-offset"]) == (204, "3")
        assert await content(door) == b"abc"

    run(test)


def test_t10_t11_t14_t47_head_tells_offset_length_and_metadata_also_when_complete() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3, NAMED)
        for offset in (0, 3):
            status, fields, _ = await door.asked("HEAD", address)
            assert status == 200
            assert (fields["upload-offset"], fields["upload-length"]) == (str(offset), "3")
            assert fields["cache-control"] == "no-store"
            assert f"Upload-Metadata: {fields['upload-metadata']}" == NAMED
            await door.patched(address, offset, b"abc"[offset:])

    run(test)


def test_t12_t23_what_is_not_there_is_not_found_and_has_no_offset() -> None:
    async def test(door: Door) -> None:
        for verb, lines in (
            ("HEAD", ()),
            ("PATCH", ("Upload-Offset: 0", PATCH_TYPE)),
            ("DELETE", ()),
        ):
            for target in (NOWHERE, "/files/x", "/files/a/b", "/files/" + "A" * 26):
                status, fields, _ = await door.asked(verb, target, *lines)
                assert status == 404
                assert "upload-offset" not in fields

    run(test)


def test_t20_another_content_type_is_refused() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        lines = ("Upload-Offset: 0", "Content-Type: text/plain")
        status, _, _ = await door.asked("PATCH", address, *lines, body=b"abc")
        assert status == 415
        assert await door.offset(address) == 0

    run(test)


@pytest.mark.parametrize("offset", [0, 2, 4, 10**17])
def test_t21_another_offset_changes_nothing(offset: int) -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        assert (await door.patched(address, 0, b"abc"))[0] == 204
        assert (await door.patched(address, offset, b"xyz"))[0] == 409
        assert await door.offset(address) == 3

    run(test)


@pytest.mark.parametrize("ending", ["reset", "fin", "silence", "trickle"])
def test_t24_t25_what_came_before_a_break_is_kept(ending: str) -> None:
    async def test(door: Door) -> None:
        sent = bytes(300_000)
        address = await door.created(1_000_000)
        async with door.client() as client:
            head = door.tus(
                "PATCH", address, "Upload-Offset: 0", PATCH_TYPE, "Content-Length: 1000000"
            )
            await client.send(head, sent)
            await asyncio.sleep(0.1)
            if ending == "reset":
                client.reset()
            elif ending == "fin":
                client.writer.close()
            else:
                for _ in range(12 * (ending == "trickle")):
                    await client.send(b"x")
                    await asyncio.sleep(0.05)
                assert (await client.code()) == (408, Code.TIMEOUT)
                assert await client.is_closed()
        offset = await door.offset(address)
        assert len(sent) <= offset <= len(sent) + 12
        assert (await door.patched(address, offset, bytes(1_000_000 - offset)))[0] == 204
        assert await content(door) is not None
        assert [one.state for one in door.node.outcomes()] == [OutcomeState.COMMITTED]

    run(test, patience=QUICK)


def test_t30_t31_options_ask_nobody_and_no_version() -> None:
    async def test(door: Door) -> None:
        for target in ("/files", "/files/", NOWHERE):
            async with door.client() as client:
                await client.send(
                    f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 9\r\n\r\n"
                )
                status, fields, _ = await client.answer()
                assert (status, fields["tus-version"]) == (204, "1.0.0")
                assert "creation" in fields["tus-extension"].split(",")
                assert fields["tus-max-size"] == str(UPLOAD_BYTES_MAX)
                assert "tus-resumable" not in fields

    run(test)


def test_t43_creation_answers_the_address_and_the_id() -> None:
    async def test(door: Door) -> None:
        for target in ("/files", "/files/"):
            status, fields, _ = await door.asked("POST", target, "Upload-Length: 3")
            assert status == 201
            host = f"127.0.0.1:{door.port}"
            assert fields["location"].startswith((f"http://{host}/files/", "/files/"))
            assert fields["zt-upload-id"].startswith("up_")
            assert fields["zt-upload-id"][3:] not in address_of(fields)
            assert "upload-offset" not in fields

    run(test)


def test_t44_a_length_above_the_account_s_is_refused() -> None:
    async def test(door: Door) -> None:
        status, _, _ = await door.asked("POST", "/files/", "Upload-Length: 6")
        assert status == 413
        address = await door.created(5)
        assert (await door.patched(address, 0, b"abcde"))[0] == 204

    run(test, customer=Customer(limits=Limits(upload_bytes_max=5)))


def test_t45_nothing_is_complete_at_once() -> None:
    async def test(door: Door) -> None:
        address = await door.created(0)
        assert await content(door) == b""
        assert await door.offset(address) == 0

    run(test)


def test_t46_t48_malformed_metadata_are_refused() -> None:
    async def test(door: Door) -> None:
        for line in ("a b c", "a YQ==,a YQ==", ",", "a %"):
            lines = ("Upload-Length: 3", f"Upload-Metadata: {line}")
            assert (await door.asked("POST", "/files/", *lines))[0] == 400

    run(test)


def test_t51_t52_a_length_may_come_later_and_never_changes() -> None:
    async def test(door: Door) -> None:
        status, fields, _ = await door.asked("POST", "/files/", "Upload-Defer-Length: 1")
        address = address_of(fields)
        assert status == 201
        assert (await door.patched(address, 0, b"abc"))[0] == 204
        _, fields, _ = await door.asked("HEAD", address)
        assert (fields["upload-offset"], fields["upload-defer-length"]) == ("3", "1")
        assert "upload-length" not in fields
        for length, status in ((2, 400), (6, 204), (7, 400)):
            lines = ("Upload-Offset: 3", PATCH_TYPE, f"Upload-Length: {length}")
            assert (await door.asked("PATCH", address, *lines))[0] == status
        _, fields, _ = await door.asked("HEAD", address)
        assert fields["upload-length"] == "6"
        assert "upload-defer-length" not in fields
        assert (await door.patched(address, 3, b"def"))[0] == 204
        assert await content(door) == b"abcdef"

    run(test)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_t61_t62_a_creation_may_bring_the_first_bytes(count: int) -> None:
    async def test(door: Door) -> None:
        lines = ("Upload-Length: 5", PATCH_TYPE)
        status, fields, _ = await door.asked("POST", "/files/", *lines, body=b"abcde"[:count])
        assert status == 201
        if count:
            assert fields["upload-offset"] == str(count)
        if count < 5:
            assert await door.offset(address_of(fields)) == count
            assert (await door.patched(address_of(fields), count, b"abcde"[count:]))[0] == 204
        assert await content(door) == b"abcde"
        lines = ("Upload-Length: 5", "Content-Type: text/plain")
        assert (await door.asked("POST", "/files/", *lines, body=b"abc"))[0] == 415

    run(test)


def test_t61_the_body_is_asked_for_when_it_is_wanted() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        for verb, target, lines in (
            ("POST", "/files/", ("Upload-Length: 3",)),
            ("PATCH", address, ("Upload-Offset: 0",)),
        ):
            more = (*lines, PATCH_TYPE, "Content-Length: 3", "Expect: 100-continue")
            async with door.client() as client:
                await client.send(door.tus(verb, target, *more))
                assert (await client.answer())[0] == 100
                await client.send(b"abc")
                assert (await client.answer())[0] in (201, 204)
            async with door.client() as client:
                await client.send(door.tus(verb, target, *more, token="zt_wrong"))
                assert (await client.answer())[0] == 401
                assert await client.is_closed()

    run(test)


def test_a_creation_that_is_cut_leaves_nothing_that_nobody_could_reach() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            lines = ("Upload-Length: 100", PATCH_TYPE, "Content-Length: 100")
            await client.send(door.tus("POST", "/files/", *lines), b"abc")
            await asyncio.sleep(0.1)
            client.reset()
        await door.until_told()
        (outcome,) = door.node.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)
        assert door.node.resumables.unfinished.uploads == []

    run(test)


def test_t71_t73_an_unfinished_upload_tells_when_it_goes_and_then_it_is_gone() -> None:
    async def test(door: Door) -> None:
        status, fields, _ = await door.asked("POST", "/files/", "Upload-Length: 9")
        assert status == 201
        address = address_of(fields)
        assert fields["upload-expires"] == "Fri, 02 Jan 1970 00:16:40 GMT"
        status, fields = await door.patched(address, 0, b"abc")
        assert fields["upload-expires"] == "Fri, 02 Jan 1970 00:16:40 GMT"
        door.node.clock.advance(86_400_000)
        await door.node.look_after()
        status, fields, _ = await door.asked("HEAD", address)
        assert (status, "upload-offset" in fields) == (410, False)
        (outcome,) = door.node.outcomes()
        assert outcome.state is OutcomeState.EXPIRED

    run(test)


def test_t71_a_look_does_not_put_off_the_end_and_a_byte_does() -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        told: list[str | None] = []
        for _ in range(2):  # by the process that has it open, and by one that claims it
            door.node.clock.advance(3_600_000)
            _, fields, _ = await door.asked("HEAD", address)
            told.append(fields.get("upload-expires"))
            _, fields = await door.patched(address, 0, b"")
            told.append(fields.get("upload-expires"))
            await door.node.resumables.unfinished.held.close()
        assert set(told) == {"Fri, 02 Jan 1970 00:16:40 GMT"}
        _, fields = await door.patched(address, 0, b"abc")
        assert fields["upload-expires"] == "Fri, 02 Jan 1970 02:16:40 GMT"
        door.node.clock.advance(82_800_000)
        _, fields, _ = await door.asked("HEAD", address)
        assert fields["upload-expires"] == "Fri, 02 Jan 1970 02:16:40 GMT"
        _, fields = await door.patched(address, 3, b"abcdef")
        assert "upload-expires" not in fields
        _, fields, _ = await door.asked("HEAD", address)
        assert "upload-expires" not in fields, "what is whole never expires"

    run(test)


def test_t71_a_part_of_something_whole_tells_no_end() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3, "Upload-Concat: partial")
        _, fields = await door.patched(address, 0, b"abc")
        assert fields["upload-expires"] == "Fri, 02 Jan 1970 00:16:40 GMT"
        await door.asked("POST", "/files/", f"Upload-Concat: final;{address}")
        _, fields, _ = await door.asked("HEAD", address)
        assert "upload-expires" not in fields

    run(test)


def test_t90_a_termination_destroys_and_is_told_once() -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        await door.patched(address, 0, b"abc")
        assert (await door.asked("DELETE", address))[0] == 204
        for verb, lines in (
            ("HEAD", ()),
            ("PATCH", ("Upload-Offset: 3", PATCH_TYPE)),
            ("DELETE", ()),
        ):
            assert (await door.asked(verb, address, *lines))[0] == 410
        (outcome,) = door.node.outcomes()
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.CANCELLED, 3)
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert record.state is State.DESTROYED

    run(test)


def test_t90_what_is_whole_is_no_longer_its_sender_s_to_end() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        await door.patched(address, 0, b"abc")
        assert (await door.asked("DELETE", address))[0] == 403
        assert await door.offset(address) == 3
        (outcome,) = door.node.outcomes()
        await door.node.sink.destroy(outcome.upload_id)  # as delivery does at the end of a run
        assert (await door.asked("DELETE", address))[0] == 410
        assert len(door.node.outcomes()) == 1

    run(test)


def test_t90_a_termination_ends_a_running_patch() -> None:
    async def test(door: Door) -> None:
        address = await door.created(9)
        async with door.client() as client:
            lines = ("Upload-Offset: 0", PATCH_TYPE, "Content-Length: 9")
            await client.send(door.tus("PATCH", address, *lines), b"abc")
            await asyncio.sleep(0.05)
            assert (await door.asked("DELETE", address))[0] == 204
            assert await client.is_closed()
        assert [one.state for one in door.node.outcomes()] == [OutcomeState.CANCELLED]

    run(test)


def test_t120_a_newer_request_takes_over_within_50_ms() -> None:
    async def test(door: Door) -> None:
        loop = asyncio.get_running_loop()
        address = await door.created(300_000)
        async with door.client() as silent, door.client() as newer:
            lines = ("Upload-Offset: 0", PATCH_TYPE, "Content-Length: 300000")
            await silent.send(door.tus("PATCH", address, *lines), bytes(200_000))
            await asyncio.sleep(0.1)
            begun_s = loop.time()
            await newer.send(door.tus("HEAD", address))
            status, fields, _ = await newer.answer(is_head=True)
            took_s = loop.time() - begun_s
            assert (status, fields["upload-offset"]) == (200, "200000")
            assert await silent.is_closed()
            await silent.send(b"late")
        assert (await door.patched(address, 200_000, bytes(100_000)))[0] == 204
        assert await content(door) == bytes(300_000)
        assert took_s < 0.5, "50 ms, and what a busy machine adds"

    run(test)


def test_t121_browsers_may_ask_from_anywhere() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            asked = "Origin: https://a.example\r\nAccess-Control-Request-Method: PATCH"
            await client.send(f"OPTIONS {NOWHERE} HTTP/1.1\r\nHost: x\r\n{asked}\r\n\r\n")
            status, fields, _ = await client.answer()
        assert (status, fields["access-control-allow-origin"]) == (204, "*")
        assert "PATCH" in fields["access-control-allow-methods"]
        _, fields, _ = await door.asked("HEAD", NOWHERE, "Origin: null")
        assert "Upload-Offset" in fields["access-control-expose-headers"]

    run(test)


@pytest.mark.parametrize("is_announced", [True, False])
def test_t122_no_more_than_the_length_is_ever_kept(is_announced: bool) -> None:
    async def test(door: Door) -> None:
        address = await door.created(5)
        if is_announced:
            assert (await door.patched(address, 0, b"abcdefgh"))[0] == 413
        else:
            async with door.client() as client:
                lines = ("Upload-Offset: 0", PATCH_TYPE, "Transfer-Encoding: chunked")
                await client.send(door.tus("PATCH", address, *lines), "3\r\nabc\r\n")
                await asyncio.sleep(0.05)
                await client.send("3\r\ndef\r\n0\r\n\r\n")
                assert (await client.answer())[0] == 413
        offset = await door.offset(address)
        assert offset == (0 if is_announced else 3)
        assert (await door.patched(address, offset, b"abcde"[offset:]))[0] == 204
        assert await content(door) == b"abcde"
        assert (await door.patched(address, 5, b"f"))[0] == 413
        assert (await door.patched(address, 5, b""))[0] == 204

    run(test)


def test_the_credential_is_asked_for_at_each_request_and_at_the_end() -> None:
    async def test(door: Door) -> None:
        address = await door.created(6)
        assert (await door.patched(address, 0, b"abc"))[0] == 204
        for verb in ("HEAD", "PATCH", "DELETE"):
            for token in ("", "zt_wrong"):
                more = ("Upload-Offset: 3", PATCH_TYPE)
                assert (await door.asked(verb, address, *more, token=token))[0] == 401
        async with door.client() as client:
            lines = ("Upload-Offset: 3", PATCH_TYPE, "Content-Length: 3")
            await client.send(door.tus("PATCH", address, *lines), b"d")
            await asyncio.sleep(0.05)
            good = door.node.snapshots.current
            revoked = snapshot_of(Region.FR, 2, 0, [door.node.customer.account()])
            await door.node.snapshots.keep(revoked)
            await client.send(b"ef")
            assert (await client.code()) == (401, Code.UNAUTHENTICATED)
        assert door.node.outcomes() == [], "a commit that was refused is no end"
        assert good is not None
        await door.node.snapshots.keep(door.node.customer.snapshot(3))
        assert await door.offset(address) == 6, "and it comes when the credential is good again"
        assert await content(door) == b"abcdef"

    run(test)


def test_another_account_finds_nothing_and_disturbs_nobody() -> None:
    async def test(door: Door) -> None:
        address = await door.created(6)
        other = Customer(seed=9)
        entries = [*door.node.customer.entries(), *other.entries()]
        await door.node.snapshots.keep(snapshot_of(Region.FR, 2, 0, entries))
        async with door.client() as client:
            lines = ("Upload-Offset: 0", PATCH_TYPE, "Content-Length: 6")
            await client.send(door.tus("PATCH", address, *lines), b"abc")
            await asyncio.sleep(0.05)
            for verb in ("HEAD", "DELETE"):
                assert (await door.asked(verb, address, token=other.token))[0] == 404
            await client.send(b"def")
            assert (await client.answer())[0] == 204

    run(test)


def test_a_plain_upload_is_no_tus_upload() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 3"), b"abc")
            assert (await client.answer())[0] == 201
        (outcome,) = door.node.outcomes()
        target = "/files/" + door.capabilities.of(outcome.upload_id)
        assert (await door.asked("HEAD", target))[0] == 403

    run(test)
