import asyncio
import json

import pytest

from edge.facts import OutcomeState
from edge.snapshot import Limits
from tests.support.http_door import QUICK, Door, run
from tests.support.snapshots import Customer
from tests.support.writing import read_whole
from zentransfer.errors import Code


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_file_comes_in_and_the_connection_stays(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for content in (b"abc", b"", b"d" * 300_000):
                await client.send(door.put(f"Content-Length: {len(content)}"), content)
                status, fields, body = await client.answer()
                page = json.loads(body)
                assert status == 201
                assert page == {"id": fields["zt-upload-id"], "size": len(content), "region": "fr"}
                node = door.node
                assert await read_whole(node.sink, page["id"], node.keys) == content
        assert len(door.node.outcomes()) == 3

    run(test, uvloop=uvloop)


def test_chunks_come_in() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Transfer-Encoding: chunked"), "3\r\nabc\r\n")
            await asyncio.sleep(0.02)
            await client.send("2;x=y\r\nde\r\n0\r\n\r\n")
            assert (await client.answer())[0] == 201
        (outcome,) = door.node.outcomes()
        assert outcome.size_bytes == 5

    run(test)


def test_the_body_is_asked_for_only_when_it_is_admitted() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 3", "Expect: 100-continue"))
            assert (await client.answer())[0] == 100
            await client.send("abc")
            assert (await client.answer())[0] == 201
        async with door.client() as client:
            wrong = door.put("Content-Length: 3", "Expect: 100-continue", token="zt_x")
            await client.send(wrong)
            assert await client.code() == (401, "unauthenticated")
            assert await client.is_closed()

    run(test)


@pytest.mark.parametrize("target", ["/in/..", "/in/%00", "/in/", "/in/a%ff"])
def test_a_bad_name_is_refused_before_the_body(target: str) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 3", "Expect: 100-continue", target=target))
            assert await client.code() == (400, "invalid")
        assert door.node.outcomes() == []
        assert door.node.intake.in_flight == 0

    run(test)


def test_too_large_is_refused_before_the_body_or_in_it() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 11", "Expect: 100-continue"))
            assert await client.code() == (413, "too_large")
        async with door.client() as client:
            chunks = "6\r\nabcdef\r\n" * 2
            await client.send(door.put("Transfer-Encoding: chunked"), chunks)
            assert await client.code() == (413, "too_large")
            assert await client.is_closed()
        assert [one.error for one in door.node.outcomes()] == [Code.TOO_LARGE]

    run(test, customer=Customer(limits=Limits(upload_bytes_max=10)))


@pytest.mark.parametrize("uvloop", [False, True])
@pytest.mark.parametrize("how", ["close", "half", "reset"])
def test_a_client_that_leaves_in_its_body_aborts_its_upload(
    how: str,
    uvloop: bool,
) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 1000"), b"x" * 500)
            await asyncio.sleep(0.05)
            if how == "half":
                client.writer.write_eof()
                assert await client.is_closed()
            elif how == "reset":
                client.reset()
        await door.until_told()
        (outcome,) = door.node.outcomes()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)

    run(test, uvloop=uvloop)


@pytest.mark.parametrize("chunks", ["zz\r\nabc\r\n", "3\r\nabcX\r\n", "-1\r\n"])
def test_broken_chunks_abort_the_upload(chunks: str) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Transfer-Encoding: chunked"), "1\r\na\r\n")
            await asyncio.sleep(0.05)
            await client.send(chunks)
            assert (await client.answer())[0] == 408  # the parser tells only whoever comes next
        await door.until_told()
        (outcome,) = door.node.outcomes()
        assert outcome.state is OutcomeState.FAILED

    run(test, patience=QUICK)


