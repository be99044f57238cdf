"""The delivery process as it is: real processes, a real disk, kill -9 and strace."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from edge.facts import DeliveryChange, DeliveryState
from edge.spool import HEADER_BYTES, Header, frame
from edge.wakeup import Knocker
from tests.support.delivery_node import KID, DeliveryNode
from tests.support.delivery_site import destination_id
from tests.support.waiting import until
from zentransfer.errors import Code

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]

KILLS = 5  # of each kind; 40 in the long run


@pytest.fixture
def node(tmp_path: Path) -> Iterator[DeliveryNode]:
    node = DeliveryNode(tmp_path)
    yield node
    node.stop()


def end_traced(process: subprocess.Popen[bytes]) -> None:
    """End a process that runs under strace: the traced one first, else it would live on."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.kill()
    process.wait()


def test_what_is_whole_is_delivered_destroyed_and_told(node: DeliveryNode) -> None:
    random = Random(1)
    node.commit(random.randbytes(3_000_000), "IMG_1.JPG", "cup/final")
    node.commit(b"", "empty.txt")
    process = node.start()
    node.until_quiet()
    node.leave(process)
    node.check()
    assert node.said("delivery.fault") == node.said("process.leave_failed") == []


def test_a_knock_is_heard_long_before_the_sweep(tmp_path: Path) -> None:
    node = DeliveryNode(tmp_path, sweep_s=60)
    try:
        process = node.start()
        until(lambda: node.said("process.ready") != [], "ready")
        time.sleep(0.5)  # its look at the start is over
        whole = node.commit(b"content", "a.txt")
        knocker = Knocker(node.data / "run")
        knocker.wake(whole.upload)
        knocker.close()
        node.until_quiet(within_s=20)
        node.leave(process)
        node.check()
    finally:
        node.stop()


def test_two_processes_race_and_each_object_is_there_once(tmp_path: Path) -> None:
    node = DeliveryNode(tmp_path, destinations=2)
    try:
        for number in range(15):
            node.commit(os.urandom(200_000), f"IMG_{number}.JPG")
        processes = [node.start(0), node.start(1)]
        node.until_quiet(within_s=90)
        for index, process in enumerate(processes):
            node.leave(process, index)
        node.check()
        did = [len(node.said("delivery.done", index)) for index in (0, 1)]
        assert sum(did) == 30
    finally:
        node.stop()


def test_a_second_process_of_one_name_does_not_start(node: DeliveryNode) -> None:
    first = node.start()
    until(lambda: node.said("process.ready") != [], "ready")
    assert node.start().wait(60) == 75
    assert first.poll() is None
    assert "delivery-0" in (node.folder / "delivery-0.log").read_text()


@pytest.mark.timeout(400)
def test_kill_9_at_any_system_call_costs_time_and_nothing_else(tmp_path: Path) -> None:
    killed_at_system_calls(tmp_path, range(1, 2 * KILLS, 2))


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_kill_9_at_each_system_call_costs_no_more(tmp_path: Path) -> None:
    killed_at_system_calls(tmp_path, range(1, 41))


def killed_at_system_calls(tmp_path: Path, when: range) -> None:
    """Each process is killed inside one of its first durable steps; the next one goes on."""
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: apt-get install strace")
    node = DeliveryNode(tmp_path, destinations=2)
    calls = "fsync,fdatasync,rename,link,linkat,unlink,unlinkat,mkdir,mkdirat"
    random = Random(3)
    killed = 0
    try:
        for at in when:  # counted in each thread by itself
            node.commit(random.randbytes(300_000), f"IMG_{at}.JPG", "cup")
            process = node.start(
                0,
                *("strace", "-f", "-qq", "-o", "/dev/null"),
                *("-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={at}"),
            )
            until(
                lambda process=process: process.poll() is not None or node.is_quiet(),  # type: ignore[misc]
                "killed, or nothing left to do",
                30,
            )
            killed += process.poll() is not None
            end_traced(process)
        last = node.start()
        node.until_quiet(within_s=90)
        node.leave(last)
        node.check()
    finally:
        node.stop()
    assert killed > len(when) / 2


def test_kill_9_at_any_moment_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """Two processes, each killed again and again while both deliver."""
    node = DeliveryNode(tmp_path)
    random = Random(4)
    try:
        for number in range(12):
            node.commit(random.randbytes(2_000_000), f"IMG_{number}.JPG")
        living = {0: node.start(0), 1: node.start(1)}
        for _ in range(KILLS):
            time.sleep(random.uniform(0.3, 1.6))
            index = random.randrange(2)
            living[index].kill()
            living[index].wait()
            living[index] = node.start(index)
        node.until_quiet(within_s=90)
        for index, process in living.items():
            node.leave(process, index)
        node.check()
    finally:
        node.stop()


