"""Several ingest processes of one node: each behind a socket that it inherited, on one disk."""

import base64
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection, create_server, socket

import pytest

from edge.outbox import open_outbox
from edge.sinks.directory import DirectorySink
from tests.support.ingest_node import IngestNode, once
from tests.support.inheriting import inheriting
from tests.support.waiting import until
from tests.support.writing import read_whole
from zentransfer.disk import RealDisk
from zentransfer.ids import EpochID, UploadID

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

TUS = ("-H", "Tus-Resumable: 1.0.0")
TYPE = ("-H", "Content-Type: application/offset+octet-stream")
MIB = 1 << 20


class Workers(IngestNode):
    """A node whose processes can be asked one by one: each has an HTTP door of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.settings.write_text("workers = 2\n" + self.settings.read_text())
        self.doors: list[socket] = []

    def worker(self, index: int) -> subprocess.Popen[bytes]:
        """Start worker *index* and return when it is ready."""
        while len(self.doors) <= index:
            self.doors.append(create_server(("127.0.0.1", 0)))
        with (self.folder / "ingest.log").open("ab") as log:
            process = inheriting(
                [
                    *(sys.executable, "-m", "edge", "ingest"),
                    *("--index", str(index), "--settings", str(self.settings)),
                ],
                self.doors[index],
                stderr=log,
                LISTEN_FDS="1",
                LISTEN_FDNAMES="http",
            )
        self.running.append(process)
        self.asks(index)
        until(lambda: self.is_ready() or process.poll() is not None, f"worker {index} is ready")
        assert process.poll() is None, (self.folder / "ingest.log").read_text()
        return process

    def asks(self, index: int) -> None:
        """Send everything to worker *index* from now on."""
        self.http = self.doors[index].getsockname()[1]

    def stop(self) -> None:
        super().stop()
        for door in self.doors:
            door.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Workers]:
    node = Workers(tmp_path)
    node.prepare()
    yield node
    node.stop()


def created(node: Workers, length: int) -> str:
    """Begin an upload, and return the path of its address."""
    name = base64.b64encode(b"DSC_0001.JPG").decode()
    told = ("-H", f"Upload-Length: {length}", "-H", f"Upload-Metadata: filename {name}")
    answer = node.curl("/files/", "-X", "POST", *TUS, *told)
    assert answer.status == 201, answer.body
    return "/files/" + answer.headers["location"].rpartition("/")[2]


def offset_of(node: Workers, path: str) -> int:
    answer = node.curl(path, "-I", *TUS)
    assert answer.status == 200
    return int(answer.headers["upload-offset"])


def patched(node: Workers, path: str, offset: int, content: bytes) -> tuple[int, str | None]:
    """Send *content*, and return the status and the upload's id if it is whole."""
    body = node.folder / "part"
    body.write_bytes(content)
    answer = node.curl(
        path, "-X", "PATCH", *TUS, *TYPE, "-H", f"Upload-Offset: {offset}",
        "--data-binary", f"@{body}",
    )  # fmt: skip
    return answer.status, answer.headers.get("zt-upload-id")


def content_of(node: Workers, upload: str) -> bytes:
    async def read() -> bytes:
        sink = DirectorySink(node.data / "sink", node.public_keys(), os.urandom)
        try:
            return await read_whole(sink, UploadID(upload), node.key_files())
        finally:
            sink.close()

    return once(read())


def facts_in(node: Workers, process: str) -> int:
    """Return how many different facts the outbox of *process* holds; 0 if it is not there."""

    async def count() -> int:
        disk = RealDisk(node.data)
        outbox = await open_outbox(disk, f"outbox/{process}", lambda: EpochID("ep_x"))
        facts = set(outbox.read(0, 100)[1])
        outbox.close()
        disk.close()
        return len(facts)

    return once(count()) if (node.data / "outbox" / process).exists() else 0


def test_an_upload_goes_on_at_another_worker_with_truthful_offsets(node: Workers) -> None:
    node.worker(0)
    node.worker(1)
    whole = random.Random(1).randbytes(3 * MIB + 5)
    path = created(node, len(whole))
    upload = None
    for turn, begin in enumerate(range(0, len(whole), MIB // 2)):
        node.asks(turn % 2)
        assert offset_of(node, path) == begin
        node.asks((turn // 2) % 2)
        part = whole[begin : begin + MIB // 2]
        status, upload = patched(node, path, begin, part)
        assert status == 204
    node.asks(0)
    assert offset_of(node, path) == len(whole)
    assert upload is not None
    assert content_of(node, upload) == whole


def test_a_head_at_another_worker_takes_over_from_a_silent_patch_within_a_second(
    node: Workers,
) -> None:
    node.worker(0)
    node.worker(1)
    whole = random.Random(2).randbytes(2 * MIB)
    node.asks(0)
    path = created(node, len(whole))
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {node.customer.token}"
        "\r\nTus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream"
        f"\r\nUpload-Offset: 0\r\nContent-Length: {len(whole)}\r\n\r\n"
    )
    with create_connection(("127.0.0.1", node.http)) as silent:
        silent.sendall(head.encode() + whole[:MIB])
        stored = node.data / "sink" / "uploads"
        until(
            lambda: sum(one.stat().st_size for one in stored.rglob("*.seg*")) > MIB // 2,
            "the silent request has sent",
        )
        node.asks(1)
        began = time.perf_counter()
        offset = offset_of(node, path)
        assert time.perf_counter() - began < 1.0 + 0.5  # curl's own start on a busy machine
        assert 0 <= offset <= MIB  # what nobody was told may be gone
        status, upload = patched(node, path, offset, whole[offset:])
        assert status == 204
        assert upload is not None
        silent.sendall(whole[MIB : MIB + 100])  # it wakes up, and changes nothing
    assert content_of(node, upload) == whole


def test_what_an_index_that_nobody_runs_any_more_left_is_adopted(node: Workers) -> None:
    first = node.worker(0)
    second = node.worker(1)
    assert node.put("x.jpg", b"from the second").status == 201
    node.asks(0)
    assert node.put("y.jpg", b"from the first").status == 201
    assert facts_in(node, "ingest-1") == 1
    unfinished = created(node, 100)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    node.running.remove(first)
    node.asks(1)
    until(lambda: bool(node.facts("outbox.adopted")), "the place is adopted", 60)
    assert facts_in(node, "ingest-0") == 0
    assert facts_in(node, "ingest-1") == 2
    assert not (node.data / "run" / "ingest-0.lock").exists()
    assert offset_of(node, unfinished) == 0
    node.worker(0)  # and it comes back as if it had never been
    assert node.put("z.jpg", b"again").status == 201
    assert second.poll() is None


def test_a_killed_worker_costs_no_connection(node: Workers) -> None:
    first = node.worker(0)
    first.kill()
    first.wait()
    node.running.remove(first)
    waiting = subprocess.Popen(node.command("/livez"), stdout=subprocess.PIPE)
    node.worker(0)
    assert b"200 OK" in waiting.communicate(timeout=60)[0]


def test_a_process_that_never_ran_before_serves_without_control(node: Workers) -> None:
    node.worker(0)
    node.doors += [create_server(("127.0.0.1", 0)), create_server(("127.0.0.1", 0))]
    node.worker(2)  # nobody made a snapshot for it
    assert node.put("x.jpg", b"taken").status == 201
