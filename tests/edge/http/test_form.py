"""Forms over real sockets: several files in one request, each an upload of its own."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.facts import OutcomeState
from edge.snapshot import Limits
from tests.edge.http.test_multipart import B, form
from tests.support.http_door import QUICK, Door, run
from tests.support.snapshots import Customer
from tests.support.writing import read_whole
from zentransfer.ids import UploadID
from zentransfer.limits import FORM_FIELD_BYTES_MAX, FORM_FIELDS_MAX, FORM_FILES_MAX

TYPE = f"Content-Type: multipart/form-data; boundary={B.decode()}"
FILE = 'name="f"; filename="a.jpg"'


async def posted(
    door: Door, body: bytes, *lines: str, target: str = "/in/"
) -> tuple[int, dict[str, str], bytes]:
    async with door.client() as client:
        head = door.put(TYPE, f"Content-Length: {len(body)}", *lines, target=target, verb="POST")
        await client.send(head, body)
        return await client.answer()


async def content(door: Door, upload: str) -> bytes:
    return await read_whole(door.node.sink, UploadID(upload), door.node.keys)


@pytest.mark.parametrize("uvloop", [False, True])
def test_each_file_of_a_form_is_an_upload_with_an_outcome(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        sent = {"a.jpg": bytes(300_000), "b ä.jpg": b"", "c.jpg": b"--xYzZ\r\n--" * 9_000}
        fields = [('name="note"', b"hello"), ('name="none"; filename=""', b"")]
        files = [(f'name="f"; filename="{name}"', data) for name, data in sent.items()]
        status, headers, body = await posted(door, form(fields[0], *files, fields[1]))
        assert (status, headers["content-type"]) == (201, "application/json")
        found = json.loads(body)["uploads"]
        assert [(one["name"], one["size"], one["region"]) for one in found] == [
            (name, len(data), "fr") for name, data in sent.items()
        ]
        for one in found:
            assert await content(door, one["id"]) == sent[one["name"]]
        assert {one.upload_id for one in door.node.outcomes()} == {one["id"] for one in found}
        assert all(one.state is OutcomeState.COMMITTED for one in door.node.outcomes())

    run(test, uvloop=uvloop)


def test_the_connection_goes_on_after_a_form() -> None:
    async def test(door: Door) -> None:
        body = form((FILE, b"x"))
        async with door.client() as client:
            for _ in range(3):
                head = door.put(TYPE, f"Content-Length: {len(body)}", target="/in/", verb="POST")
                await client.send(head, body[:-1])
                await asyncio.sleep(0.01)
                await client.send(body[-1:])
                assert (await client.answer())[0] == 201

    run(test)


def test_a_form_comes_in_chunks_byte_by_byte() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            head = door.put(TYPE, "Transfer-Encoding: chunked", target="/in/cup/", verb="POST")
            await client.send(head)
            for byte in form((FILE, b"\r\n--xYzZ\r\n")):
                await client.send(b"1\r\n%c\r\n" % byte)
            await client.send("0\r\n\r\n")
            status, _, body = await client.answer()
        (found,) = json.loads(body)["uploads"]
        assert (status, found["name"]) == (201, "cup/a.jpg")
        assert await content(door, found["id"]) == b"\r\n--xYzZ\r\n"

    run(test)


@pytest.mark.parametrize("ending", ["cut off", "reset", "silent"])
def test_a_form_that_breaks_keeps_what_is_whole_and_nothing_else(ending: str) -> None:
    async def test(door: Door) -> None:
        body = form((FILE, b"abc"), (FILE, b"defghi"))[:-16]
        length = len(body) + (0 if ending == "cut off" else 9)
        async with door.client() as client:
            head = door.put(TYPE, f"Content-Length: {length}", target="/in/", verb="POST")
            await client.send(head, body)
            if ending == "reset":
                async with asyncio.timeout(20):
                    while not door.node.outcomes():  # noqa: ASYNC110 - told by another task
                        await asyncio.sleep(0.01)
                client.reset()
            else:
                status, _, answer = await client.answer()
                page = json.loads(answer)
                code = (400, "invalid") if ending == "cut off" else (408, "timeout")
                assert (status, page["code"]) == code
                (one,) = page["uploads"]
                assert await content(door, one["id"]) == b"abc"
        await door.until_told(2)
        states = [one.state for one in door.node.outcomes()]
        assert sorted(states) == [OutcomeState.COMMITTED, OutcomeState.FAILED]

    run(test, patience=QUICK)


def test_what_is_no_file_is_passed_over_in_its_time() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            head = door.put(TYPE, "Content-Length: 999", target="/in/", verb="POST")
            await client.send(head, form(('name="note"', b"x"))[:-20])
            assert await client.code() == (408, "timeout")
        assert door.node.outcomes() == []

    run(test, patience=QUICK)


@pytest.mark.reaches("FORM_FILES_MAX")
def test_a_form_has_so_many_files_and_no_more() -> None:
    async def test(door: Door) -> None:
        status, _, body = await posted(door, form(*[(FILE, b"x")] * (FORM_FILES_MAX + 1)))
        assert (status, len(json.loads(body)["uploads"])) == (400, FORM_FILES_MAX)
        assert len(door.node.outcomes()) == FORM_FILES_MAX

    run(test)


@pytest.mark.reaches("FORM_FIELDS_MAX")
@pytest.mark.reaches("FORM_FIELD_BYTES_MAX")
def test_fields_are_passed_over_within_bounds() -> None:
    async def test(door: Door) -> None:
        many, long = [('name="n"', b"x")] * FORM_FIELDS_MAX, b"x" * FORM_FIELD_BYTES_MAX
        for body, status in (
            (form(*many, (FILE, b"x")), 201),
            (form(*many, ('name="n"', b""), (FILE, b"x")), 400),
            (form(('name="n"', long), (FILE, b"x")), 201),
            (form(('name="n"', long + b"x"), (FILE, b"x")), 400),
        ):
            assert (await posted(door, body))[0] == status
        assert len(door.node.outcomes()) == 2

    run(test)


def test_a_form_without_a_file_or_for_no_place_is_refused() -> None:
    async def test(door: Door) -> None:
        for body, target in (
            (form(('name="n"', b"x")), "/in/"),
            (form(), "/in/"),
            (form((FILE, b"x")), "/in/x"),
            (form(('name="f"; filename=".."', b"x")), "/in/"),
            (b"", "/in/"),
            (b"no form", "/in/"),
        ):
            status, fields, answer = await posted(door, body, target=target)
            assert (status, fields["content-type"]) == (400, "application/problem+json")
            assert json.loads(answer)["code"] == "invalid"
        assert door.node.outcomes() == []

    run(test)


def test_a_file_that_is_too_large_ends_the_form() -> None:
    async def test(door: Door) -> None:
        body = form((FILE, b"abc"), (FILE, bytes(100_000)), (FILE, b"x"))
        status, _, answer = await posted(door, body)
        assert (status, len(json.loads(answer)["uploads"])) == (413, 1)
        states = [one.state for one in door.node.outcomes()]
        assert sorted(states) == [OutcomeState.COMMITTED, OutcomeState.FAILED]

    run(test, customer=Customer(limits=Limits(upload_bytes_max=5)))


def test_a_form_is_asked_for_when_it_is_admitted() -> None:
    async def test(door: Door) -> None:
        body = form((FILE, b"abc"))
        lines = (TYPE, f"Content-Length: {len(body)}", "Expect: 100-continue")
        async with door.client() as client:
            await client.send(door.put(*lines, target="/in/", verb="POST"))
            assert (await client.answer())[0] == 100
            await client.send(body)
            assert (await client.answer())[0] == 201
        for target, token, status in (("/in/", "zt_x", 401), ("/in/x", None, 400)):
            async with door.client() as client:
                await client.send(door.put(*lines, target=target, verb="POST", token=token))
                assert (await client.answer())[0] == status
                assert await client.is_closed()

    run(test)


def test_a_page_of_another_origin_may_send_a_form() -> None:
    async def test(door: Door) -> None:
        status, fields, _ = await posted(door, form((FILE, b"x")), "Origin: https://a.example")
        assert (status, fields["access-control-allow-origin"]) == (201, "*")
        status, fields, _ = await posted(door, b"", "Origin: https://a.example")
        assert (status, fields["access-control-allow-origin"]) == (400, "*")

    run(test)


def test_a_raw_post_is_one_file_with_the_name_of_its_address() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 3", verb="POST"), "abc")
            status, fields, body = await client.answer()
            page = json.loads(body)
            assert (status, page["id"], page["size"]) == (201, fields["zt-upload-id"], 3)
            assert await content(door, page["id"]) == b"abc"
            for verb in ("POST", "PUT"):
                await client.send(door.put("Content-Length: 0", target="/in/", verb=verb))
                status, _, body = await client.answer()
                assert (status, "has no name" in json.loads(body)["detail"]) == (400, True)
        assert len(door.node.outcomes()) == 1

    run(test)


@pytest.mark.peer
def test_curl_sends_forms_and_files(tmp_path: Path) -> None:
    curl = shutil.which("curl")
    assert curl, "apt-get install curl"
    (tmp_path / "a b.jpg").write_bytes(bytes(range(256)) * 1_000)
    (tmp_path / 'ä;".txt').write_bytes(b"")

    async def test(door: Door) -> None:
        url, token = f"http://127.0.0.1:{door.port}/in/", door.node.customer.token
        asked = [curl, "-sS", "-H", f"Authorization: Bearer {token}"]
        ways = (
            ["-F", "note=hello", "-F", "f=@a b.jpg", "-F", 'f=@"ä;\\".txt"', url],
            ["--data-binary", "@a b.jpg", "-H", "Content-Type:", url + "x.jpg"],
            ["-T", "a b.jpg", url],
        )
        for way in ways:
            process = await asyncio.create_subprocess_exec(
                *asked, *way, stdout=subprocess.PIPE, cwd=tmp_path
            )
            out, _ = await process.communicate()
            assert "id" in out.decode(), out
            if b"uploads" in out:
                names = [one["name"] for one in json.loads(out)["uploads"]]
                assert names == ["a b.jpg", 'ä;".txt']
        sizes = sorted(one.size_bytes for one in door.node.outcomes())
        assert sizes == [0, 256_000, 256_000, 256_000]

    run(test)
