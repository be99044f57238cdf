"""Networks that break in the middle of an upload, and processes that sleep through its end.

Real ingest processes, and clients of raw bytes: what a reset, a silence, a dribble or a storm of
reconnects leaves is always a truthful offset, and in the end one outcome.
"""

import random
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median

import pytest

from edge.facts import OutcomeState
from tests.edge.test_workers import Workers
from tests.support.ingest_node import IngestNode
from tests.support.sending import WAIT_S, Sending, answer, size_of
from tests.support.waiting import until
from zentransfer.limits import BODY_RATE_MIN_BYTES_S

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

KIB, MIB = 1 << 10, 1 << 20
SOON_S = 1.0  # in which whoever comes back hears where it stands
RECONNECTS = 200
RATES = "body_idle_s = 4\nbody_window_s = 6\n"  # patience for a test's sake; the rate is the limit


def maybe_status(line: socket.socket) -> int | None:
    """Return the status that came on *line*; ``None`` if it was cut without one."""
    try:
        return answer(line)[0]
    except ConnectionError:
        return None


def must_have_failed(line: socket.socket) -> None:
    """Check that the request on *line* was refused or cut: it took no success away."""
    status = maybe_status(line)
    assert status is None or status >= 400


def has_heard(line: socket.socket, within_s: float) -> bool:
    """Say whether something came on *line* within so many seconds."""
    return bool(select.select([line], [], [], within_s)[0])


def reset(line: socket.socket) -> None:
    """Vanish with an RST."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Return a node of two processes; the first is asked."""
    node = Workers(tmp_path_factory.mktemp("storms"))
    node.prepare()
    node.worker(0)
    node.worker(1)
    yield node
    node.stop()


@pytest.fixture(autouse=True)
def _first(node: Workers) -> None:
    node.asks(0)


