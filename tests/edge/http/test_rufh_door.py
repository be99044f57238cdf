"""The door for the IETF's resumable uploads over real sockets; each test bears its line's number.

Here: what is told of an upload, its creation, and the retrieval of its offset.
"""

import asyncio
import json

import pytest

from edge.facts import OutcomeState
from edge.snapshot import Limits
from tests.support.http_door import QUICK, address_of
from tests.support.rufh_client import IN_USE, Reply, Spoken, UploadDoor, run
from tests.support.snapshots import Customer
from zentransfer.errors import Code
from zentransfer.ids import UploadID
from zentransfer.limits import UNFINISHED_S, UPLOAD_BYTES_MAX

NOWHERE = "/files/" + "a" * 26
LIMITS = f"max-size={UPLOAD_BYTES_MAX}, max-age={int(UNFINISHED_S)}"


def problem(reply: Reply) -> dict[str, object]:
    assert reply.fields["content-type"].startswith("application/problem+json")
    document: dict[str, object] = json.loads(reply.body)
    assert document["status"] == reply.status
    return document


# -- state and OPTIONS ----------------------------------------------------------------------------


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_file_comes_in_by_parts_and_is_whole_in_every_version(uvloop: bool) -> None:
    async def by_parts(door: UploadDoor, spoken: Spoken) -> None:
        sent = bytes(range(256)) * 1_000
        address = await door.begun(spoken, body=sent[:100_000])
        middle = await door.added(spoken, address, 100_000, sent[100_000:200_000])
        assert (middle.status, spoken.is_complete(middle.fields)) == (204, False)
        assert middle.fields["upload-offset"] == "200000"
        last = await door.added(spoken, address, 200_000, sent[200_000:], is_last=True)
        outcome = door.node.outcomes()[-1]
        assert (last.status, spoken.is_complete(last.fields)) == (201, True)
        page = {"id": outcome.upload_id, "size": len(sent), "region": "fr"}
        assert json.loads(last.body) == page
        assert last.fields["zt-upload-id"] == outcome.upload_id
        assert await door.content(last) == sent
        assert outcome.state is OutcomeState.COMMITTED

    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            await by_parts(door, Spoken(version))
        assert len(door.node.outcomes()) == len(IN_USE)

    run(test, uvloop=uvloop)


def test_r01_an_upload_that_lost_bytes_is_over_and_never_goes_back() -> None:
    async def test(door: UploadDoor) -> None:
        spoken, node = Spoken(), door.node
        address = await door.begun(spoken, body=b"abc")
        await node.resumables.unfinished.held.close()
        upload = node.resumables.unfinished.uploads[0]
        folder = f"uploads/{upload[3:5]}/{upload}"
        (name,) = [one for one in node.disk.names(folder) if one.endswith(".seg")]
        file = node.disk.open(f"{folder}/{name}", write=True)
        file.truncate(file.size() - 1)
        file.close()
        first = await door.stands(spoken, address)
        assert (first.status, "upload-offset" in first.fields) == (410, False)
        again = await door.added(spoken, address, 2, b"c", is_last=True)
        assert problem(again)["code"] == "gone"
        assert [one.state for one in node.outcomes()] == [OutcomeState.FAILED]

    run(test)


def test_r02_another_offset_than_a_number_is_none() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken)
        for value in ("-1", "+1", "1.0", "0x1", "?1", "one", "0, 0", "9" * 16, ""):
            lines = (*spoken.type_lines, spoken.complete(False), f"Upload-Offset: {value}")
            refused = await door.said("PATCH", address, *lines, body=b"abc")
            assert (refused.status, problem(refused)["code"]) == (400, "invalid")
        assert await door.at(address) == 0

    run(test)


def test_r02_an_offset_may_have_parameters() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken)
        lines = (*spoken.type_lines, "Upload-Complete: ?0;x=1", "Upload-Offset: 0;y")
        assert (await door.said("PATCH", address, *lines, body=b"abc")).status == 204
        assert await door.at(address) == 3

    run(test)


