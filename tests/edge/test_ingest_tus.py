"""Resumable uploads at the ingest process as it runs: curl by hand, tuspy, and kill -9."""

import base64
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.facts import Outcome, OutcomeState, unpack_fact
from edge.outbox import open_outbox
from edge.sinks.directory import DirectorySink
from tests.support.http_door import address_of
from tests.support.ingest_node import Answer, IngestNode, once
from tests.support.waiting import until
from tests.support.writing import read_whole
from zentransfer.disk import RealDisk
from zentransfer.ids import EpochID, UploadID

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

TUS = ("-H", "Tus-Resumable: 1.0.0")
TYPE = ("-H", "Content-Type: application/offset+octet-stream")
MIB = 1 << 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[IngestNode]:
    """Return a node for a test that kills or stops it."""
    node = IngestNode(tmp_path)
    node.prepare().start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestNode]:
    """Return a node that lives on from test to test."""
    node = IngestNode(tmp_path_factory.mktemp("steady"))
    node.prepare().start()
    yield node
    node.stop()


def file_of(node: IngestNode, size: int) -> Path:
    path = node.folder / "sent.bin"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def create(node: IngestNode, length: int, *options: str) -> Answer:
    name = base64.b64encode("Ünter den Linden.jpg".encode()).decode()
    told = ("-H", f"Upload-Length: {length}", "-H", f"Upload-Metadata: filename {name}")
    return node.curl("/files/", "-X", "POST", *TUS, *told, *options)


def patching(address: str, offset: int, *options: str) -> tuple[str, ...]:
    return (address, "-X", "PATCH", *TUS, *TYPE, "-H", f"Upload-Offset: {offset}", *options)


def offset_of(node: IngestNode, address: str) -> int:
    answer = node.curl(address, "-I", *TUS)
    assert answer.status == 200
    return int(answer.headers["upload-offset"])


def rest_of(path: Path, offset: int) -> Path:
    rest = path.with_suffix(".rest")
    rest.write_bytes(path.read_bytes()[offset:])
    return rest


def outcomes(node: IngestNode) -> list[Outcome]:
    async def read() -> list[bytes]:
        disk = RealDisk(node.data)
        outbox = await open_outbox(disk, "outbox/ingest-0", lambda: EpochID("ep_x"))
        _, payloads = outbox.read(0, 100_000)
        outbox.close()
        disk.close()
        return payloads

    bodies = {unpack_fact(payload).body for payload in once(read())}
    return [body for body in bodies if isinstance(body, Outcome)]


def content(node: IngestNode, upload: str) -> bytes:
    async def read() -> bytes:
        sink = DirectorySink(node.data / "sink", node.public_keys(), os.urandom)
        try:
            return await read_whole(sink, UploadID(upload), node.key_files())
        finally:
            sink.close()

    return once(read())


def stored_bytes(node: IngestNode) -> int:
    found = (node.data / "sink" / "uploads").rglob("*.seg*")
    return sum(path.stat().st_size for path in found)


