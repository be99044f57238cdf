"""Checksums of tus over real sockets; each line of the protocol's checklist by its number."""

import asyncio
import base64

import pytest

from edge.checks import TUS, Check
from edge.facts import OutcomeState
from tests.support.http_door import PATCH_TYPE, Door, address_of, run
from tests.support.writing import read_whole


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    """Return the header line that is right for *data*."""
    hasher = Check(algorithm, b"").hasher()
    hasher.update(data)
    return f"Upload-Checksum: {algorithm} {base64.b64encode(hasher.digest()).decode()}"


async def patched(door: Door, address: str, offset: int, body: bytes, line: str) -> int:
    lines = (f"Upload-Offset: {offset}", PATCH_TYPE, line)
    status, fields, answer = await door.asked("PATCH", address, *lines, body=body)
    assert fields["tus-resumable"] == "1.0.0"
    if status == 460:
        assert b"checksum_mismatch" in answer
        assert "upload-offset" not in fields
    return status


async def content(door: Door) -> bytes:
    (outcome,) = door.node.outcomes()
    assert outcome.state is OutcomeState.COMMITTED
    return await read_whole(door.node.sink, outcome.upload_id, door.node.keys)


def test_t80_t81_options_tell_the_algorithms() -> None:
    async def test(door: Door) -> None:
        _, fields, _ = await door.asked("OPTIONS", "/files/")
        algorithms = fields["tus-checksum-algorithm"].split(",")
        assert "sha1" in algorithms
        assert all(name.isascii() and name == name.lower() for name in algorithms)
        assert "checksum" in fields["tus-extension"].split(",")
        assert "checksum-trailer" not in fields["tus-extension"]

    run(test)


@pytest.mark.parametrize("uvloop", [False, True])
@pytest.mark.parametrize("algorithm", TUS)
def test_t82_t84_what_matches_is_kept_and_what_does_not_is_not(
    algorithm: str, uvloop: bool
) -> None:
    async def test(door: Door) -> None:
        first, second = bytes(300_000), b"x" * 100_000
        address = await door.created(400_000)
        wrong = checksum(b"other", algorithm)
        assert await patched(door, address, 0, first, wrong) == 460
        assert await door.offset(address) == 0
        assert await patched(door, address, 0, first, checksum(first, algorithm)) == 204
        assert await door.offset(address) == 300_000
        assert await patched(door, address, 300_000, second, wrong) == 460
        assert await door.offset(address) == 300_000
        assert door.node.outcomes() == []
        assert await patched(door, address, 300_000, second, checksum(second, algorithm)) == 204
        assert await content(door) == first + second

    run(test, uvloop=uvloop)


def test_t83_nothing_counts_before_the_whole_request_came() -> None:
    async def test(door: Door) -> None:
        address = await door.created(6)
        lines = ("Upload-Offset: 0", PATCH_TYPE, "Content-Length: 6", checksum(b"abcdef"))
        for ending in ("taken over", "reset"):
            async with door.client() as client:
                await client.send(door.tus("PATCH", address, *lines), b"abcde")
                await asyncio.sleep(0.05)
                if ending == "reset":
                    client.reset()
                assert await door.offset(address) == 0, ending
        assert await patched(door, address, 0, b"abcdef", checksum(b"abcdef")) == 204
        assert await content(door) == b"abcdef"

    run(test)


def test_t84_an_unknown_algorithm_is_refused_and_nothing_is_kept() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        for text in ("sha3-256 YQ==", "SHA1 YQ==", "sha1", "sha1 YQ==", "sha1 %"):
            line = f"Upload-Checksum: {text}"
            assert await patched(door, address, 0, b"abc", line) == 400
        assert await door.offset(address) == 0

    run(test)


def test_t84_the_connection_goes_on_after_a_mismatch() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        lines = ("Upload-Offset: 0", PATCH_TYPE, "Content-Length: 3")
        async with door.client() as client:
            for line, status in ((checksum(b"x"), 460), (checksum(b"abc"), 204)):
                await client.send(door.tus("PATCH", address, *lines, line), b"abc")
                assert (await client.answer())[0] == status

    run(test)


def test_t85_a_trailer_with_a_digest_is_refused_before_its_bytes() -> None:
    async def test(door: Door) -> None:
        address = await door.created(3)
        lines = ("Upload-Offset: 0", PATCH_TYPE, "Transfer-Encoding: chunked")
        async with door.client() as client:
            head = door.tus("PATCH", address, *lines, "Trailer: Upload-Checksum")
            line = checksum(b"abc")
            await client.send(head, f"3\r\nabc\r\n0\r\n{line}\r\n\r\n")
            assert (await client.answer())[0] == 400
        assert await door.offset(address) == 0

    run(test)


def test_t85_aiohttp_hands_no_trailer_of_a_request_to_us() -> None:
    """The reason why the extension is not offered; when this fails, offer it."""

    async def test(door: Door) -> None:
        address = await door.created(3)
        lines = ("Upload-Offset: 0", PATCH_TYPE, "Transfer-Encoding: chunked")
        async with door.client() as client:
            wrong = checksum(b"xyz")
            await client.send(door.tus("PATCH", address, *lines))
            await client.send(f"3\r\nabc\r\n0\r\n{wrong}\r\n\r\n")
            assert (await client.answer())[0] == 204, "not announced, and so not seen"

    run(test)


def test_t61_t84_a_creation_may_bring_checked_bytes() -> None:
    async def test(door: Door) -> None:
        lines = ("Upload-Length: 6", PATCH_TYPE)
        status, fields, _ = await door.asked(
            "POST", "/files/", *lines, checksum(b"abc"), body=b"abc"
        )
        assert (status, fields["upload-offset"]) == (201, "3")
        line = checksum(b"def", "xxh3")
        assert await patched(door, address_of(fields), 3, b"def", line) == 204
        assert await content(door) == b"abcdef"
        status, fields, _ = await door.asked("POST", "/files/", *lines, checksum(b"x"), body=b"abc")
        assert status == 460
        assert "location" not in fields
        states = [one.state for one in door.node.outcomes()]
        assert sorted(states) == [OutcomeState.COMMITTED, OutcomeState.FAILED]

    run(test)