def test_a_key_file_is_read_only_after_an_audit_record_is_on_the_disk(node: DeliveryNode) -> None:
    trace = node.folder / "trace"
    node.commit(b"content", "a.txt")
    process = node.start(
        0,
        *("strace", "-f", "--seccomp-bpf", "-qq", "-y", "-o", str(trace)),
        *("-e", "trace=openat,fdatasync,fsync"),
    )
    node.until_quiet()
    end_traced(process)
    lines = trace.read_text().splitlines()
    private = [n for n, line in enumerate(lines) if f"private/content-{KID}.key" in line]
    audited = [
        n
        for n, line in enumerate(lines)
        if re.search(r"fdatasync\(\d+<[^>]*/audit/delivery-0/\d+\.out>\) += 0", line)
        or ("fdatasync resumed" in line and line.endswith("= 0"))
    ]
    assert private
    assert audited
    assert min(audited) < min(private)
    record = next(n for n, line in enumerate(lines) if "/audit/delivery-0/0" in line)
    assert record < min(private)


def test_nothing_plain_is_ever_on_our_side_while_it_is_delivered(node: DeliveryNode) -> None:
    """Watched while it runs: every file of ours, and every file that the process holds open."""
    canary = b"canary-of-plaintext-" + os.urandom(8).hex().encode()
    content = canary * 1_500_000  # 54 MB, so that there is something to watch
    node.commit(content, "big.raw")
    found: list[str] = []
    watched: list[int] = []
    over = threading.Event()

    def watch(pid: int) -> None:
        while not over.is_set():
            for held in _held_files(pid):
                inside = held.startswith((str(node.delivered), "/dev/", "/proc/"))
                if not inside and "(deleted)" in held and _has(Path(held.split(" (")[0]), canary):
                    found.append(held)
            ours = (path for path in node.data.rglob("*") if path.is_file())
            found.extend(str(path) for path in ours if _has(path, canary))
            watched.append(1)

    process = node.start()
    watcher = threading.Thread(target=watch, args=(process.pid,))
    watcher.start()
    try:
        node.until_quiet(within_s=90)
    finally:
        over.set()
        watcher.join()
    node.leave(process)
    assert found == []
    assert len(watched) > 2
    assert _has(node.delivered / "0" / "big.raw", canary), "the search finds what is there"
    node.check()


def _held_files(pid: int) -> list[str]:
    """Return the names of what the process holds open; what is closed meanwhile is passed over."""
    held: list[str] = []
    with suppress(FileNotFoundError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            held += [os.readlink(f"/proc/{pid}/fd/{name}")]
    return held


def _has(path: Path, needle: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return needle in file.read(4_000_000)
    except FileNotFoundError:
        return False


def test_a_missing_folder_parks_its_delivery_and_others_are_not_held_up(tmp_path: Path) -> None:
    node = DeliveryNode(tmp_path, destinations=2)
    try:
        missing = Path(node.addresses[destination_id(0)])
        missing.rmdir()
        whole = node.commit(b"content", "a.txt")
        process = node.start()
        until(lambda: node.said("delivery.parked") != [], "parked")
        assert node.said("delivery.parked")[0]["reason"] == Code.NOT_FOUND
        until(lambda: node.objects(destination_id(1)) != {}, "the other one has it")
        assert node.state(whole.upload) != "destroyed"
        node.leave(process)
        missing.mkdir()
        process = node.start()
        node.until_quiet()
        node.leave(process)
        node.check()
        (parked,) = [
            fact.body
            for fact in node.facts()
            if isinstance(fact.body, DeliveryChange) and fact.body.state is DeliveryState.PARKED
        ]
        assert parked.error is Code.NOT_FOUND
    finally:
        node.stop()


def test_a_signal_in_the_middle_gives_the_lease_back(tmp_path: Path) -> None:
    """A second signal does not wait; what was under way is taken up by the next process."""
    node = DeliveryNode(tmp_path)
    try:
        node.commit(os.urandom(60_000_000), "big.raw")
        process = node.start()
        until(lambda: list(node.delivered.rglob("*.part")) != [], "it is being written")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.wait(45)
        process = node.start()
        node.until_quiet(within_s=60)
        node.leave(process)
        node.check()
    finally:
        node.stop()


def test_without_its_keys_it_says_so_and_asks_to_be_tried_again(node: DeliveryNode) -> None:
    shutil.rmtree(node.data / "keys" / "root")
    assert node.start().wait(60) == 75
    assert "keys cannot be read" in (node.folder / "delivery-0.log").read_text()


def test_an_audit_log_that_was_changed_stops_the_next_start(node: DeliveryNode) -> None:
    node.commit(b"content", "a.txt")
    process = node.start()
    node.until_quiet()
    node.leave(process)
    (path,) = (node.data / "audit" / "delivery-0").iterdir()
    data = path.read_bytes()
    header = Header.unpack(memoryview(data))
    # Whole by its frame, and no line of a chain.
    path.write_bytes(data[:HEADER_BYTES] + frame(header, b"{}"))
    assert node.start().wait(60) == 78
    assert "audit log was changed" in (node.folder / "delivery-0.log").read_text()
