"""Several dialects at one address: each upload is one dialect's, and each is told of."""

import json
from itertools import product

import pytest

from edge.http.collection import is_tus
from edge.http.rufh import DIALECT as RUFH
from edge.http.tus import DIALECT as TUS
from tests.support.http_door import PATCH_TYPE, address_of
from tests.support.rufh_client import Reply, Spoken, UploadDoor, run

TUS_LINE = "Tus-Resumable: 1.0.0"
OF_TUS = (TUS_LINE, "Upload-Offset: 0", PATCH_TYPE)


async def tus_begun(door: UploadDoor, length: int = 3) -> str:
    reply = await door.said("POST", "/files/", TUS_LINE, f"Upload-Length: {length}")
    assert reply.status == 201
    return address_of(reply.fields)


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, json.loads(reply.body)["code"]


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("HEAD", {}, False),
        ("DELETE", {}, False),
        ("POST", {}, False),
        ("POST", {"Upload-Complete": "?1"}, False),
        ("POST", {"Upload-Incomplete": "?1", "Upload-Length": "3"}, False),
        ("PATCH", {"Upload-Draft-Interop-Version": "5", "Upload-Metadata": "a"}, False),
        ("PATCH", {"Content-Type": "application/partial-upload", "Upload-Length": "3"}, False),
        ("HEAD", {"Tus-Resumable": "1.0.0"}, True),
        ("POST", {"Tus-Resumable": "1.0.0", "Upload-Complete": "?1"}, True),
        ("POST", {"Upload-Length": "3"}, True),
        ("POST", {"Upload-Defer-Length": "1"}, True),
        ("POST", {"X-HTTP-Method-Override": "PATCH"}, True),
        ("PATCH", {"Content-Type": "application/offset+octet-stream; x"}, True),
    ],
)
def test_a_request_says_which_dialect_it_speaks(
    method: str, headers: dict[str, str], expected: bool
) -> None:
    assert is_tus(method, headers) is expected


def test_each_dialect_creates_its_own_at_one_address() -> None:
    async def test(door: UploadDoor) -> None:
        for address, dialect in (
            (await tus_begun(door), TUS),
            (await door.begun(Spoken()), RUFH),
        ):
            upload = door.capabilities.upload(address.removeprefix("/files/"))
            assert (await door.node.sink.record(upload)).value.dialect == dialect

    run(test)


def test_an_upload_goes_on_only_in_the_dialect_that_began_it() -> None:
    async def test(door: UploadDoor) -> None:
        spoken = Spoken()
        of_tus, of_rufh = await tus_begun(door), await door.begun(spoken)
        for verb in ("HEAD", "PATCH", "DELETE"):
            foreign = await door.said(verb, of_tus, *door.append_lines(spoken, 0, True))
            assert foreign.status == 403
            foreign = await door.said(verb, of_rufh, *OF_TUS)
            assert (foreign.status, foreign.fields["tus-resumable"]) == (403, "1.0.0")
        assert (await door.said("PATCH", of_tus, *OF_TUS, body=b"abc")).status == 204
        assert (await door.added(spoken, of_rufh, 0, b"def", is_last=True)).status == 201
        for verb, (address, lines) in product(
            ("HEAD", "PATCH"),
            ((of_tus, door.append_lines(spoken, 3, True)), (of_rufh, OF_TUS)),
        ):
            assert (await door.said(verb, address, *lines)).status == 403
        assert [one.size_bytes for one in door.node.outcomes()] == [3, 3]

    run(test)


def test_a_plain_file_is_nobody_s_to_go_on_with() -> None:
    async def test(door: UploadDoor) -> None:
        plain = await door.said("PUT", "/in/x", body=b"abc")
        assert (plain.status, plain.interim) == (201, [])
        address = "/files/" + door.capabilities.of(door.node.outcomes()[0].upload_id)
        assert (await door.said("HEAD", address)).status == 403
        assert (await door.said("HEAD", address, TUS_LINE)).status == 403

    run(test)


def test_t05_a_tus_client_without_its_version_hears_that_from_tus() -> None:
    async def test(door: UploadDoor) -> None:
        reply = await door.said("POST", "/files/", "Upload-Length: 3")
        assert (reply.status, reply.fields["tus-version"]) == (412, "1.0.0")
        reply = await door.said("POST", "/files/", body=b"abc")
        assert code(reply) == (400, "invalid"), "what speaks nothing is told what to say"

    run(test)


