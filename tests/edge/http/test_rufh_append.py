"""The same door, further: appending, cancelling, concurrency, 104, digests, security."""

import asyncio
import base64
import hashlib
import json

import pytest

from edge.facts import OutcomeState
from edge.record import State
from edge.snapshot import snapshot_of
from tests.support.http_door import QUICK, address_of
from tests.support.rufh_client import IN_USE, Reply, Spoken, UploadDoor, run
from tests.support.snapshots import Customer
from zentransfer.errors import Code
from zentransfer.ids import Region
from zentransfer.limits import UNLISTED_BYTES_MAX

IANA = "https://iana.org/assignments/http-problem-types#"
CHUNKED = "Transfer-Encoding: chunked"


def sha256(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def code(reply: Reply) -> tuple[int, str]:
    assert reply.fields["content-type"].startswith("application/problem+json")
    return reply.status, json.loads(reply.body)["code"]


# -- append ---------------------------------------------------------------------------------------


def test_r40_an_append_has_a_type_an_offset_and_says_whether_it_is_the_last() -> None:
    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            spoken = Spoken(version)
            address = await door.begun(spoken)
            lines = door.append_lines(spoken, 0, is_last=False)
            for missing in ("upload-offset", "upload-complete", "upload-incomplete"):
                less = [line for line in lines if not line.lower().startswith(missing)]
                if len(less) < len(lines):
                    reply = await door.said("PATCH", address, *less, body=b"abc")
                    assert code(reply) == (400, "invalid")
            less = [line for line in lines if not line.startswith("Content-Type")]
            reply = await door.said("PATCH", address, *less, "Content-Type: a/b", body=b"abc")
            assert reply.status == (415 if spoken.type_lines else 204)
            assert spoken.is_complete(reply.fields) is False
            assert (await door.stands(spoken, address)).fields["upload-offset"] == (
                "0" if spoken.type_lines else "3"
            )

    run(test)


def test_r41_another_offset_changes_nothing_and_is_told_the_right_one() -> None:
    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            spoken = Spoken(version)
            address = await door.begun(spoken, "Upload-Length: 9", body=b"abc")
            for offset in (0, 2, 4, 10**14):
                for is_last in (False, True):
                    part = b"x" * (max(0, 9 - offset) if is_last else 3)
                    reply = await door.added(spoken, address, offset, part, is_last=is_last)
                    if offset > 9 and is_last:
                        assert code(reply) == (409, "offset_mismatch")
                        continue
                    document = json.loads(reply.body)
                    assert (reply.status, document["type"]) == (
                        409,
                        IANA + "mismatching-upload-offset",
                    )
                    assert document["expected-offset"] == 3
                    assert document["provided-offset"] == offset
                    assert reply.fields["upload-offset"] == "3"
                    assert spoken.is_complete(reply.fields) is False
            last = await door.added(spoken, address, 3, b"defghi", is_last=True)
            assert await door.content(last) == b"abcdefghi"

    run(test)


@pytest.mark.parametrize("part", [b"", b"def"])
def test_r42_the_last_part_is_answered_as_the_whole_would_be(part: bytes) -> None:
    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            spoken = Spoken(version)
            address = await door.begun(spoken, body=b"abc")
            reply = await door.added(spoken, address, 3, part, is_last=True)
            upload = door.node.outcomes()[-1].upload_id
            page = {"id": upload, "size": 3 + len(part), "region": "fr"}
            assert (reply.status, json.loads(reply.body)) == (201, page)
            assert spoken.is_complete(reply.fields) is True
            assert await door.content(reply) == b"abc" + part

    run(test)


def test_r42_chunks_complete_too() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        async with door.rufh() as client:
            lines = (*door.append_lines(spoken, 3, is_last=True), CHUNKED)
            await client.send(door.head("PATCH", address, *lines), "3\r\ndef\r\n0\r\n\r\n")
            assert (await client.reply()).status == 201
        assert await door.content() == b"abcdef"

    run(test)


def test_r43_a_part_is_answered_by_where_the_upload_stands() -> None:
    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            spoken = Spoken(version)
            address = await door.begun(spoken)
            for at, part in ((0, b"abc"), (3, b""), (3, b"d")):
                reply = await door.added(spoken, address, at, part)
                assert (reply.status, spoken.is_complete(reply.fields)) == (204, False)
                assert reply.fields["upload-offset"] == str(at + len(part))
                assert "location" not in reply.fields

    run(test)


def test_r44_a_lost_final_response_is_given_again() -> None:
    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            spoken = Spoken(version)
            address = await door.begun(spoken, f"Repr-Digest: {sha256(b'abcdef')}", body=b"abc")
            first = await door.added(spoken, address, 3, b"def", is_last=True)
            again = [
                await door.added(spoken, address, 3, b"def", is_last=True),
                await door.added(spoken, address, 0, b"abcdef", is_last=True),
                await door.added(spoken, address, 6, b"", is_last=True),
            ]
            async with door.rufh() as client:
                lines = (*door.append_lines(spoken, 3, is_last=True), CHUNKED)
                await client.send(door.head("PATCH", address, *lines), "3\r\ndef\r\n0\r\n\r\n")
                again.append(await client.reply())
            for reply in again:
                reply.fields.pop("date"), reply.fields.pop("connection", "")
                expected = {k: v for k, v in first.fields.items() if k != "date"}
                assert (reply.status, reply.body, reply.fields) == (201, first.body, expected)
            assert spoken.is_complete((await door.stands(spoken, address)).fields) is True
            for offset, part, is_last in ((3, b"de", True), (6, b"g", True), (3, b"def", False)):
                reply = await door.added(spoken, address, offset, part, is_last=is_last)
                assert code(reply) == (409, "offset_mismatch")
                assert spoken.is_complete(reply.fields) is True
                assert reply.fields["upload-offset"] == "6"
        assert len(door.node.outcomes()) == len(IN_USE)

    run(test)


def test_r44_a_repeated_append_that_never_ends_is_not_waited_for() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        assert (await door.added(spoken, address, 3, b"", is_last=True)).status == 201
        async with door.rufh() as client:
            lines = (*door.append_lines(spoken, 0, is_last=True), CHUNKED)
            await client.send(door.head("PATCH", address, *lines), "3\r\nabc\r\n")
            assert code(await client.reply()) == (408, "timeout")

    run(test, patience=QUICK)


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("is_announced", [False, True])
def test_r45_more_than_the_length_ends_the_upload(is_announced: bool, is_last: bool) -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, "Upload-Length: 5", body=b"abc")
        async with door.rufh() as client:
            size = "Content-Length: 3" if is_announced else CHUNKED
            lines = (*door.append_lines(spoken, 3, is_last), size)
            body = b"def" if is_announced else b"3\r\ndef\r\n0\r\n\r\n"
            await client.send(door.head("PATCH", address, *lines), body)
            reply = await client.reply()
        if is_announced and is_last:  # that one contradicts itself, before any byte (R05)
            assert code(reply) == (400, "inconsistent_length")
            assert await door.at(address) == 3
            return
        assert code(reply) == (413, "size_exceeded")
        assert spoken.is_complete(reply.fields) is False
        for verb in ("HEAD", "PATCH", "DELETE"):
            lines = door.append_lines(spoken, 3, is_last)
            assert (await door.said(verb, address, *lines)).status == 410
        (outcome,) = door.node.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.SIZE_EXCEEDED)
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert record.state is State.DESTROYED

    run(test)


