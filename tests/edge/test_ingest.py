"""The ingest process as it runs, and curl as its client."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from edge.facts import Outcome, OutcomeState, unpack_fact
from edge.ingest import DENIED
from edge.keys import PRIVATE_FOLDER
from edge.outbox import open_outbox
from edge.private_keys import ROOT_FOLDER
from edge.record import State, UploadRecord
from edge.sinks.directory import DirectorySink
from edge.snapshot import Knob
from edge.wakeup import SOCKET_FILE
from tests.support.ingest_node import IngestNode, once
from tests.support.waiting import until
from tests.support.writing import read_whole
from zentransfer.disk import RealDisk
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, UploadID

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

CANARY = b"a plaintext that must be nowhere on the disk "
SLOW = ("--limit-rate", "200k")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[IngestNode]:
    node = IngestNode(tmp_path)
    yield node
    node.stop()


def outcomes(node: IngestNode, process: str = "ingest-0") -> dict[UploadID, Outcome]:
    """Return what is durable in the outbox: each upload's one outcome."""

    async def read() -> list[bytes]:
        disk = RealDisk(node.data)
        outbox = await open_outbox(disk, f"outbox/{process}", lambda: EpochID("ep_x"))
        _, payloads = outbox.read(0, 100_000)
        outbox.close()
        disk.close()
        return payloads

    found: dict[UploadID, Outcome] = {}
    for payload in once(read()):
        body = unpack_fact(payload).body
        if not isinstance(body, Outcome):  # that what did not commit is gone is told too
            continue
        assert found.setdefault(body.upload_id, body) == body, "two outcomes of one upload"
    return found


def content(node: IngestNode, upload: str) -> bytes:
    """Return what delivery would read, by the private key."""

    async def read() -> bytes:
        sink = DirectorySink(node.data / "sink", node.public_keys(), os.urandom)
        try:
            return await read_whole(sink, UploadID(upload), node.key_files())
        finally:
            sink.close()

    return once(read())


def records(node: IngestNode) -> dict[UploadID, UploadRecord]:
    async def read() -> dict[UploadID, UploadRecord]:
        sink = DirectorySink(node.data / "sink", node.public_keys(), os.urandom)
        found: dict[UploadID, UploadRecord] = {}
        async for upload in sink.uploads():
            try:
                found[upload] = (await sink.record(upload)).value
            except Error:
                continue
        sink.close()
        return found

    return once(read())