def test_options_tell_of_both_dialects_and_of_every_verb() -> None:
    async def test(door: UploadDoor) -> None:
        for target, verbs in (
            ("/files/", ["OPTIONS", "POST", "PUT", "PATCH"]),
            ("/files/" + "a" * 26, ["OPTIONS", "HEAD", "PATCH", "DELETE", "GET"]),
            ("/in/x", ["OPTIONS", "PUT", "POST", "PATCH"]),
        ):
            lines = ("Origin: https://a.example", "Access-Control-Request-Method: PATCH")
            reply = await door.said("OPTIONS", target, *lines, token="")
            assert reply.status == 204
            assert set(reply.fields["allow"].split(", ")) == set(verbs)
            assert set(reply.fields["access-control-allow-methods"].split(", ")) == set(verbs)
            allowed = reply.fields["access-control-allow-headers"].split(", ")
            assert {"Upload-Complete", "Tus-Resumable", "Content-Disposition"} <= set(allowed)
            exposed = reply.fields["access-control-expose-headers"].split(", ")
            assert {"Upload-Complete", "Upload-Limit", "Location"} <= set(exposed)

    run(test)


def test_another_verb_is_refused_with_those_that_there_are() -> None:
    async def test(door: UploadDoor) -> None:
        address = await door.begun(Spoken())
        for verb, target in (
            ("GET", "/files/"),
            ("DELETE", "/files/"),
            ("POST", address),
            ("PUT", address),
            ("GET", "/in/x"),
            ("PATCH", "/in/x"),
        ):
            reply = await door.said(verb, target)
            assert code(reply) == (405, "method_not_allowed")
            assert "OPTIONS" in reply.fields["allow"]

    run(test)


def test_a_name_s_address_takes_whole_files_and_resumable_ones() -> None:
    async def test(door: UploadDoor) -> None:
        assert (await door.said("PUT", "/in/a", body=b"abc")).status == 201
        for verb in ("PUT", "POST", "PATCH"):
            reply = await door.said(verb, "/in/a", "Upload-Complete: ?1", body=b"def")
            assert (reply.status, reply.fields["upload-complete"]) == (201, "?1")
        lines = ("Content-Range: bytes 0-2/6", "Upload-Draft-Interop-Version: 8")
        assert code(await door.said("PUT", "/in/a", *lines, body=b"abc")) == (400, "invalid")
        for name in ("/in/..", "/in/%00", "/in/"):
            for line in ("X: y", "Upload-Complete: ?1"):
                assert code(await door.said("PUT", name, line, body=b"x")) == (400, "invalid")

    run(test)


def test_options_of_the_server_itself_are_those_of_the_collection() -> None:
    async def test(door: UploadDoor) -> None:
        reply = await door.said("OPTIONS", "*", token="")
        assert (reply.status, reply.fields["tus-version"]) == (204, "1.0.0")
        assert (await door.said("OPTIONS", "/elsewhere")).status == 404

    run(test)


@pytest.mark.parametrize("lines", [(TUS_LINE,), ("Upload-Draft-Interop-Version: 8",), ()])
def test_who_comes_to_a_node_of_another_region_is_sent_to_the_right_one(
    lines: tuple[str, ...],
) -> None:
    async def test(door: UploadDoor) -> None:
        shown = f"sg-{'a' * 26}"
        for verb in ("HEAD", "PATCH", "DELETE", "GET"):
            more = (*lines, "Expect: 100-continue") if verb == "PATCH" else lines
            body = b"not for us" if verb == "PATCH" else None
            reply = await door.said(verb, f"/files/{shown}", *more, body=body)
            assert reply.status == 307
            assert reply.interim == [], "before the body is asked for"
            assert reply.fields["location"] == f"http://sg.upload.example:8100/files/{shown}"
            assert ("tus-resumable" in reply.fields) is (lines == (TUS_LINE,))
        assert (await door.said("HEAD", f"/files/fr-{'a' * 26}", *lines)).status == 404
        assert (await door.said("HEAD", f"/files/de-{'a' * 26}", *lines)).status == 404

    run(test)