def test_r45_a_creation_that_brings_more_than_it_says_is_no_upload() -> None:
    async def test(door: UploadDoor) -> None:
        lines = ("Upload-Complete: ?0", "Upload-Length: 2")
        refused = await door.said("POST", "/files/", *lines, body=b"abc")
        assert code(refused) == (413, "size_exceeded")
        assert door.node.outcomes() == []
        async with door.rufh() as client:
            head = door.head("POST", "/files/", *Spoken().lines, *lines, CHUNKED)
            await client.send(head, "3\r\nabc\r\n0\r\n\r\n")
            reply = await client.reply()
            assert code(reply) == (413, "size_exceeded")
        (supported,) = reply.supported
        assert (await door.stands(Spoken(), address_of(supported))).status == 410
        assert [one.error for one in door.node.outcomes()] == [Code.SIZE_EXCEEDED]

    run(test)


@pytest.mark.parametrize("has_lane", [True, False])
@pytest.mark.parametrize("is_creation", [True, False])
def test_r24_r46_progress_is_told_and_it_is_durable(is_creation: bool, has_lane: bool) -> None:
    async def test(door: UploadDoor) -> None:
        for version in (8, 3) if is_creation else (5,):
            spoken, size = Spoken(version), UNLISTED_BYTES_MAX + 1_000_000
            address = await door.begun(spoken)
            async with door.rufh() as client:
                lines = (*spoken.lines, spoken.complete(True))
                head = door.head("POST", "/files/", *lines, f"Content-Length: {size}")
                if not is_creation:
                    lines = door.append_lines(spoken, 0, is_last=True)
                    head = door.head("PATCH", address, *lines, f"Content-Length: {size}")
                await client.send(head, bytes(size - 1))
                if is_creation:
                    status, fields, _ = await client.answer()
                    assert (status, "location" in fields) == (104, True)
                    assert "upload-offset" not in fields
                if version == 3:
                    await asyncio.sleep(1.2)
                else:
                    status, fields, _ = await client.answer()
                    assert status == 104
                    assert UNLISTED_BYTES_MAX <= int(fields["upload-offset"]) < size
                    assert fields["upload-draft-interop-version"] == str(version)
                    assert "location" not in fields
                await client.send(b"x")
                reply = await client.reply()
            assert (reply.status, reply.interim) == (201, [])
        assert (door.lane.taken_bytes > 0) is has_lane

    run(test, has_lane=has_lane)


