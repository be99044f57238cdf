from hashlib import sha256
from random import Random

import asyncssh
import pytest
from asyncssh import SFTPClient

from edge.facts import Door as Kind
from edge.facts import OutcomeState
from edge.pace import Patience
from edge.record import UploadRecord as Record
from edge.snapshot import Entry, snapshot_of
from tests.support.sftp_door import Door, run
from zentransfer.errors import Code
from zentransfer.limits import FTP_RENAME_S, SFTP_HANDLES_MAX, SFTP_PACKET_BYTES_MAX
from zentransfer.sealed_name import FileName

BIG = Random(1).randbytes(3_000_001)


async def put(client: SFTPClient, path: str, content: bytes = b"abc") -> None:
    async with client.open(path, "wb") as file:
        await file.write(content)


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_close_that_succeeds_left_the_whole_file(uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "DCIM/100/IMG_1.CR3", BIG)
            (outcome,) = door.node.outcomes()
            assert outcome.state is OutcomeState.COMMITTED
        ((name, content),) = await door.committed()
        assert name == FileName("DCIM/100", "IMG_1.CR3")
        assert sha256(content).digest() == sha256(BIG).digest()
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert record.door == Kind.SFTP

    run(test, uvloop=uvloop)


def test_an_empty_file_is_a_file() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "empty", b"")
        assert [content for _, content in await door.committed()] == [b""]

    run(test)


def test_writes_that_come_out_of_order_are_put_in_order() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client, client.open("a", "wb", block_size=0) as file:
            for offset in (20_000, 10_000, 30_000, 0):
                await file.write(BIG[offset : offset + 10_000], offset)
        ((_, content),) = await door.committed()
        assert content == BIG[:40_000]

    run(test)


def test_a_file_with_a_gap_fails_at_its_close() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a", "wb")
            await file.write(b"x", 10)
            with pytest.raises(asyncssh.SFTPFailure, match="cut"):
                await file.close()
        (outcome,) = await door.until_told()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)

    run(test)


def test_bytes_that_are_written_twice_end_the_file() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a", "wb")
            await file.write(b"abc", 0)
            with pytest.raises(asyncssh.SFTPFailure, match="came before"):
                await file.write(b"b", 1)
            with pytest.raises(asyncssh.SFTPFailure):
                await file.close()
        (outcome,) = await door.until_told()
        assert outcome.state is OutcomeState.FAILED

    run(test)


@pytest.mark.parametrize("uvloop", [False, True])
@pytest.mark.parametrize("ends_channel", [False, True])
def test_a_cut_upload_never_looks_whole(uvloop: bool, ends_channel: bool) -> None:
    async def test(door: Door) -> None:
        async with door.connected() as connection:
            client = await connection.start_sftp_client()
            file = await client.open("a", "wb")
            await file.write(BIG, 0)
            if ends_channel:
                client.exit()
                await door.until_told()
            else:
                connection.abort()
        (outcome,) = await door.until_told()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)

    run(test, uvloop=uvloop)


def test_fewer_bytes_than_were_announced_are_no_file() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a", "wb", asyncssh.SFTPAttrs(size=4))
            await file.write(b"abc")
            with pytest.raises(asyncssh.SFTPFailure):
                await file.close()
            file = await client.open("b", "wb")
            await file.write(b"abc")
            await file.truncate(5)
            with pytest.raises(asyncssh.SFTPFailure):
                await file.close()
        assert {one.state for one in await door.until_told(2)} == {OutcomeState.FAILED}

    run(test)


def test_content_is_never_read_back() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "a")
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="never served back"):
                await client.open("a", "rb")
            async with client.open("b", "w+b") as file:
                with pytest.raises(asyncssh.SFTPPermissionDenied, match="never served back"):
                    await file.read(1, 0)
                await file.write(b"x", 0)

    run(test)