def test_r03_another_value_than_a_boolean_is_none() -> None:
    async def test(door: UploadDoor) -> None:
        for value in ("1", "true", "?2", "?1, ?1", '"?1"', ""):
            line = f"Upload-Complete: {value}"
            refused = await door.said("POST", "/files/", line, body=b"abc")
            assert (refused.status, problem(refused)["code"]) == (400, "invalid")
            plain = await door.said("PUT", "/in/x", line, body=b"abc")
            assert plain.status == 201
            assert "location" not in plain.fields, "that one was a plain PUT"

    run(test)


def test_r04_another_length_than_a_number_is_ignored() -> None:
    async def test(door: UploadDoor) -> None:
        for value in ("-1", "1.5", "a", "3, 3"):
            address = await door.begun(Spoken(), f"Upload-Length: {value}")
            assert "upload-length" not in (await door.stands(Spoken(), address)).fields

    run(test)


def test_r04_r23_the_length_is_said_or_implied() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, "Upload-Length: 6", body=b"abc")
        assert (await door.stands(spoken, address)).fields["upload-length"] == "6"
        other = await door.begun(spoken, body=b"abc")
        async with door.rufh() as client:
            lines = door.append_lines(spoken, 3, is_last=True)
            await client.send(door.head("PATCH", other, *lines, "Content-Length: 6"), b"def")
            await asyncio.sleep(0.05)
            reply = await door.stands(spoken, other)
        assert (reply.fields["upload-offset"], reply.fields["upload-length"]) == ("6", "9")

    run(test)


def test_r05_lengths_that_contradict_each_other_are_refused() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        one = await door.said(
            "POST", "/files/", "Upload-Complete: ?1", "Upload-Length: 4", body=b"a"
        )
        address = await door.begun(spoken, "Upload-Length: 6", body=b"abc")
        refused = [
            one,
            await door.added(spoken, address, 3, b"de", is_last=True),
            await door.added(spoken, address, 3, b"d", "Upload-Length: 7"),
            await door.added(spoken, address, 3, b"d", "Upload-Length: 2"),
            await door.added(spoken, address, 3, b"def", "Upload-Length: 7", is_last=True),
        ]
        for each in refused:
            kind = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
            assert (each.status, problem(each)["type"]) == (400, kind)
        assert (await door.added(spoken, address, 3, b"def", is_last=True)).status == 201
        assert await door.content() == b"abcdef"

    run(test)


def test_r05_chunks_that_end_before_the_length_complete_nothing() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, "Upload-Length: 6")
        async with door.rufh() as client:
            lines = (*door.append_lines(spoken, 0, is_last=True), "Transfer-Encoding: chunked")
            await client.send(door.head("PATCH", address, *lines), "3\r\nabc\r\n0\r\n\r\n")
            assert problem(await client.reply())["code"] == "inconsistent_length"
        assert await door.at(address) == 3

    run(test)


def test_r06_an_upload_is_whole_only_when_its_sender_says_so() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, "Upload-Length: 3", body=b"abc")
        reply = await door.stands(spoken, address)
        assert (reply.fields["upload-offset"], reply.fields["upload-length"]) == ("3", "3")
        assert spoken.is_complete(reply.fields) is False
        await door.node.look_after(finishes=True)
        assert door.node.outcomes() == []
        assert (await door.added(spoken, address, 3, b"", is_last=True)).status == 201
        assert spoken.is_complete((await door.stands(spoken, address)).fields) is True
        assert await door.content() == b"abc"

    run(test)