def file_of(node: IngestNode, size: int, name: str = "sent") -> Path:
    path = node.folder / name
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def begin(node: IngestNode, path: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start curl in the background, and return when the process has seen the upload."""
    with (node.folder / "curl.out").open("wb") as out:
        command = node.command("/in/slow", "-T", str(path), *options)
        started = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
    node.running.append(started)
    until(lambda: in_flight(node) > 0, "the upload is under way")
    return started


def in_flight(node: IngestNode) -> int:
    command = ["curl", "-s", f"http://127.0.0.1:{node.metrics}/metrics"]
    text = subprocess.run(command, capture_output=True, check=False).stdout.decode()
    found = [line for line in text.splitlines() if line.startswith("zt_uploads_in_flight ")]
    return int(float(found[0].split()[1])) if found else 0


def test_files_come_in_sealed_and_whole(node: IngestNode) -> None:
    node.prepare().start()
    sizes = (0, 1, 10_000, 262_144, 5_000_000)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as delivery:
        folder = os.open(node.data / "run", os.O_PATH)
        delivery.bind(f"/proc/self/fd/{folder}/{SOCKET_FILE}")
        os.close(folder)
        delivery.settimeout(10)
        for size in sizes:
            path = file_of(node, size)
            answer = node.put("IMG%20%C3%A4.jpg", path)
            assert answer.status == 201
            assert answer.json == {
                "id": answer.headers["zt-upload-id"],
                "size": size,
                "region": "fr",
            }
            assert content(node, answer.json["id"]) == path.read_bytes()
            assert delivery.recv(100).decode() == answer.json["id"]
    found = outcomes(node).values()
    assert sorted(one.size_bytes for one in found) == sorted(sizes)
    assert {one.state for one in found} == {OutcomeState.COMMITTED}


def test_chunks_and_digests(node: IngestNode) -> None:
    node.prepare().start()
    path = file_of(node, 3_000_000)
    answer = node.put(
        "x", path, "-H", "Transfer-Encoding: chunked", "-H", "Want-Repr-Digest: sha-256=1"
    )
    assert answer.status == 201
    digest = hashlib.sha256(path.read_bytes()).digest()
    assert hashlib.sha256(content(node, answer.json["id"])).digest() == digest
    assert answer.headers["repr-digest"].startswith("sha-256=:")
    wrong = node.put("x", path, "-H", f"Repr-Digest: sha-256=:{'A' * 43}=:")
    assert (wrong.status, wrong.json["code"]) == (460, "checksum_mismatch")
    assert [one.state for one in outcomes(node).values()] == [
        OutcomeState.COMMITTED,
        OutcomeState.FAILED,
    ]


def test_nothing_readable_lies_on_the_disk_while_it_runs(node: IngestNode) -> None:
    node.prepare().start()
    path = node.folder / "sent"
    path.write_bytes(CANARY * 200_000)
    curl = begin(node, path, "--limit-rate", "4M")
    for _ in range(5):
        lying = [each for each in node.data.rglob("*") if each.is_file()]
        for each in lying:
            data = each.read_bytes()
            assert CANARY not in data, f"plaintext in {each.name}"
            assert b"slow" not in data, f"a file's name in {each.name}"
    curl.wait()
    assert b"slow" not in (node.folder / "ingest.log").read_bytes()
    assert node.customer.token.encode() not in (node.folder / "ingest.log").read_bytes()


WRONG = {
    "no token": "",
    "no token of ours": "hunter2",
    "a wrong secret": "zt_abcdefgh_k7f3q2m9c4d8w5x6y2z3",
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG)
def test_a_wrong_token_is_refused_before_the_body(node: IngestNode, token: str) -> None:
    node.prepare().start()
    path = file_of(node, 3_000_000)
    answer = node.curl("/in/x", "-T", str(path), token=token)
    assert answer.statuses == [401], "no 100 was said"
    assert answer.json["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert outcomes(node) == {}
    assert node.put("x", b"abc").status == 201, "others are unaffected"


def test_too_large_is_refused(node: IngestNode) -> None:
    customer = node.customer
    node.prepare(customer.snapshot(1, Knob("upload_bytes_max", 2_000_000))).start()
    path = file_of(node, 2_000_001)
    announced = node.put("x", path)
    assert (announced.statuses, announced.json["code"]) == ([413], "too_large")
    chunked = node.put("x", path, "-H", "Transfer-Encoding: chunked", "-H", "Expect:")
    assert (chunked.status, chunked.json["code"]) == (413, "too_large")
    path.write_bytes(path.read_bytes()[:-1])
    assert node.put("x", path).status == 201
    assert [one.error for one in outcomes(node).values()] == [Code.TOO_LARGE, None]


def test_a_full_disk_is_said_and_others_are_unaffected(node: IngestNode) -> None:
    node.prepare().start("prlimit", "--fsize=3000000")
    path = file_of(node, 8_000_000)
    full = node.put("x", path)
    assert (full.status, full.json["code"]) == (507, "insufficient_storage")
    assert node.put("y", b"abc").status == 201
    ends = [(one.state, one.error) for one in outcomes(node).values()]
    assert ends == [
        (OutcomeState.FAILED, Code.INSUFFICIENT_STORAGE),
        (OutcomeState.COMMITTED, None),
    ]


NAMES = {
    "spaces": ("a%20b%20.jpg", 201),
    "Unicode": ("%E5%86%99%E7%9C%9F%20%F0%9F%93%B7.jpg", 201),
    "folders": ("2026/11/a.jpg", 201),
    "255 bytes": ("n" * 251 + ".jpg", 201),
    "a device": ("CON", 201),
    "dots": ("..%2f..%2fetc%2fpasswd", 400),
    "plain dots": ("../../etc/passwd", 400),
    "NUL": ("a%00b.jpg", 400),
    "no UTF-8": ("a%ffb.jpg", 400),
    "a turned direction": ("a%E2%80%AEgpj.exe", 400),
}


def test_names_are_taken_or_refused(node: IngestNode) -> None:
    node.prepare().start()
    for name, status in NAMES.values():
        answer = node.put(name, b"abc")
        assert answer.status == status, name
        assert name.encode() not in answer.body or not name
    assert len(outcomes(node)) == sum(status == 201 for _, status in NAMES.values())


def test_a_client_that_is_killed_in_its_body_leaves_nothing_whole(node: IngestNode) -> None:
    node.prepare().start()
    curl = begin(node, file_of(node, 3_000_000), *SLOW)
    curl.kill()
    curl.wait()
    until(lambda: in_flight(node) == 0, "the upload is over")
    (outcome,) = outcomes(node).values()
    assert (outcome.state, outcome.error) == (OutcomeState.FAILED, Code.PEER_GONE)
    assert {one.state for one in records(node).values()} <= {State.DESTROYED}
    (line,) = node.facts("upload.aborted")
    assert line["reason"] == "peer_gone"


def test_a_slow_client_is_cut(tmp_path: Path) -> None:
    node = IngestNode(tmp_path, extra="body_idle_s = 0.5\nbody_window_s = 1.0")
    try:
        node.prepare().start()
        with socket.create_connection(("127.0.0.1", node.http)) as client:
            client.settimeout(20)
            head = f"Authorization: Bearer {node.customer.token}\r\nContent-Length: 99\r\n\r\nabc"
            client.sendall(b"PUT /in/x HTTP/1.1\r\nHost: x\r\n" + head.encode())
            assert client.recv(4_096).startswith(b"HTTP/1.1 408 ")
        assert [one.error for one in outcomes(node).values()] == [Code.TIMEOUT]
    finally:
        node.stop()


def test_many_at_once(node: IngestNode) -> None:
    node.prepare().start()
    count = 64
    paths = [file_of(node, 1_000 + 5_000 * number, f"sent-{number}") for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda path: node.curl(f"/in/{path.name}", "-T", str(path)), paths))
    assert [answer.status for answer in answers] == [201] * count
    for path, answer in zip(paths, answers, strict=True):
        assert answer.json["size"] == path.stat().st_size
        assert content(node, answer.json["id"]) == path.read_bytes()
    assert len(outcomes(node)) == count


def test_what_was_acknowledged_outlives_kill_9_and_what_was_cut_does_not(
    node: IngestNode,
) -> None:
    node.prepare()
    process = node.start()
    path = file_of(node, 1_000_000)
    first = node.put("x", path)
    assert first.status == 201
    cut = begin(node, file_of(node, 20_000_000, "cut"), "--limit-rate", "15M")
    until(
        lambda: any(one.state is State.RECEIVING for one in records(node).values()),
        "the cut one has a record",
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut.wait()
    node.start()
    until(lambda: len(node.facts("sweep.ended")) == 2, "the sweep is over")
    assert content(node, first.json["id"]) == path.read_bytes()
    second = node.put("x", path)
    assert second.status == 201
    found = outcomes(node)
    whole = {first.json["id"], second.json["id"]}
    assert {id_ for id_, one in found.items() if one.state is OutcomeState.COMMITTED} == whole
    (lost,) = [one for one in found.values() if one.state is OutcomeState.FAILED]
    assert (lost.error, lost.size_bytes > 0) == (Code.INTERNAL, True)
    assert records(node)[lost.upload_id].state is State.DESTROYED


def test_kill_9_right_after_each_reply_loses_nothing(node: IngestNode) -> None:
    node.prepare()
    sent: dict[str, bytes] = {}
    for number in range(3):
        process = node.start()
        for size in (100, 50_000):
            data = random.Random(number).randbytes(size + number)
            answer = node.put("x", data)
            assert answer.status == 201
            sent[answer.json["id"]] = data
        process.kill()
        process.wait()
    found = outcomes(node)
    assert found.keys() == sent.keys()
    assert all(one.state is OutcomeState.COMMITTED for one in found.values())
    assert all(content(node, upload) == data for upload, data in sent.items())


def test_a_drain_finishes_what_runs_and_refuses_what_comes(node: IngestNode) -> None:
    node.prepare()
    process = node.start()
    path = file_of(node, 3_000_000)
    running = begin(node, path, "--limit-rate", "500k")
    kept = HTTPConnection("127.0.0.1", node.http)
    kept.request("GET", "/livez")
    kept.getresponse().read()
    process.send_signal(signal.SIGTERM)
    ready = f"http://127.0.0.1:{node.metrics}/readyz"
    until(lambda: b'"leaves"' in subprocess.check_output(["curl", "-sS", ready]), "it leaves")
    assert node.curl("/readyz").status == 0, "no new connection is taken"
    token = {"Authorization": f"Bearer {node.customer.token}"}
    kept.request("PUT", "/in/y", b"abc", token)
    refused = kept.getresponse()
    assert (refused.status, json.load(refused)["code"]) == (503, "draining")
    assert 5 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["connection"] == "close"
    kept.close()
    assert process.wait(60) == 0
    assert running.wait(60) == 0
    assert b"201 Created" in (node.folder / "curl.out").read_bytes()
    (outcome,) = outcomes(node).values()
    assert outcome.size_bytes == path.stat().st_size
    assert content(node, outcome.upload_id) == path.read_bytes()


@pytest.mark.reaches("INTAKE_CUT_S")
def test_the_end_of_a_drain_tells_what_it_cuts(tmp_path: Path) -> None:
    node = IngestNode(tmp_path)
    node.settings.write_text("drain_deadline_s = 1\n" + node.settings.read_text())
    try:
        node.prepare()
        process = node.start()
        running = begin(node, file_of(node, 3_000_000), *SLOW)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        running.wait()
        assert [one.error for one in outcomes(node).values()] == [Code.DRAINING]
    finally:
        node.stop()


def test_a_second_signal_ends_at_once_and_the_next_start_settles_it(node: IngestNode) -> None:
    node.prepare()
    process = node.start()
    running = begin(node, file_of(node, 80_000_000), "--limit-rate", "10M")
    until(lambda: any(one.state is State.RECEIVING for one in records(node).values()), "a record")
    process.send_signal(signal.SIGTERM)
    ready = f"http://127.0.0.1:{node.metrics}/readyz"  # its door takes no new connection
    until(lambda: b'"draining"' in subprocess.check_output(["curl", "-sS", ready]), "not ready")
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    running.wait()
    node.start()
    until(lambda: len(node.facts("sweep.ended")) == 2, "the sweep is over")
    assert [one.error for one in outcomes(node).values()] == [Code.INTERNAL]


def test_without_a_snapshot_it_waits_for_control_and_refuses(node: IngestNode) -> None:
    node.prepare()
    for process in ("ingest-0", "ingest-1"):
        for name in ("current", "previous"):
            (node.data / "snapshot" / process / name).unlink(missing_ok=True)
    node.start(wait=False)
    until(lambda: node.curl("/livez").status == 200, "alive")
    ready = node.curl("/readyz")
    assert ready.status == 503
    assert ready.json["checks"]["snapshot"]["ok"] is False
    assert "waits for control" in ready.json["checks"]["snapshot"]["detail"]
    answer = node.put("x", b"abc")
    assert (answer.status, answer.json["code"]) == (503, "control_unreachable")
    assert "retry-after" in answer.headers


def test_a_pepper_that_comes_later_is_enough(node: IngestNode) -> None:
    node.prepare()
    pepper = (node.data / "keys" / "public" / "pepper").read_bytes()
    (node.data / "keys" / "public" / "pepper").unlink()
    node.start(wait=False)
    until(lambda: node.curl("/livez").status == 200, "alive")
    assert node.put("x", b"abc").status == 503
    (node.data / "keys" / "public" / "pepper").write_bytes(pepper)
    until(node.is_ready, "ready")
    assert node.put("x", b"abc").status == 201


def test_the_private_keys_are_out_of_reach_or_that_is_said(node: IngestNode) -> None:
    node.prepare().start()
    check = node.curl("/readyz").json["checks"]["landlock"]
    assert check["required"] is False
    said = node.facts("process.restricted") + node.facts("process.unrestricted")
    assert len(said) == 1
    assert check["ok"] is (said[0]["fact"] == "process.restricted")


def test_every_folder_of_private_keys_is_shut_off() -> None:
    assert set(DENIED) == {PRIVATE_FOLDER, ROOT_FOLDER}


def test_missing_keys_are_named_and_worth_another_try(node: IngestNode) -> None:
    process = node.start(wait=False)
    assert process.wait(60) == 75
    assert "public keys" in (node.folder / "ingest.log").read_text()


def test_a_place_has_one_process(node: IngestNode) -> None:
    node.prepare().start()
    text = node.settings.read_text()
    for port in (node.http, node.metrics):
        text = text.replace(f"port = {port}", "port = 0")
    node.settings.write_text(text)
    second = node.start(wait=False)
    assert second.wait(60) == 75
    assert "Another process runs as ingest-0" in (node.folder / "ingest.log").read_text()
    third = node.start(wait=False, index=1)
    until(lambda: len(node.facts("process.ready")) == 2, "another index has another place")
    assert third.poll() is None
    assert node.put("x", b"abc").status == 201


def test_its_counts_are_scraped(node: IngestNode) -> None:
    node.prepare().start()
    node.put("x", b"abc")
    node.curl("/in/x", "-T", str(node.folder / "body"), token="")
    command = ["curl", "-s", f"http://127.0.0.1:{node.metrics}/metrics"]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert 'zt_uploads_total{end="committed"} 1.0' in text
    assert 'zt_uploads_total{end="unauthenticated"} 1.0' in text
    assert "zt_upload_bytes_total 3.0" in text
    assert json.dumps("x") not in text