# -- cancel, concurrency --------------------------------------------------------------------------


def test_r50_a_cancellation_destroys_and_is_told_once() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        assert (await door.said("DELETE", address)).status == 204
        for verb in ("HEAD", "GET", "PATCH", "DELETE"):
            lines = door.append_lines(spoken, 3, is_last=True)
            reply = await door.said(verb, address, *lines)
            assert reply.status == 410
        (outcome,) = door.node.outcomes()
        assert (outcome.state, outcome.size_bytes) == (OutcomeState.CANCELLED, 3)
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert record.state is State.DESTROYED

    run(test)


def test_r50_what_is_whole_is_no_longer_its_sender_s_to_cancel() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        await door.added(spoken, address, 3, b"", is_last=True)
        assert code(await door.said("DELETE", address)) == (403, "forbidden")
        assert await door.content() == b"abc"

    run(test)


@pytest.mark.parametrize("verb", ["HEAD", "GET", "PATCH", "DELETE"])
def test_r50_r60_the_newest_request_ends_the_one_before_within_50_ms(verb: str) -> None:
    async def test(door: UploadDoor) -> None:
        loop, spoken = asyncio.get_running_loop(), Spoken()
        address = await door.begun(spoken, body=b"abc")
        async with door.rufh() as silent, door.rufh() as newer:
            lines = (*door.append_lines(spoken, 3, is_last=True), "Content-Length: 300000")
            await silent.send(door.head("PATCH", address, *lines), bytes(200_000))
            await asyncio.sleep(0.1)
            begun_s = loop.time()
            newest = (*door.append_lines(spoken, 200_003, is_last=False), "Content-Length: 0")
            await newer.send(door.head(verb, address, *newest))
            reply = await newer.reply(is_head=verb == "HEAD")
            took_s = loop.time() - begun_s
            assert reply.status == 204
            if verb != "DELETE":
                assert reply.fields["upload-offset"] == "200003"
            assert await silent.is_closed()
            await silent.send(b"late")
        if verb != "DELETE":
            rest = await door.added(spoken, address, 200_003, bytes(100_000), is_last=True)
            assert await door.content(rest) == b"abc" + bytes(300_000)
        assert len(door.node.outcomes()) == 1
        assert took_s < 1.0, "50 ms, and what a busy machine adds"

    run(test)