def test_who_looks_back_finds_names_sizes_and_times() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await client.mkdir("DCIM")
            with pytest.raises(asyncssh.SFTPFailure, match="exists"):
                await client.mkdir("DCIM")
            await client.chdir("DCIM")
            await put(client, "a.jpg")
            await client.utime("a.jpg", times=(5, 6))
            await client.chmod("a.jpg", 0o600)
            found = await client.stat("/DCIM/a.jpg")
            assert (found.size, found.mtime) == (3, 6)
            assert sorted(await client.listdir(".")) == [".", "..", "a.jpg"]
            assert await client.realpath("../DCIM/./x") == "/DCIM/x"
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await client.truncate("a.jpg", 1)
            with pytest.raises(asyncssh.SFTPFailure, match="not empty"):
                await client.rmdir("/DCIM")
            await client.remove("a.jpg")
            await client.rmdir("/DCIM")
            for gone in (client.stat("/DCIM"), client.listdir("/DCIM"), client.remove("a.jpg")):
                with pytest.raises(asyncssh.SFTPNoSuchFile):
                    await gone
        assert len(await door.committed()) == 1  # what was sent was sent

    run(test)


def test_names_of_bytes_that_are_no_utf_8_are_kept_as_they_came() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            async with client.open(b"caf\xe9.jpg", "wb") as file:
                await file.write(b"x")
            assert b"caf\xe9.jpg" in await client.listdir(b".")
        ((name, _),) = await door.committed()
        assert name == FileName("", "café.jpg")

    run(test)


def test_a_temporary_name_waits_for_its_rename() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "a.jpg.filepart", BIG)
            assert door.node.outcomes() == []
            await client.posix_rename("a.jpg.filepart", "DCIM/a.jpg")
            ((name, content),) = await door.committed()
            assert (name, content) == (FileName("DCIM", "a.jpg"), BIG)
            assert (await client.stat("DCIM/a.jpg")).size == len(BIG)
            await client.rename("DCIM/a.jpg", "b.jpg")  # of what is on its way: shown, no more
        assert len(door.node.outcomes()) == 1

    run(test)


def test_a_temporary_name_that_nobody_renames_is_delivered_as_it_is() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "a.tmp")
        await door.until_told()
        async with door.client() as client:
            await put(client, "b.tmp")
            await door.until_told(2)
        assert [name.name for name, _ in await door.committed()] == ["a.tmp", "b.tmp"]

    run(test, rename_s=0.05)


@pytest.mark.reaches("SFTP_RENAME_S")
def test_a_held_file_is_whole_though_its_client_is_gone() -> None:
    async def test(door: Door) -> None:
        async with door.connected() as connection:
            client = await connection.start_sftp_client()
            await put(client, "a.part")
            connection.abort()
        (outcome,) = await door.until_told()
        assert outcome.state is OutcomeState.COMMITTED

    run(test)


def test_a_held_file_that_is_removed_is_cancelled() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "a.part")
            await client.remove("a.part")
            (outcome,) = await door.until_told()
            assert outcome.state is OutcomeState.CANCELLED

    run(test)


def test_a_crash_leaves_a_held_file_whole() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "a.part")
            (upload,) = [one async for one in door.node.sink.uploads()]
            record = (await door.node.sink.record(upload)).value
        assert (record.length, record.dialect) == (3, "sftp-held")

    run(test)


@pytest.mark.reaches("SFTP_HANDLES_MAX")
def test_no_session_opens_more_than_it_may() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            files = [await client.open(f"{one}", "wb") for one in range(SFTP_HANDLES_MAX)]
            with pytest.raises(asyncssh.SFTPFailure, match="close a file first"):
                await client.open("one more", "wb")
            await files[0].close()
            await put(client, "one more")
            for file in files[1:]:
                await file.close()
        assert len(await door.until_told(SFTP_HANDLES_MAX + 1)) == SFTP_HANDLES_MAX + 1

    run(test)


@pytest.mark.reaches("SFTP_PACKET_BYTES_MAX")
def test_a_request_that_is_too_long_ends_the_session() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert client.limits.max_write_len < SFTP_PACKET_BYTES_MAX
            file = await client.open("a", "wb", block_size=0)
            with pytest.raises((asyncssh.SFTPError, OSError)):
                await file.write(bytes(SFTP_PACKET_BYTES_MAX), 0)
        (outcome,) = await door.until_told()
        assert outcome.state is OutcomeState.FAILED

    run(test)


