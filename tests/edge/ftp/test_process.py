"""The FTP door in a real process: killed, started again, drained."""

import ftplib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from edge.snapshot import CredentialKind
from tests.support.ingest_node import IngestNode
from tests.support.ports import DATA, free_port
from tests.support.snapshots import Customer
from tests.support.waiting import until

pytestmark = pytest.mark.peer


@contextmanager
def node_in(folder: Path) -> Iterator[tuple[IngestNode, int]]:
    """Give a prepared node with an FTP door, and the door's port."""
    port = free_port()
    first = Random().choice(DATA[:-100])
    extra = f"[ftp]\nport = {port}\npassive_first = {first}\npassive_last = {first + 99}"
    node = IngestNode(folder, Customer(kind=CredentialKind.FTP), extra).prepare()
    try:
        yield node, port
    finally:
        node.stop()


@contextmanager
def signed_in(node: IngestNode, port: int) -> Iterator[ftplib.FTP]:
    ftp = ftplib.FTP(timeout=30)
    try:
        ftp.connect("127.0.0.1", port)
        ftp.login(node.customer.shown.name, node.customer.shown.secret)
        yield ftp
    finally:
        ftp.close()


def test_a_file_that_a_killed_process_was_taking_is_gone_on_with_exactly(tmp_path: Path) -> None:
    with node_in(tmp_path) as (node, port):
        process = node.start()
        with signed_in(node, port) as ftp:
            assert ftp.storbinary("STOR whole.bin", io.BytesIO(b"x" * 100_000)).startswith("226")
            with ftp.transfercmd("STOR cut.bin") as data:
                data.sendall(b"x" * 20_000_000)  # some of it is on the disk
                process.kill()
                process.wait()
        node.start()
        until(lambda: len(node.facts("sweep.ended")) == 2, "what was left is looked at")
        assert node.facts("upload.aborted") == []
        with signed_in(node, port) as ftp:
            held = ftp.size("cut.bin")
            assert held is not None
            assert 0 < held < 20_000_000, "what is durable, and no more"
            with pytest.raises(ftplib.error_perm, match="554"):
                ftp.storbinary("STOR cut.bin", io.BytesIO(b"x"), rest=held + 1)
            rest = io.BytesIO(b"x" * (20_000_000 - held))
            assert ftp.storbinary("STOR cut.bin", rest, rest=held).startswith("226")
            assert ftp.size("cut.bin") == 20_000_000


def test_a_drain_finishes_what_runs_and_sends_the_idle_away(tmp_path: Path) -> None:
    with node_in(tmp_path) as (node, port):
        process = node.start()
        with signed_in(node, port) as busy, signed_in(node, port) as idle:
            with busy.transfercmd("STOR last.bin") as data:
                data.sendall(b"y" * 1000)
                assert busy.sock is not None
                process.terminate()
                with pytest.raises(ftplib.error_temp, match="421 Service restarting"):
                    idle.getresp()
                data.sendall(b"z" * 1000)
            assert busy.getresp().startswith("226")
            with pytest.raises(ftplib.error_temp, match="421 Service restarting"):
                busy.getresp()
        assert process.wait(20) == 0
        assert node.facts("ftp.failed") == []
        assert node.facts("process.leave_failed") == []