def test_r60_a_creation_that_is_under_way_is_taken_over_too() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        async with door.rufh() as silent:
            lines = (*spoken.lines, spoken.complete(True), "Content-Length: 6")
            await silent.send(door.head("POST", "/files/", *lines), b"abc")
            _, fields, _ = await silent.answer()
            await asyncio.sleep(0.05)
            address = address_of(fields)
            assert await door.at(address) == 3
            assert await silent.is_closed()
        assert (await door.added(spoken, address, 3, b"def", is_last=True)).status == 201
        assert await door.content() == b"abcdef"

    run(test)


# -- 100, 104 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("uvloop", [False, True])
def test_r70_100_and_104_are_both_sent_and_neither_before_admission(uvloop: bool) -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        lines = (*spoken.lines, spoken.complete(True), "Content-Length: 3", "Expect: 100-continue")
        async with door.rufh() as client:
            await client.send(door.head("PUT", "/in/x", *lines))
            assert [(await client.answer())[0] for _ in range(2)] == [104, 100]
            await client.send(b"abc")
            assert (await client.reply()).status == 201
        async with door.rufh() as client:
            await client.send(door.head("PUT", "/in/x", *lines, token="zt_wrong"))
            reply = await client.reply()
            assert (code(reply), reply.interim) == ((401, "unauthenticated"), [])
            assert await client.is_closed()

    run(test, uvloop=uvloop)


def test_r71_nobody_gets_a_104_who_did_not_name_a_version_that_is_spoken() -> None:
    async def test(door: UploadDoor) -> None:
        for line in (
            "X: y",
            *(f"Upload-Draft-Interop-Version: {n}" for n in ("2", "11", "x", "8.0")),
        ):
            reply = await door.said("PUT", "/in/x", "Upload-Complete: ?1", line, body=b"abc")
            assert (reply.status, reply.interim) == (201, [])
        plain = await door.said("PUT", "/in/x", *Spoken(8).lines, body=b"abc")
        assert (plain.status, plain.interim) == (201, [])
        old = door.head(
            "PUT", "/in/x", *Spoken(8).lines, "Upload-Complete: ?1", "Content-Length: 3"
        )
        async with door.rufh() as client:
            await client.send(old.replace("HTTP/1.1", "HTTP/1.0"), b"abc")
            reply = await client.reply()
            assert (reply.status, reply.interim) == (201, [])

    run(test)


def test_r71_a_listener_may_send_no_104_at_all() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        lines = (*spoken.lines, spoken.complete(False))
        reply = await door.said("POST", "/files/", *lines, body=b"abc")
        assert (reply.status, reply.interim) == (201, [])
        last = await door.added(spoken, address_of(reply.fields), 3, b"def", is_last=True)
        assert (last.status, last.interim) == (201, [])

    run(test, has_interim=False)


