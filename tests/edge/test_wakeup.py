import socket
from pathlib import Path

from edge.wakeup import SOCKET_FILE, Knocker
from zentransfer.ids import UploadID

UPLOAD = UploadID("up_" + "a" * 26)


def test_a_knock_says_which_upload_is_whole(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as delivery:
        delivery.bind(str(tmp_path / SOCKET_FILE))
        delivery.settimeout(5)
        knocker = Knocker(tmp_path)
        knocker.wake(UPLOAD)
        assert delivery.recv(100) == UPLOAD.encode()
        assert knocker.lost == 0
        knocker.close()
        knocker.close()


def test_a_path_of_any_length_will_do(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["x" * 100] * 3)
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as delivery:
        knocker = Knocker(folder)
        delivery.bind(knocker._address)
        delivery.settimeout(5)
        knocker.wake(UPLOAD)
        assert delivery.recv(100) == UPLOAD.encode()
        knocker.close()


def test_a_knock_that_nobody_hears_is_lost_and_harmless(tmp_path: Path) -> None:
    knocker = Knocker(tmp_path)
    knocker.wake(UPLOAD)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as delivery:
        delivery.bind(str(tmp_path / SOCKET_FILE))
        for _ in range(100_000):
            knocker.wake(UPLOAD)
            if knocker.lost > 1:
                break
        assert knocker.lost == 2, "a full queue is no reason to wait"
    knocker.wake(UPLOAD)
    assert knocker.lost == 3
    knocker.close()
