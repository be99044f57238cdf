import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from ops.send.content import Content, Unreadable
from tests.support.real_loop import real_loop
from zentransfer.limits import SEND_READ_BYTES

SIZE = 2 * SEND_READ_BYTES + 100


def reading(path: Path, test: Callable[[Content], Awaitable[None]]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            content = Content(path, executor)
            try:
                await test(await content.open())
            finally:
                await content.close()

    real_loop(main())


def made(folder: Path, size: int = SIZE) -> Path:
    path = folder / "a"
    path.write_bytes(Random(1).randbytes(size))
    return path


@pytest.mark.reaches("SEND_READ_BYTES")
def test_a_file_is_read_in_bounded_pieces_and_hashed_once(tmp_path: Path) -> None:
    path = made(tmp_path)

    async def test(content: Content) -> None:
        assert content.size == SIZE
        data, offset = bytearray(), 0
        while offset < SIZE:
            block = await content.read(offset, SIZE)
            assert len(block) <= SEND_READ_BYTES
            data += block
            offset += len(block)
        assert data == path.read_bytes()
        assert await content.digest() == hashlib.sha256(data).hexdigest()

    reading(path, test)


@pytest.mark.parametrize("offsets", [[], [0, 0, 50, 10], [SIZE - 5], [SEND_READ_BYTES, 7, 0]])
def test_the_digest_is_of_the_whole_file_wherever_it_was_read(
    tmp_path: Path, offsets: list[int]
) -> None:
    path = made(tmp_path)

    async def test(content: Content) -> None:
        for offset in offsets:
            await content.read(offset, SIZE)
        assert await content.digest() == hashlib.sha256(path.read_bytes()).hexdigest()

    reading(path, test)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "change", [append, overwrite, lambda path: os.truncate(path, 5)], ids=["a", "o", "t"]
)
def test_a_change_is_noticed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = made(tmp_path)

    async def test(content: Content) -> None:
        await content.read(0, 10)
        change(path)
        with pytest.raises(Unreadable, match="changed while it was sent"):
            await content.read(10, 20)

    reading(path, test)


def test_a_file_that_is_replaced_or_removed_is_sent_as_it_was(tmp_path: Path) -> None:
    path = made(tmp_path)
    was = path.read_bytes()

    async def test(content: Content) -> None:
        path.unlink()
        assert bytes(await content.read(0, 10)) == was[:10]

    reading(path, test)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    async def test(_: Content) -> None:
        raise AssertionError("it is open")

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unreadable, match="no regular file"):
        reading(tmp_path / "pipe", test)
    with pytest.raises(Unreadable, match=r"cannot be read \(No such file"):
        reading(tmp_path / "none", test)


def test_a_reader_that_is_cancelled_leaves_the_file_whole(tmp_path: Path) -> None:
    path = made(tmp_path)

    async def test(content: Content) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await content.read(0, SIZE)
        task.uncancel()
        await content.close()
        with pytest.raises(Unreadable, match="not read any more"):
            await content.read(0, SIZE)

    reading(path, test)