def kill(node: IngestNode, process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    node.running.remove(process)


def slowly(node: IngestNode, address: str, offset: int, body: Path) -> subprocess.Popen[bytes]:
    """Begin to send *body* by a slow curl; returns when some of it is on the disk."""
    before = stored_bytes(node)
    command = node.command(*patching(address, offset, "-T", str(body), "--limit-rate", "4m"))
    curl = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    node.running.append(curl)
    until(lambda: stored_bytes(node) > before + 9 * MIB, "bytes are on their way")
    return curl


def test_curl_by_hand(steady: IngestNode) -> None:
    path = file_of(steady, 3_000_000)
    created = create(steady, 3_000_000)
    address = address_of(created.headers)
    assert (created.status, offset_of(steady, address)) == (201, 0)
    first = path.with_suffix(".first")
    first.write_bytes(path.read_bytes()[:1_000_000])
    answer = steady.curl(*patching(address, 0, "-T", str(first)))
    assert (answer.status, answer.headers["upload-offset"]) == (204, "1000000")
    wrong = steady.curl(*patching(address, 0, "-T", str(first)))
    assert (wrong.status, wrong.json["code"]) == (409, "offset_mismatch")
    answer = steady.curl(*patching(address, 1_000_000, "-T", str(rest_of(path, 1_000_000))))
    assert (answer.status, answer.headers["upload-offset"]) == (204, "3000000")
    assert answer.headers["zt-upload-id"] == created.headers["zt-upload-id"]
    assert content(steady, answer.headers["zt-upload-id"]) == path.read_bytes()
    ended = [one for one in outcomes(steady) if one.upload_id == created.headers["zt-upload-id"]]
    assert [(one.state, one.size_bytes) for one in ended] == [(OutcomeState.COMMITTED, 3_000_000)]


def test_a_creation_with_all_of_it(steady: IngestNode) -> None:
    path = file_of(steady, 2_000_000)
    answer = create(steady, 2_000_000, *TYPE, "--data-binary", f"@{path}")
    assert (answer.status, answer.headers["upload-offset"]) == (201, "2000000")
    assert content(steady, answer.headers["zt-upload-id"]) == path.read_bytes()


def test_kill_9_in_the_middle_of_a_patch_and_on_at_a_truthful_offset(node: IngestNode) -> None:
    """Twice: what was told before the death is there after it, and the whole is what was sent."""
    path = file_of(node, 60 * MIB)
    created = create(node, 60 * MIB)
    address, told = address_of(created.headers), 0
    for _ in range(2):
        curl = slowly(node, address, told, rest_of(path, told))
        kill(node, node.running[0])
        curl.wait()
        node.running.clear()
        node.start()
        offset = offset_of(node, address)
        assert offset >= told, "an offset never goes back"
        assert offset >= told + 8 * MIB, "what was listed survives the process"
        told = offset
    answer = node.curl(*patching(address, told, "-T", str(rest_of(path, told))))
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(60 * MIB))
    assert content(node, answer.headers["zt-upload-id"]) == path.read_bytes()
    assert [one.state for one in outcomes(node)] == [OutcomeState.COMMITTED]


def test_a_cut_client_goes_on_where_it_was(steady: IngestNode) -> None:
    path = file_of(steady, 30 * MIB)
    address = address_of(create(steady, 30 * MIB).headers)
    curl = slowly(steady, address, 0, path)
    curl.kill()
    curl.wait()
    offset = offset_of(steady, address)
    assert offset >= 8 * MIB
    answer = steady.curl(*patching(address, offset, "-T", str(rest_of(path, offset))))
    assert answer.status == 204
    assert content(steady, answer.headers["zt-upload-id"]) == path.read_bytes()


def test_a_termination_leaves_nothing_to_open(steady: IngestNode) -> None:
    path, before = file_of(steady, 3_000_000), stored_bytes(steady)
    created = create(steady, 6_000_000)
    address = address_of(created.headers)
    assert steady.curl(*patching(address, 0, "-T", str(path))).status == 204
    assert stored_bytes(steady) >= before + 3_000_000
    assert steady.curl(address, "-X", "DELETE", *TUS).status == 204
    assert stored_bytes(steady) == before
    assert steady.curl(address, "-I", *TUS).status == 410
    ended = [one for one in outcomes(steady) if one.upload_id == created.headers["zt-upload-id"]]
    assert [one.state for one in ended] == [OutcomeState.CANCELLED]


def test_the_capability_is_nowhere_on_the_disk_nor_in_the_log(steady: IngestNode) -> None:
    path = file_of(steady, 3_000_000)
    address = address_of(create(steady, 6_000_000).headers)
    assert steady.curl(*patching(address, 0, "-T", str(path))).status == 204
    secret = address.removeprefix("/files/fr-")
    raw = base64.b32decode(secret.upper() + "======")
    for each in steady.folder.rglob("*"):
        if each.is_file() and each.name != "sent.bin":
            data = each.read_bytes()
            assert secret.encode() not in data
            assert raw not in data