# -- digests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("parts", [1, 2])
def test_r80_the_digest_of_the_whole_decides_at_the_end(is_right: bool, parts: int) -> None:
    async def test(door: UploadDoor) -> None:
        spoken, digest = Spoken(), sha256(b"abcdef" if is_right else b"other")
        lines = (*spoken.lines, f"Repr-Digest: {digest}")
        if parts == 1:
            reply = await door.said(
                "POST", "/files/", *lines, spoken.complete(True), body=b"abcdef"
            )
            address = address_of(reply.supported[0])
        else:
            address = await door.begun(spoken, *lines[1:], body=b"abc")
            reply = await door.added(spoken, address, 3, b"def", is_last=True)
        (outcome,) = door.node.outcomes()
        if is_right:
            assert (reply.status, reply.fields["repr-digest"]) == (201, digest)
            assert outcome.state is OutcomeState.COMMITTED
            return
        document = json.loads(reply.body)
        assert (reply.status, document["status"]) == (400, 400)
        assert document["type"] == IANA + "digest-mismatching-values"
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.CHECKSUM_MISMATCH)
        assert (await door.stands(spoken, address)).status == 410

    run(test)


def test_r80_a_wanted_digest_is_told_at_the_end() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, "Want-Repr-Digest: sha-256=1", body=b"abc")
        reply = await door.added(spoken, address, 3, b"def", is_last=True)
        assert reply.fields["repr-digest"] == sha256(b"abcdef")
        lines = ("Upload-Complete: ?1", "Want-Repr-Digest: sha-256=10, md5=1")
        reply = await door.said("PUT", "/in/x", *lines, body=b"abc")
        assert reply.fields["repr-digest"] == sha256(b"abc")
        plain = await door.said("PUT", "/in/x", "Upload-Complete: ?1", body=b"abc")
        assert "repr-digest" not in plain.fields

    run(test)


def test_r81_content_that_is_not_what_was_announced_is_not_appended() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        wrong = await door.added(
            spoken, address, 3, b"dEf", f"Content-Digest: {sha256(b'def')}", is_last=True
        )
        assert code(wrong) == (400, "checksum_mismatch")
        assert (wrong.fields["upload-offset"], spoken.is_complete(wrong.fields)) == ("3", False)
        assert await door.at(address) == 3
        right = f"Content-Digest: {sha256(b'de')}"
        assert (await door.added(spoken, address, 3, b"de", right)).status == 204
        best = base64.b64encode(hashlib.sha512(b"f").digest()).decode()
        last = f"Content-Digest: md5=:AA==:, sha-512=:{best}:, sha-256=:{'A' * 43}=:"
        assert (await door.added(spoken, address, 5, b"f", last, is_last=True)).status == 201
        assert await door.content() == b"abcdef"

    run(test)


def test_r81_a_creation_s_content_counts_only_if_it_is_right() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        lines = (*spoken.lines, spoken.complete(True), f"Content-Digest: {sha256(b'abc')}")
        wrong = await door.said("POST", "/files/", *lines, body=b"abC")
        assert code(wrong) == (400, "checksum_mismatch")
        address = address_of(wrong.supported[0])
        assert await door.at(address) == 0
        assert (await door.added(spoken, address, 0, b"abc", is_last=True)).status == 201
        right = await door.said("POST", "/files/", *lines, body=b"abc")
        assert await door.content(right) == b"abc"

    run(test)


def test_r81_a_cut_leaves_nothing_of_what_was_to_be_checked() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        async with door.rufh() as client:
            lines = (*door.append_lines(spoken, 3, True), f"Content-Digest: {sha256(b'def')}")
            await client.send(door.head("PATCH", address, *lines, "Content-Length: 3"), b"de")
            await asyncio.sleep(0.1)
            client.reset()
        assert await door.at(address) == 3

    run(test)


def test_r80_r81_a_digest_that_cannot_be_read_is_refused() -> None:
    async def test(door: UploadDoor) -> None:
        for line in ("Repr-Digest: sha-256=abc", "Content-Digest: sha-256=:AAAA:"):
            refused = await door.said("POST", "/files/", "Upload-Complete: ?1", line, body=b"abc")
            assert code(refused) == (400, "invalid")
        assert door.node.outcomes() == []

    run(test)