@pytest.mark.parametrize(
    ("version", "said"),
    [(3, None), (5, None), (6, LIMITS.replace("max-age", "expires")), (8, LIMITS), (None, LIMITS)],
)
def test_r07_the_limits_are_a_dictionary_of_numbers(version: int | None, said: str | None) -> None:
    async def test(door: UploadDoor) -> None:
        reply = await door.said(
            "POST", "/files/", *Spoken(version).lines, Spoken(version).complete(False)
        )
        assert reply.fields.get("upload-limit") == said

    run(test)


@pytest.mark.parametrize("size_max", [0, 5_000])
def test_r08_r10_the_limits_are_the_same_wherever_they_are_told(size_max: int) -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        asked = await door.said("OPTIONS", "/files/")
        begun = await door.said("POST", "/files/", *spoken.lines, spoken.complete(False))
        (supported,) = begun.supported
        address = address_of(begun.fields)
        stands = await door.stands(spoken, address)
        added = await door.added(spoken, address, 0, b"abc")
        expected = LIMITS if not size_max else LIMITS.replace(str(UPLOAD_BYTES_MAX), "5000")
        told = [
            one["upload-limit"] for one in (asked.fields, begun.fields, supported, stands.fields)
        ]
        assert told == [expected] * 4
        assert added.fields["upload-limit"] == expected

    run(test, customer=Customer(limits=Limits(upload_bytes_max=size_max)))


def test_r08_the_life_that_is_told_is_never_longer_than_it_will_be() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        address = await door.begun(spoken, body=b"abc")
        for passed_s in (0, 3_600, 7_200):
            reply = await door.stands(spoken, address)
            left = int(UNFINISHED_S) - passed_s
            assert reply.fields["upload-limit"].endswith(f"max-age={left}")
            door.node.clock.advance(3_600_000)
        await door.added(spoken, address, 3, b"def")
        reply = await door.stands(spoken, address)
        assert reply.fields["upload-limit"].endswith(f"max-age={int(UNFINISHED_S)}")

    run(test)


def test_r09_parts_may_be_of_any_size() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        told = (await door.said("OPTIONS", "/files/")).fields["upload-limit"]
        assert "append-size" not in told
        address = await door.begun(spoken)
        for at, part in ((0, b""), (0, b"a"), (1, bytes(300_000))):
            assert (await door.added(spoken, address, at, part)).status == 204

    run(test)


def test_r10_options_tell_the_limits_to_anybody() -> None:
    async def ask(door: UploadDoor, target: str) -> None:
        for token in ("", "zt_wrong", None):
            reply = await door.said("OPTIONS", target, token=token)
            assert (reply.status, reply.fields["upload-limit"]) == (204, LIMITS)
            assert reply.fields["accept-patch"] == "application/partial-upload"
            assert ("tus-version" in reply.fields) == (not target.startswith("/in/"))

    async def test(door: UploadDoor) -> None:
        for target in ("/files", "/files/", NOWHERE, "/in/x", "/in/a/b.jpg", "*"):
            await ask(door, target)

    run(test)


def test_r11_too_large_is_refused_with_the_limits() -> None:
    async def test(door: UploadDoor) -> None:
        spoken, expected = Spoken(), LIMITS.replace(str(UPLOAD_BYTES_MAX), "5")
        address = await door.begun(spoken, body=b"abc")
        for refused in (
            await door.said("POST", "/files/", spoken.complete(False), "Upload-Length: 6"),
            await door.said("POST", "/files/", spoken.complete(True), body=b"abcdef"),
            await door.added(spoken, address, 3, b"def", is_last=True),
            await door.added(spoken, address, 3, b"", "Upload-Length: 6"),
        ):
            assert (refused.status, problem(refused)["code"]) == (413, "too_large")
            assert refused.fields["upload-limit"] == expected
        assert await door.at(address) == 3

    run(test, customer=Customer(limits=Limits(upload_bytes_max=5)))


# -- creation -------------------------------------------------------------------------------------