def test_a_sender_that_is_silent_loses_the_file_and_hears_why() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a", "wb")
            await file.write(b"abc")
            (outcome,) = await door.until_told()
            assert outcome.error is Code.TIMEOUT
            with pytest.raises(asyncssh.SFTPFailure, match="too long"):
                await file.write(b"d", 3)

    run(test, patience=Patience(idle_s=0.1))


def test_a_credential_that_is_revoked_meanwhile_ends_the_upload() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a", "wb")
            await file.write(b"abc")
            await revoke(door)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await file.close()
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await client.open("b", "wb")
        (outcome,) = await door.until_told()
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.UNAUTHENTICATED)

    run(test)


async def revoke(door: Door) -> None:
    customer = door.node.customer
    left: list[Entry] = [customer.account(), customer.workflow(), customer.destination()]
    await door.node.snapshots.keep(snapshot_of(customer.region, 2, 1_000, left))


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_tail_never_becomes_a_whole_file(mode: str) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            flags = asyncssh.FXF_WRITE if mode == "r+b" else mode
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="from its start"):
                await client.open("a.jpg", flags)
            await put(client, "a.jpg")
        assert len(await door.committed()) == 1

    run(test)


def held(door: Door, known_of: Record) -> bool:
    known = door.node.intake.tools.settling.open(known_of)
    return known.waits_until_ms(known_of.ending.ended_ms) > door.node.clock.now_ms()


def test_a_file_whose_session_ends_before_its_rename_is_not_delivered_under_that_name() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            await put(client, "A/x.jpg.part", BIG)
            await put(client, "y.part")
        for outcome in await door.until_told(2):
            assert outcome.state is OutcomeState.COMMITTED
            assert held(door, (await door.node.sink.record(outcome.upload_id)).value)
        async with door.client() as client:
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await client.rename("none.part", "none.jpg")
            await client.posix_rename("A/x.jpg.part", "A/x.jpg")
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await client.posix_rename("A/x.jpg.part", "A/z.jpg")
            door.node.clock.advance(int(FTP_RENAME_S * 1000) + 1)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await client.rename("y.part", "y.jpg")
        names = {name for name, _ in await door.committed()}
        assert names == {FileName("A", "x.jpg"), FileName("", "y.part")}

    run(test)


def test_a_name_that_comes_after_the_wait_is_taken_while_nobody_delivers_it() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            for name in ("a", "b"):
                await put(client, f"{name}.tmp")
            await door.until_told(2)
            await client.rename("a.tmp", "a.jpg")
            door.node.clock.advance(int(FTP_RENAME_S * 1000) + 1)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await client.rename("b.tmp", "b.jpg")
        assert {name.name for name, _ in await door.committed()} == {"a.jpg", "b.tmp"}

    run(test, rename_s=0.05)


def test_a_file_that_is_open_is_not_renamed() -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            file = await client.open("a.part", "wb")
            with pytest.raises(asyncssh.SFTPFailure, match="close the file"):
                await client.rename("a.part", "a.jpg")
            await file.close()
            await client.rename("a.part", "a.jpg")
        assert [name.name for name, _ in await door.committed()] == ["a.jpg"]

    run(test)


def test_an_open_that_gets_no_handle_leaves_nothing_open() -> None:
    async def test(door: Door) -> None:
        async with door.connected() as connection:
            client = await connection.start_sftp_client()
            for _ in range(SFTP_HANDLES_MAX):
                await client._handler.opendir(b"/")
            with pytest.raises(asyncssh.SFTPFailure, match="close a file first"):
                await client.open("a", "wb")
            assert not door.node.intake.in_flight
        assert door.node.outcomes() == []

    run(test)


def test_a_file_that_failed_does_not_hold_up_who_leaves() -> None:
    async def test(door: Door) -> None:
        async with door.connected() as connection:
            client = await connection.start_sftp_client()
            file = await client.open("a", "wb")
            await file.write(b"abc")
            await door.until_told()
            await door.door.leave()
            await connection.wait_closed()

    run(test, patience=Patience(idle_s=0.1))