def test_r82_offsets_count_content_and_not_how_it_travels() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        async with door.rufh() as client:
            lines = (*spoken.lines, spoken.complete(False), CHUNKED, "Content-Encoding: gzip")
            await client.send(
                door.head("POST", "/files/", *lines), "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n"
            )
            reply = await client.reply()
        assert reply.fields["upload-offset"] == "3"
        last = await door.added(spoken, address_of(reply.fields), 3, b"def", is_last=True)
        assert await door.content(last) == b"abcdef"

    run(test)


# -- security -------------------------------------------------------------------------------------


def test_r90_an_address_tells_nothing_and_a_guess_finds_nothing() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        reply = await door.said("POST", "/files/", *spoken.lines, spoken.complete(False))
        capability = address_of(reply.fields).removeprefix("/files/")
        assert capability[:3] == "fr-", "the region is all it tells"
        assert len(capability[3:]) == 26
        assert reply.fields["zt-upload-id"][3:] not in reply.fields["location"]
        for guess in (
            "fr-" + "a" * 26,
            capability[:-2] + "aa",
            capability.upper(),
            "up_" + "a" * 26,
        ):
            if guess != capability:
                assert (await door.said("HEAD", f"/files/{guess}")).status == 404

    run(test)


def test_r90_the_credential_is_asked_for_at_each_request_and_at_the_end() -> None:
    async def test(door: UploadDoor) -> None:
        spoken, other = Spoken(), Customer(seed=9)
        entries = [*door.node.customer.entries(), *other.entries()]
        await door.node.snapshots.keep(snapshot_of(Region.FR, 2, 0, entries))
        address = await door.begun(spoken, body=b"abc")
        for verb in ("HEAD", "GET", "PATCH", "DELETE"):
            lines = door.append_lines(spoken, 3, is_last=True)
            for token, status in (("", 401), ("zt_wrong", 401), (other.token, 404)):
                assert (await door.said(verb, address, *lines, token=token)).status == status
        async with door.rufh() as client:
            lines = (*door.append_lines(spoken, 3, is_last=True), "Content-Length: 3")
            await client.send(door.head("PATCH", address, *lines), b"d")
            await asyncio.sleep(0.05)
            revoked = snapshot_of(Region.FR, 3, 0, [door.node.customer.account()])
            await door.node.snapshots.keep(revoked)
            await client.send(b"ef")
            assert code(await client.reply()) == (401, "unauthenticated")
        assert door.node.outcomes() == [], "a commit that was refused is no end"
        await door.node.snapshots.keep(door.node.customer.snapshot(4))
        assert await door.at(address) == 6
        assert (await door.added(spoken, address, 6, b"", is_last=True)).status == 201

    run(test)


def test_r90_a_trickle_is_cut_and_an_abandoned_upload_expires() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        async with door.rufh() as client:
            lines = (*door.append_lines(spoken, 3, is_last=True), "Content-Length: 1000")
            await client.send(door.head("PATCH", address, *lines))
            for _ in range(8):
                await client.send(b"x")
                await asyncio.sleep(0.1)
            assert code(await client.reply()) == (408, "timeout")
        assert 3 < await door.at(address) <= 11
        door.node.clock.advance(86_400_000)
        await door.node.look_after(finishes=True)
        gone = await door.stands(spoken, address)
        assert (gone.status, "upload-offset" in gone.fields) == (410, False)
        assert [one.state for one in door.node.outcomes()] == [OutcomeState.EXPIRED]

    run(test, patience=QUICK)


def test_r90_a_refusal_says_when_to_come_back() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken)
        door.node.is_admitting = False
        for reply in (
            await door.said("POST", "/files/", spoken.complete(True), body=b"abc"),
            await door.added(spoken, address, 0, b"abc", is_last=True),
        ):
            assert code(reply) == (503, "draining")
            assert 5 <= int(reply.fields["retry-after"]) <= 10

    run(test)