def test_r20_any_verb_with_content_creates_in_every_version() -> None:
    async def create(door: UploadDoor, version: int | None, target: str, verb: str) -> None:
        spoken = Spoken(version)
        reply = await door.said(verb, target, *spoken.lines, spoken.complete(False), body=b"abc")
        assert reply.status == 201
        assert len(reply.supported) == (version is not None)
        for supported in reply.supported:
            assert supported["upload-draft-interop-version"] == str(version)
            assert supported["location"] == reply.fields["location"]
            assert supported.get("upload-limit") == reply.fields.get("upload-limit")
        last = await door.added(spoken, address_of(reply.fields), 3, b"def", is_last=True)
        assert last.status == 201
        assert await door.content(last) == b"abcdef"

    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            await create(door, version, "/files/", "POST")
        for target in ("/files", "/files/", "/in/desk/x.jpg"):
            for verb in ("POST", "PUT", "PATCH"):
                await create(door, 8, target, verb)

    run(test)


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_r21_r26_what_comes_whole_is_answered_as_a_plain_put(body: bytes) -> None:
    async def put(door: UploadDoor, spoken: Spoken) -> None:
        reply = await door.said("PUT", "/in/x", *spoken.lines, spoken.complete(True), body=body)
        outcome = door.node.outcomes()[-1]
        page = {"id": outcome.upload_id, "size": len(body), "region": "fr"}
        assert (reply.status, json.loads(reply.body)) == (201, page)
        assert reply.fields["zt-upload-id"] == outcome.upload_id
        assert spoken.is_complete(reply.fields) is True
        assert await door.content(reply) == body

    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            await put(door, Spoken(version))

    run(test)


def test_r22_r26_a_first_part_is_answered_by_the_address() -> None:
    async def begin(door: UploadDoor, spoken: Spoken) -> None:
        reply = await door.said(
            "POST", "/files/", *spoken.lines, spoken.complete(False), body=b"ab"
        )
        assert (reply.status, reply.body) == (201, b"")
        assert spoken.is_complete(reply.fields) is False
        assert reply.fields["upload-offset"] == "2"
        assert reply.fields["location"].startswith(f"http://127.0.0.1:{door.port}/files/")

    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            await begin(door, Spoken(version))

    run(test)


@pytest.mark.parametrize("is_complete", [True, False])
def test_r25_the_address_is_the_same_in_every_response_to_one_request(is_complete: bool) -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken(10)
        reply = await door.said(
            "POST", "/files/", *spoken.lines, spoken.complete(is_complete), body=b"abc"
        )
        assert [one["location"] for one in reply.supported] == [reply.fields["location"]]

    run(test)


@pytest.mark.parametrize("ending", ["reset", "fin", "silence"])
def test_r27_r47_what_came_before_a_break_is_kept_and_is_not_whole(ending: str) -> None:
    async def test(door: UploadDoor) -> None:
        spoken, sent = Spoken(), bytes(range(250)) * 2_000
        async with door.rufh() as client:
            lines = (*spoken.lines, spoken.complete(True), f"Content-Length: {len(sent)}")
            await client.send(door.head("POST", "/files/", *lines), sent[:300_000])
            status, fields, _ = await client.answer()
            assert status == 104
            await asyncio.sleep(0.1)
            if ending == "reset":
                client.reset()
            elif ending == "fin":
                client.writer.close()
            else:
                assert (await client.code()) == (408, Code.TIMEOUT)
        address = address_of(fields)
        stands = await door.stands(spoken, address)
        assert spoken.is_complete(stands.fields) is False
        offset = int(stands.fields["upload-offset"])
        assert offset == 300_000
        assert stands.fields["upload-length"] == str(len(sent))
        assert (
            await door.added(spoken, address, offset, sent[offset:], is_last=True)
        ).status == 201
        assert await door.content() == sent

    run(test, patience=QUICK)