# A program of its own: it leaves its files for the end of the process to close.
TUSPY = """
import sys
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage
url, token, path, urls, until = sys.argv[1:]
client = TusClient(url, headers={"Authorization": f"Bearer {token}"})
uploader = client.uploader(path, chunk_size=1 << 20, metadata={"filename": "a.bin"},
                           store_url=True, url_storage=FileStorage(urls))
print(uploader.offset)
uploader.upload(stop_at=int(until) or None)
print(uploader.offset)
"""


def tuspy(node: IngestNode, path: Path, until_byte: int = 0) -> list[int]:
    """Send *path* by tuspy, perhaps a part of it only; returns where it began and ended."""
    url, urls = node.url("/files/"), str(node.folder / "urls.json")
    arguments = (url, node.customer.token, str(path), urls, str(until_byte))
    done = subprocess.run(
        [sys.executable, "-c", TUSPY, *arguments], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return [int(line) for line in done.stdout.split()]


def test_tuspy(steady: IngestNode) -> None:
    path, before = file_of(steady, 5_000_000), {one.upload_id for one in outcomes(steady)}
    assert tuspy(steady, path) == [0, 5_000_000]
    (outcome,) = [one for one in outcomes(steady) if one.upload_id not in before]
    assert content(steady, outcome.upload_id) == path.read_bytes()


def test_tuspy_goes_on_after_kill_9(node: IngestNode) -> None:
    path = file_of(node, 6 * MIB)
    assert tuspy(node, path, 3 * MIB) == [0, 3 * MIB]
    kill(node, node.running[0])
    node.start()
    assert tuspy(node, path) == [3 * MIB, 6 * MIB], "what was told is durable"
    (outcome,) = outcomes(node)
    assert content(node, outcome.upload_id) == path.read_bytes()


def test_a_drain_loses_nothing(node: IngestNode) -> None:
    path = file_of(node, 60 * MIB)
    address = address_of(create(node, 60 * MIB).headers)
    curl = slowly(node, address, 0, path)
    node.running[0].send_signal(signal.SIGTERM)
    node.running[0].wait(timeout=60)
    curl.wait()
    node.running.clear()
    node.start()
    offset = offset_of(node, address)
    assert offset >= 9 * MIB
    answer = node.curl(*patching(address, offset, "-T", str(rest_of(path, offset))))
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(60 * MIB))
    assert [one.state for one in outcomes(node)] == [OutcomeState.COMMITTED]


def test_parts_outlive_kill_9_and_make_one_upload(node: IngestNode) -> None:
    data = random.Random(3).randbytes(3 * MIB)
    pieces = [data[: 2 * MIB], data[2 * MIB :]]
    addresses = [
        address_of(create(node, len(piece), "-H", "Upload-Concat: partial").headers)
        for piece in pieces
    ]
    path = node.folder / "sent.bin"
    for address, piece in zip(addresses, pieces, strict=True):
        path.write_bytes(piece[:MIB])
        assert node.curl(*patching(address, 0, "-T", str(path))).status == 204
    concat = f"Upload-Concat: final;{' '.join(addresses)}"
    final = node.curl("/files/", "-X", "POST", *TUS, "-H", concat)
    assert final.status == 201
    kill(node, node.running[0])
    node.start()
    assert offset_of(node, addresses[0]) == MIB
    assert offset_of(node, addresses[1]) == MIB, "whole, and no upload by itself"
    assert outcomes(node) == []
    path.write_bytes(pieces[0][MIB:])
    assert node.curl(*patching(addresses[0], MIB, "-T", str(path))).status == 204
    (outcome,) = outcomes(node)
    assert (outcome.state, outcome.size_bytes) == (OutcomeState.COMMITTED, len(data))
    assert outcome.upload_id == final.headers["zt-upload-id"]
    assert content(node, outcome.upload_id) == data