# -- connections that break -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [900 * KIB, 12 * MIB], ids=["in the loop", "in the lane"])
def test_a_reset_in_the_middle_of_a_patch_keeps_what_came(node: Workers, size: int) -> None:
    sending = Sending(node, some(size))
    line = sending.begun(0, size // 2)
    sending.until_stored(size // 4)
    reset(line)
    offset, _ = sending.looked()
    assert size // 4 - 8 * KIB <= offset <= size // 2, "what was on the disk is kept"
    assert sending.looked()[0] == offset
    assert sending.patched(offset) == size
    sending.must_be_whole()


@pytest.mark.parametrize("size", [900 * KIB, 12 * MIB], ids=["in the loop", "in the lane"])
def test_a_silent_connection_is_taken_over_at_once(node: Workers, size: int) -> None:
    """Half-open ones: they never send again, nor do they end."""
    sending, told, sent, waits_s = Sending(node, some(size)), 0, 0, list[float]()
    with ExitStack() as silent:
        while sent < size:
            sent = min(size, told + size // 6)
            line = silent.enter_context(sending.begun(told, min(sent, size - 1) - told))
            sending.until_stored((told + sent) // 2 if size > MIB else 0)
            offset, took_s = sending.looked()
            assert told <= offset <= sent
            waits_s.append(took_s)
            assert maybe_status(line) is None, "it was cut"
            told = sending.patched(offset, sent)
            assert told == sent
    assert median(waits_s) < SOON_S
    sending.must_be_whole()


def test_a_dribble_is_ended_by_the_lowest_rate_while_others_go_on(tmp_path: Path) -> None:
    patient = IngestNode(tmp_path, extra=RATES)
    patient.prepare().start()
    try:
        slow, silent, healthy = (Sending(patient, some(size)) for size in (40_000, 40_001, 3 * MIB))
        with slow.begun(0, 1) as dribble, silent.begun(0, 1) as quiet, healthy.begun(0, 1) as line:
            began_s, sent, taken = time.perf_counter(), 1, 1
            while not has_heard(dribble, 0.1):
                dribble.sendall(slow.content[sent : sent + 1])
                sent += 1
                part = healthy.content[taken : min(taken + 32 * KIB, 3 * MIB - 1)]
                line.sendall(part)
                taken += len(part)
            took_s = time.perf_counter() - began_s
            assert sent / took_s < BODY_RATE_MIN_BYTES_S
            assert took_s < WAIT_S
            assert answer(dribble)[0] == 408
            assert answer(quiet)[0] == 408
            line.sendall(healthy.content[taken:])
            assert answer(line)[0] == 204
        healthy.must_be_whole()
        offset, _ = slow.looked()
        assert sent - 2 <= offset <= sent, "what came is kept"  # the end may cross a byte or two
        assert slow.patched(offset) == 40_000
        slow.must_be_whole()
        assert silent.looked()[0] == 1
    finally:
        patient.stop()


def test_200_reconnects_lose_nothing_and_add_nothing(node: Workers) -> None:
    sending, chance = Sending(node, some(24 * MIB)), random.Random(200)
    told, advanced = 0, 0
    for turn in range(RECONNECTS):
        most = MIB if turn % 10 == 9 else 64 * KIB  # now and then one for the fast lane
        count = chance.randrange(1, min(most, (len(sending.content) - told) // 2))
        line = sending.begun(told, count, waits=chance.random() < 0.5)
        time.sleep(chance.choice((0, 0.001, 0.01)))  # an RST takes with it what was not read yet
        reset(line)
        offset, _ = sending.looked()
        assert told <= offset <= told + count
        told, advanced = offset, advanced + (offset > told)
    assert advanced > 1
    assert sending.patched(told) == len(sending.content)
    sending.must_be_whole()


# -- processes that sleep, and others that go on --------------------------------------------------


@contextmanager
def asleep(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop *process* until the end of the block."""
    process.send_signal(signal.SIGSTOP)
    try:
        state = Path(f"/proc/{process.pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it sleeps")
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("is_late", [True, False], ids=["after the end", "before the end"])
def test_a_process_that_wakes_up_late_adds_nothing(node: Workers, is_late: bool) -> None:
    sending, early = Sending(node, some(2 * MIB + 60 * KIB)), 2 * MIB
    size = len(sending.content)
    with sending.begun(0, early) as line:
        sending.until_stored(early - MIB)
        with asleep(node.running[0]):
            line.sendall(sending.content[early:])  # so it has all it needs when it wakes up
            node.asks(1)
            offset, _ = sending.looked()
            assert offset <= early
            if is_late:
                assert sending.patched(offset) == size
                sending.must_be_whole()
        must_have_failed(line)
    if not is_late:
        assert sending.looked()[0] == offset
        assert sending.patched(offset) == size
    for index in (0, 1):
        node.asks(index)
        assert sending.looked()[0] == size
    sending.must_be_whole()


@pytest.mark.parametrize("turn", range(5))
def test_a_process_may_fall_asleep_anywhere_in_its_work(node: Workers, turn: int) -> None:
    sending, chance = Sending(node, some(24 * MIB + turn)), random.Random(turn)
    size = len(sending.content)
    with sending.begun(0, 0) as line, ThreadPoolExecutor(1) as thread:
        pouring = thread.submit(pour, line, sending.content)
        time.sleep(chance.random() / 10)
        with asleep(node.running[0]):
            node.asks(1)
            status, headers = sending.asked("HEAD", {})
            if status == 200 and (offset := int(headers["upload-offset"])) < size:
                assert sending.patched(offset) == size
        pouring.result()
        if status == 200 and offset < size:
            must_have_failed(line)
    if status != 200:  # it fell asleep with the lock of the record, and others said so
        assert status == 503
        offset, _ = sending.looked()
        assert sending.patched(offset) == size
    assert sending.looked()[0] == size
    sending.must_be_whole()


def pour(line: socket.socket, content: bytes) -> None:
    """Send all of *content*, or as much as is taken."""
    with suppress(OSError):
        line.sendall(content)


def test_processes_take_an_upload_from_each_other_at_once(node: Workers) -> None:
    sending, told, waits_s = Sending(node, some(3 * MIB)), 0, list[float]()
    with ExitStack() as open_lines:
        lines = list[tuple[socket.socket, int]]()
        for turn in range(6):
            node.asks(turn % 2)
            before, count = {one.stem for one in sending.stored()}, 300 * KIB
            lines.append((open_lines.enter_context(sending.begun(told, count)), told + count))
            until(lambda: grows(sending, before), "the silent request has sent")  # noqa: B023
            node.asks(1 - turn % 2)
            offset, took_s = sending.looked()
            assert told <= offset <= told + count
            told = offset
            waits_s.append(took_s)
        assert sending.patched(told) == len(sending.content)
        for line, sent in lines:
            with suppress(OSError):
                line.sendall(sending.content[sent:])
            must_have_failed(line)
    assert median(waits_s) < SOON_S
    sending.must_be_whole()


def grows(sending: Sending, before: Collection[str]) -> bool:
    """Say whether a segment that was not there *before* has a record."""
    return any(size_of(one) > 200 * KIB for one in sending.stored() if one.stem not in before)


# -- an end in the middle -------------------------------------------------------------------------


@pytest.mark.parametrize("other", [0, 1], ids=["by its process", "by another process"])
@pytest.mark.parametrize("count", [10, 3 * MIB])
def test_a_termination_in_the_middle_of_a_patch_leaves_no_key(
    node: Workers, other: int, count: int
) -> None:
    sending = Sending(node, some(4 * MIB))
    with sending.begun(0, count) as line:
        sending.until_stored(count - MIB)
        node.asks(other)
        assert sending.asked("DELETE", {})[0] == 204
        with suppress(OSError):
            line.sendall(sending.content[count:])
        must_have_failed(line)
    assert sending.stored() == []
    for index in (0, 1):
        node.asks(index)
        assert sending.asked("HEAD", {})[0] == 410
    assert [one.state for one in sending.outcomes()] == [OutcomeState.CANCELLED]
    assert sending.stored() == []
