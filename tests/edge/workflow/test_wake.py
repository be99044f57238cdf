import asyncio
import socket
from pathlib import Path

import pytest

from edge.wakeup import SOCKET_FILE, Knocker
from edge.workflow.wake import Listener
from tests.support.real_loop import real_loop
from zentransfer.ids import UploadID
from zentransfer.limits import WAKES_PER_TURN

UPLOAD = UploadID("up_" + "a" * 26)


async def until(found: list[UploadID], count: int) -> None:
    async with asyncio.timeout(5):
        while len(found) < count:  # noqa: ASYNC110 - datagrams tell nobody when they are in
            await asyncio.sleep(0.001)


def test_a_knock_is_heard_also_in_a_folder_with_a_very_long_path(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path.joinpath(*["a very long name of a folder"] * 6)
        folder.mkdir(parents=True)
        found: list[UploadID] = []
        listener = Listener(folder, found.append)
        knocker = Knocker(folder)
        knocker.wake(UPLOAD)
        await until(found, 1)
        assert found == [UPLOAD]
        assert knocker.lost == 0
        assert (folder / SOCKET_FILE).stat().st_mode & 0o777 == 0o600
        knocker.close()
        listener.close()
        listener.close()

    real_loop(main())


def test_who_came_last_listens_and_a_dead_ones_name_is_no_obstacle(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = list[UploadID](), list[UploadID]()
        Listener(tmp_path, first.append).close()
        knocker = Knocker(tmp_path)
        knocker.wake(UPLOAD)
        assert knocker.lost == 1
        listener = Listener(tmp_path, second.append)
        knocker.wake(UPLOAD)
        await until(second, 1)
        assert (first, second) == ([], [UPLOAD])
        knocker.close()
        listener.close()

    real_loop(main())


@pytest.mark.parametrize("said", [b"", b"up_x", b"\xff" * 29, b"up_" + b"a" * 500, b"../../etc"])
def test_what_is_no_upload_is_no_knock(tmp_path: Path, said: bytes) -> None:
    async def main() -> None:
        found: list[UploadID] = []
        listener = Listener(tmp_path, found.append)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(said, str(tmp_path / SOCKET_FILE))
            sender.sendto(UPLOAD.encode(), str(tmp_path / SOCKET_FILE))
        await until(found, 1)
        assert found == [UPLOAD]
        listener.close()

    real_loop(main())


@pytest.mark.reaches("WAKES_PER_TURN")
def test_very_many_knocks_leave_turns_for_others(tmp_path: Path) -> None:
    async def main() -> None:
        found: list[UploadID] = []
        listener = Listener(tmp_path, found.append)
        knocker = Knocker(tmp_path)
        listener._loop.remove_reader(listener._socket)  # they wait in the kernel
        listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for _ in range(2 * WAKES_PER_TURN):
            knocker.wake(UPLOAD)
        listener._on_readable()
        assert 0 < len(found) <= WAKES_PER_TURN
        listener._loop.add_reader(listener._socket, listener._on_readable)
        knocker.close()
        listener.close()

    real_loop(main())