def test_a_silent_client_and_a_trickle_are_cut() -> None:
    async def test(door: Door) -> None:
        async with door.client() as silent, door.client() as trickle:
            await silent.send(door.put("Content-Length: 1000"), b"x" * 500)
            await trickle.send(door.put("Content-Length: 1000"))
            for _ in range(8):
                await trickle.send(b"x")
                await asyncio.sleep(0.1)
            assert await silent.code() == (408, "timeout")
            assert await trickle.code() == (408, "timeout")
            assert await silent.is_closed()
        await door.until_told(2)
        assert {one.error for one in door.node.outcomes()} == {Code.TIMEOUT}

    run(test, patience=QUICK)


def test_what_is_not_for_this_door_is_refused() -> None:
    async def test(door: Door) -> None:
        for request, body in (
            (door.put("Content-Length: 3", target="http://evil/in/x"), b"abc"),
            (door.put("Content-Length: 3", "Upgrade: websocket", "Connection: Upgrade"), b"abc"),
            (door.put(), b""),
        ):
            async with door.client() as client:
                await client.send(request, body)
                assert await client.code() == (400, "invalid")
        async with door.client() as client:
            own = f"http://127.0.0.1:{door.port}/in/x"
            await client.send(door.put("Content-Length: 3", target=own), b"abc")
            assert (await client.answer())[0] == 201
        assert len(door.node.outcomes()) == 1

    run(test)


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Content-Length: 3", "Content-Length: 4"),
        ("Content-Length: +3",),
        ("Content-Length: 3 ", "X\x00: y"),
        ("Transfer-Encoding: chunked, identity",),
        ("Content-Length: 3", "Host: other"),
    ],
)
def test_what_two_parsers_might_read_in_two_ways_is_refused(lines: tuple[str, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put(*lines), "3\r\nabc\r\n0\r\n\r\n")
            assert (await client.answer())[0] == 400
            assert await client.is_closed()
        assert door.node.outcomes() == []

    run(test)


def test_an_encoded_body_is_stored_and_not_undone() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.send(door.put("Content-Length: 3", "Content-Encoding: gzip"), b"abc")
            assert (await client.answer())[0] == 201
        (outcome,) = door.node.outcomes()
        node = door.node
        assert await read_whole(node.sink, outcome.upload_id, node.keys) == b"abc"
        record = (await node.sink.record(outcome.upload_id)).value
        assert node.intake.tools.settling.open(record).content_encoding == "gzip"

    run(test)


def test_an_announced_digest_is_checked_and_a_wanted_one_is_told() -> None:
    async def test(door: Door) -> None:
        wrong = "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
        async with door.client() as client:
            await client.send(door.put("Content-Length: 3", wrong), b"abc")
            assert await client.code() == (460, "checksum_mismatch")
            await client.send(door.put("Content-Length: 3", "Want-Repr-Digest: sha-256=1"), b"abc")
            status, fields, _ = await client.answer()
            assert status == 201
            expected = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"
            assert fields["repr-digest"] == expected

    run(test)


def test_a_draining_door_refuses_new_uploads_and_finishes_the_others() -> None:
    async def test(door: Door) -> None:
        async with door.client() as running, door.client() as late:
            await running.send(door.put("Content-Length: 6"), b"abc")
            await asyncio.sleep(0.05)
            door.node.is_admitting = False
            await late.send(door.put("Content-Length: 3"), b"abc")
            status, fields, body = await late.answer()
            assert (status, json.loads(body)["code"]) == (503, "draining")
            assert 5 <= int(fields["retry-after"]) <= 10
            await running.send(b"def")
            assert (await running.answer())[0] == 201

    run(test)


def test_other_paths_and_verbs_are_answered_in_the_same_form() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for verb, path, status in (
                ("GET", "/in/x", 405),
                ("DELETE", "/in/x", 405),
                ("PUT", "/out/x", 404),
            ):
                head = f"{verb} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                await client.send(head)
                found, fields, _ = await client.answer()
                assert found == status
                assert fields["content-type"].startswith("application/problem+json")

    run(test)
