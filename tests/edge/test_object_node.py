"""A region on an object store, as it runs: two nodes, one bucket, one delivery."""

import base64
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edge.record import State
from edge.record_codec import read_record
from edge.sinks.objects_records import NUMBER_BYTES
from edge.snapshot_file import open_snapshot_file
from tests.support.http_door import address_of
from tests.support.ingest_node import Answer, IngestNode, once
from tests.support.object_server import BUCKET, KEY_ID, SECRET, Fault, ObjectServer
from tests.support.programs import as_in_service
from tests.support.snapshots import Customer
from tests.support.waiting import until
from zentransfer.disk import RealDisk

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]

TUS: Final = ("-H", "Tus-Resumable: 1.0.0")
TYPE: Final = ("-H", "Content-Type: application/offset+octet-stream")
MIB: Final = 1 << 20


class Site:
    """Two nodes of fr on one bucket; the first one delivers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ObjectServer().start()
        self.delivered = folder / "delivered"
        self.customer = Customer(address=str(self.delivered))
        self.nodes = [self._node(number) for number in (1, 2)]
        self.delivering: list[subprocess.Popen[bytes]] = []

    def _node(self, number: int) -> IngestNode:
        folder = self.folder / f"node-{number}"
        folder.mkdir()
        self.delivered.mkdir(exist_ok=True)
        extra = (
            f'[sink]\nkind = "s3"\nendpoint = "{self.server.url}"\nbucket = "{BUCKET}"\n'
            f'prefix = "zt"\naccess_key_id = "{KEY_ID}"\nsecret_access_key = "{SECRET}"\n'
            f"[delivery]\nsweep_s = 0.5\nlease_s = 4\nrenew_s = 1\nretry_first_s = 0.3\n"
            f'retry_max_s = 1\nfolder_roots = ["{self.delivered}"]\n'
        )
        node = IngestNode(folder, self.customer, extra)
        text = node.settings.read_text().replace('"fr-1"', f'"fr-{number}"')
        node.settings.write_text(text)
        return node.prepare()

    def deliver(self) -> None:
        """Start the delivery process of the first node."""
        node = self.nodes[0]
        disk = RealDisk(node.data)
        snapshots = open_snapshot_file(disk, "snapshot/delivery-0", self.customer.region)
        once(snapshots.keep(self.customer.snapshot()))
        disk.close()
        with (node.folder / "delivery.log").open("ab") as log:
            self.delivering.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "edge", "delivery"),
                        *("--index", "0", "--settings", str(node.settings)),
                    ],
                    stdin=subprocess.DEVNULL,
                    env=as_in_service(),
                    stderr=log,
                )
            )

    def states(self) -> list[State]:
        found = [
            read_record(kept.data[NUMBER_BYTES:])[0].state
            for key, kept in list(self.server.objects.items())
            if "/records/" in key
        ]
        return sorted(found)

    def runs(self) -> list[bytes]:
        return [self.server.objects[key].data for key in self.server.keys("/runs/")]

    def until_gone(self, count: int) -> None:
        """Wait until *count* uploads are delivered and destroyed, and see what is left."""
        until(lambda: self.states() == [State.DESTROYED] * count, "all is destroyed", 60)
        until(lambda: not self.server.keys("/segments/"), "no content is left")
        until(lambda: all(len(run) == NUMBER_BYTES for run in self.runs()), "no run is left", 60)
        logs = self.folder.rglob("*.log")
        assert not any(word in path.read_text() for path in logs for word in (KEY_ID, "/records/"))

    def files(self) -> dict[str, bytes]:
        found = (path for path in self.delivered.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in found}

    def close(self) -> None:
        for node in self.nodes:
            node.stop()
        for process in self.delivering:
            process.kill()
            process.wait()
        self.server.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def create(node: IngestNode, length: int, name: str) -> str:
    told = base64.b64encode(name.encode()).decode()
    answer = node.curl(
        "/files/",
        *("-X", "POST", *TUS, "-H", f"Upload-Length: {length}"),
        *("-H", f"Upload-Metadata: filename {told}"),
    )
    assert answer.status == 201
    return address_of(answer.headers)


def patch(node: IngestNode, address: str, offset: int, body: Path, *options: str) -> Answer:
    told = ("-H", f"Upload-Offset: {offset}")
    return node.curl(address, "-X", "PATCH", *TUS, *TYPE, *told, "-T", str(body), *options)


def offset_of(node: IngestNode, address: str) -> int:
    return int(node.curl(address, "-I", *TUS).headers["upload-offset"])


def test_uploads_are_delivered_and_only_tombstones_stay(site: Site) -> None:
    one = site.nodes[0]
    one.start()
    site.deliver()
    small, large = random.Random(1).randbytes(5_000), random.Random(2).randbytes(30 * MIB)
    for name, content in (("small.jpg", small), ("large.jpg", large), ("empty.txt", b"")):
        assert one.put(name, content).status == 201
    path = site.folder / "body"
    path.write_bytes(large)
    address = create(one, len(large), "resumed.jpg")
    assert patch(one, address, 0, path).status == 204
    site.until_gone(4)
    assert site.files() == {
        "small.jpg": small,
        "large.jpg": large,
        "empty.txt": b"",
        "resumed.jpg": large,
    }


def test_an_upload_begins_at_one_node_and_goes_on_at_the_other(site: Site) -> None:
    one, two = site.nodes
    for node in site.nodes:
        node.start()
    content = random.Random(3).randbytes(12 * MIB)
    begun, rest = site.folder / "begun", site.folder / "rest"
    begun.write_bytes(content[: 4 * MIB])
    address = create(one, len(content), "two.jpg")
    assert patch(one, address, 0, begun).status == 204
    assert offset_of(two, address) == 4 * MIB
    rest.write_bytes(content[4 * MIB : 6 * MIB])
    assert patch(two, address, 4 * MIB, rest).headers["upload-offset"] == str(6 * MIB)
    rest.write_bytes(content[6 * MIB :])
    assert offset_of(one, address) == 6 * MIB
    assert patch(one, address, 6 * MIB, rest).status == 204
    site.deliver()
    site.until_gone(1)
    assert site.files() == {"two.jpg": content}


def test_a_node_that_is_killed_is_replaced_by_the_other(site: Site) -> None:
    one, two = site.nodes
    process = one.start()
    two.start()
    content = random.Random(4).randbytes(40 * MIB)
    body = site.folder / "body"
    body.write_bytes(content)
    address = create(one, len(content), "killed.jpg")
    command = one.command(
        address,
        *("-X", "PATCH", *TUS, *TYPE, "-H", "Upload-Offset: 0"),
        *("-T", str(body), "--limit-rate", "8m"),
    )
    curl = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(site.server.keys("/1-1/0")) >= 2, "objects are there")
    process.send_signal(signal.SIGKILL)
    process.wait()
    curl.wait()
    offset = offset_of(two, address)
    assert offset >= 8 * MIB
    rest = site.folder / "rest"
    rest.write_bytes(content[offset:])
    assert patch(two, address, offset, rest).status == 204
    site.deliver()
    site.until_gone(1)
    assert site.files() == {"killed.jpg": content}


def test_a_store_that_fails_takes_the_node_out_and_loses_nothing(site: Site) -> None:
    one = site.nodes[0]
    one.start()
    assert one.put("before.jpg", b"before").status == 201
    site.server.plan = lambda _, __: Fault.BEFORE
    assert one.put("during.jpg", b"during").status in (500, 503, 507)
    until(lambda: not one.is_ready(), "the node is out")
    assert "sink" in one.curl("/readyz").json["checks"]
    site.server.plan = lambda _, __: None
    until(one.is_ready, "the node is back", 40)
    assert one.put("after.jpg", b"after").status == 201
    site.deliver()
    until(lambda: site.files().keys() >= {"before.jpg", "after.jpg"}, "delivered", 60)
    assert "during.jpg" not in site.files()


def test_a_store_that_cannot_be_used_is_named_at_the_start(site: Site) -> None:
    one = site.nodes[0]
    text = one.settings.read_text()
    for wrong, says in (
        (text.replace(KEY_ID, "AKIASTRANGER"), "refuses the access key"),
        (text.replace(f'"{BUCKET}"', '"elsewhere"'), "the bucket is not there"),
    ):
        one.settings.write_text(wrong)
        process = one.start(wait=False)
        assert process.wait(40) != 0
        said = (one.folder / "ingest.log").read_text()
        assert says in said
        assert "STRANGER" not in said
    site.server.stop()
    one.settings.write_text(text)
    process = one.start(wait=False)
    assert process.wait(90) != 0