def test_r27_what_nobody_was_told_of_ends_with_its_request() -> None:
    async def test(door: UploadDoor) -> None:
        async with door.rufh() as client:
            head = door.head("POST", "/files/", "Upload-Complete: ?1", "Content-Length: 100")
            await client.send(head, b"abc")
            await asyncio.sleep(0.1)
            client.reset()
        await door.until_told()
        (outcome,) = door.node.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)
        assert door.node.resumables.unfinished.uploads == []

    run(test)


def test_r28_the_name_and_the_kind_are_those_of_the_creation() -> None:
    async def test(door: UploadDoor) -> None:
        lines = (
            "Content-Disposition: inline; filename=\"x.jpg\"; filename*=UTF-8''IMG%20%C3%A4.jpg",
            "Content-Type: image/jpeg",
            "Content-Encoding: gzip",
        )
        for target, name in (("/files/", "IMG \u00e4.jpg"), ("/in/a/b.jpg", "b.jpg")):
            reply = await door.said("POST", target, "Upload-Complete: ?1", *lines, body=b"abc")
            record = (await door.node.sink.record(UploadID(reply.fields["zt-upload-id"]))).value
            known = door.node.intake.tools.settling.open(record)
            assert known.name.name == name
            assert (known.media_type, known.content_encoding) == ("image/jpeg", "gzip")
        bad = "Content-Disposition: inline; filename=.."
        refused = await door.said("POST", "/files/", "Upload-Complete: ?1", bad, body=b"abc")
        assert problem(refused)["code"] == "invalid"

    run(test)


# -- offset retrieval -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["HEAD", "GET"])
def test_r30_the_offset_is_retrieved_in_every_version(verb: str) -> None:
    async def retrieve(door: UploadDoor, spoken: Spoken) -> None:
        address = await door.begun(spoken, "Upload-Length: 6", body=b"abc")
        for is_whole in (False, True):
            reply = await door.stands(spoken, address, verb)
            assert (reply.status, reply.body) == (204, b"")
            assert reply.fields["upload-offset"] == ("6" if is_whole else "3")
            assert reply.fields["upload-length"] == "6"
            assert spoken.is_complete(reply.fields) is is_whole
            assert reply.fields["cache-control"] == "no-store"
            has_limit = not is_whole and spoken.version not in (3, 5)
            assert ("upload-limit" in reply.fields) is has_limit
            await door.added(spoken, address, 3, b"def", is_last=True)

    async def test(door: UploadDoor) -> None:
        for version in IN_USE:
            await retrieve(door, Spoken(version))

    run(test)


def test_r31_nothing_is_redirected() -> None:
    async def test(door: UploadDoor) -> None:
        address = await door.begun(Spoken())
        for target in (address, NOWHERE, "/files/x", "/files/a/b"):
            for verb in ("HEAD", "GET", "PATCH", "DELETE"):
                reply = await door.said(verb, target, *door.append_lines(Spoken(), 0, False))
                assert reply.status == (204 if target == address else 404)
                assert ("upload-offset" in reply.fields) <= (target == address)

    run(test)


def test_r32_r33_an_offset_that_was_told_is_taken_under_a_storm_of_requests() -> None:
    async def test(door: UploadDoor) -> None:
        spoken, sent, at = Spoken(), bytes(range(250)) * 400, 0
        address = await door.begun(spoken, f"Upload-Length: {len(sent)}")
        async with door.rufh() as cut, door.rufh() as other:
            for client in (cut, other):
                lines = (*door.append_lines(spoken, at, is_last=True),)
                size = f"Content-Length: {len(sent) - at}"
                await client.send(door.head("PATCH", address, *lines, size), sent[at : at + 20_000])
                await asyncio.sleep(0.02)
                first, second = (await door.at(address), await door.at(address))
                assert at <= first == second <= at + 20_000
                at = first
                assert await client.is_closed()
        assert (await door.added(spoken, address, at, sent[at:], is_last=True)).status == 201
        assert await door.content() == sent

    run(test)
