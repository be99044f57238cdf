import asyncio
import errno
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from edge.link_snapshot import SnapshotReceiver
from edge.link_wire import Offer
from edge.snapshot import Entity, Knob, Snapshot, digest_of
from edge.snapshot_file import CURRENT, SnapshotFile, open_snapshot_file
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from zentransfer.errors import Code, Error
from zentransfer.ids import NodeID, Region
from zentransfer.limits import LINK_FETCH_S, LINK_SILENCE_S, SNAPSHOT_WIRE_BYTES_MAX
from zentransfer.memory_disk import MemoryDisk
from zentransfer.v1 import snapshot_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, FetchSnapshotResponse, SnapshotRef

NODE = NodeID("fr-1")
FOLDER = "snapshot/ingest-0"
KNOBS = [snapshot_pb2.Knob(name="a_s", value=1), snapshot_pb2.Knob(name="b_s", value=2)]


def serialised(version: int, knobs: int = 1, region: Region = Region.FR) -> bytes:
    return snapshot_pb2.Snapshot(
        version=version,
        region=f"REGION_{region.upper()}",
        knobs=KNOBS[:knobs],
    ).SerializeToString(deterministic=True)


def reference(version: int, data: bytes, **changes: Any) -> SnapshotRef:
    digest = types_pb2.Digest(value=hashlib.sha256(data).digest())
    given: dict[str, Any] = {"digest": digest, "size_bytes": len(data), "nonce": f"r{version}"}
    return SnapshotRef(version=version, **given | changes)


def delta(start: Snapshot, knobs: int, to: int, **changes: Any) -> snapshot_pb2.Delta:
    """Return what puts so many knobs into *start*, promised as control would."""
    content = dict(start.content)
    for knob in KNOBS[:knobs]:
        content[Entity.KNOB, knob.name] = Knob(knob.name, knob.value)
    given: dict[str, Any] = {
        "from_version": start.version,
        "digest": types_pb2.Digest(value=digest_of(content)),
    }
    return snapshot_pb2.Delta(
        to_version=to,
        nonce=f"d{to}",
        changes=[snapshot_pb2.Change(knob=knob) for knob in KNOBS[:knobs]],
        **given | changes,
    )


class Shelf:
    """A control that gives out what it has, in parts of so many bytes."""

    def __init__(self) -> None:
        self.data: dict[int, bytes] = {}
        self.part = 7
        self.spoil: Callable[[list[FetchSnapshotResponse]], object] = lambda _: None
        self.error: Error | None = None
        self.pause_s = 0.0  # before the first part
        self.part_pause_s = 0.0
        self.fetches = 0

    async def fetch(self, version: int) -> AsyncGenerator[FetchSnapshotResponse, None]:
        self.fetches += 1
        await asyncio.sleep(self.pause_s)
        if self.error is not None:
            raise self.error
        data = self.data[version]
        parts = [
            FetchSnapshotResponse(version=version, offset=at, part=data[at : at + self.part])
            for at in range(0, len(data), self.part)
        ]
        self.spoil(parts)
        for part in parts:
            await asyncio.sleep(self.part_pause_s)
            yield part


class Bench:
    """A receiver on a disk in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk(Random(1))
        self.shelf = Shelf()
        self.start()

    def start(self) -> None:
        """Start the process, with what its disk has."""
        self.file: SnapshotFile = open_snapshot_file(self.disk, FOLDER, Region.FR)
        self.heard: list[int] = []
        self.receiver = SnapshotReceiver(
            self.file, self.shelf.fetch, NODE, lambda: self.heard.append(self.current.version)
        )

    @property
    def current(self) -> Snapshot:
        assert self.file.current is not None
        return self.file.current

    async def whole(self, version: int, knobs: int = 1, **changes: Any) -> ConnectRequest:
        """Offer a whole snapshot and return the answer."""
        data = self.shelf.data[version] = serialised(version, knobs)
        return await self.receiver.take(reference(version, data, **changes))


def run(main: Callable[[Bench], Awaitable[None]]) -> None:
    async def life() -> None:
        await main(Bench())

    simulate(life())


def acked(answer: ConnectRequest) -> tuple[int, str]:
    assert answer.HasField("ack"), answer
    return answer.ack.version, answer.ack.nonce


def nacked(answer: ConnectRequest) -> tuple[str, str, int]:
    assert answer.HasField("nack"), answer
    return answer.nack.nonce, answer.nack.reason, answer.nack.serving_version


def test_a_whole_snapshot_is_fetched_kept_and_acked() -> None:
    async def main(bench: Bench) -> None:
        assert (bench.receiver.version, bench.receiver.digest) == (0, b"")
        assert acked(await bench.whole(5)) == (5, "r5")
        assert bench.receiver.version == 5
        assert bench.receiver.digest == bench.current.digest
        assert bench.heard == [5]  # whose node can serve from now on
        bench.start()
        assert (bench.current.version, bench.current.knob("a_s", 0)) == (5, 1)

    run(main)


def test_a_delta_is_applied_kept_and_acked() -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        answer = await bench.receiver.take(delta(bench.current, 2, 8))
        assert acked(answer) == (8, "d8")
        assert bench.current.knob("b_s", 0) == 2
        bench.start()
        assert bench.current.version == 8

    run(main)


def test_the_same_again_is_acked_and_changes_nothing() -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        change = delta(bench.current, 2, 6)
        await bench.receiver.take(change)
        held = bench.current
        assert acked(await bench.receiver.take(change)) == (6, "d6")
        assert bench.current is held

    run(main)


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (lambda now: delta(now, 1, 9, from_version=3), Code.VERSION_MISMATCH),
        (lambda now: delta(now, 1, 9, digest=types_pb2.Digest(value=bytes(32))), Code.DAMAGED),
        (lambda now: delta(now, 1, 9, digest=None), Code.DAMAGED),
        (lambda _: reference(4, b""), Code.VERSION_MISMATCH),
        (
            lambda _: reference(9, b"", size_bytes=SNAPSHOT_WIRE_BYTES_MAX + 1),
            Code.TOO_LARGE,
        ),
    ],
    ids=["another version's", "another content", "no digest", "an older one", "a huge one"],
)
@pytest.mark.reaches("SNAPSHOT_WIRE_BYTES_MAX")
def test_what_does_not_fit_is_refused_and_the_last_good_one_serves(
    offer: Callable[[Snapshot], Offer], reason: Code
) -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        offered = offer(bench.current)
        assert nacked(await bench.receiver.take(offered)) == (offered.nonce, reason, 5)
        assert bench.current.version == 5
        assert bench.shelf.fetches == 1
        bench.start()
        assert bench.current.version == 5

    run(main)


def test_a_delta_before_any_snapshot_is_refused() -> None:
    async def main(bench: Bench) -> None:
        empty = replace(Customer().snapshot(0), content={})
        assert nacked(await bench.receiver.take(delta(empty, 1, 1))) == (
            "d1",
            Code.VERSION_MISMATCH,
            0,
        )

    run(main)


def flip(parts: list[FetchSnapshotResponse]) -> None:
    parts[0].part = bytes([parts[0].part[0] ^ 1]) + parts[0].part[1:]


def add(parts: list[FetchSnapshotResponse]) -> None:
    parts.append(FetchSnapshotResponse(version=6, offset=parts[-1].offset + 1, part=b"x" * 99))


def rename(parts: list[FetchSnapshotResponse]) -> None:
    parts[-1].version = 7


SPOILED: dict[str, Callable[[list[FetchSnapshotResponse]], object]] = {
    "a flipped bit": flip,
    "a part too many": add,
    "another version's part": rename,
    "another order": lambda parts: parts.reverse(),
    "a part twice": lambda parts: parts.insert(0, parts[0]),
    "the last part missing": lambda parts: parts.pop(),
    "nothing": lambda parts: parts.clear(),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_snapshot_that_came_damaged_is_refused(
    spoil: Callable[[list[FetchSnapshotResponse]], object],
) -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        bench.shelf.spoil = spoil
        assert nacked(await bench.whole(6, 2)) == ("r6", Code.DAMAGED, 5)
        bench.shelf.spoil = lambda _: None
        assert acked(await bench.whole(6, 2)) == (6, "r6")

    run(main)


def test_a_snapshot_of_another_region_or_version_is_refused() -> None:
    async def main(bench: Bench) -> None:
        for data in (serialised(6, region=Region.US), serialised(7)):
            bench.shelf.data[6] = data
            answer = await bench.receiver.take(reference(6, data))
            assert nacked(answer) == ("r6", Code.MISDIRECTED, 0)
        assert bench.file.current is None

    run(main)


@pytest.mark.reaches("LINK_FETCH_S", "LINK_SILENCE_S")
def test_a_fetch_that_hangs_or_never_ends_is_given_up() -> None:
    async def main(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.shelf.pause_s = LINK_SILENCE_S + 1
        assert nacked(await bench.whole(5)) == ("r5", Code.TIMEOUT, 0)
        assert loop.time() == LINK_SILENCE_S
        bench.shelf.pause_s, bench.shelf.part_pause_s = 0.0, LINK_SILENCE_S - 1
        bench.shelf.part = 1
        assert nacked(await bench.whole(5)) == ("r5", Code.TIMEOUT, 0)
        assert loop.time() == LINK_SILENCE_S + LINK_FETCH_S

    run(main)


def test_a_control_that_does_not_give_it_is_answered_with_its_own_reason() -> None:
    async def main(bench: Bench) -> None:
        bench.shelf.error = Error(Code.GONE, "there is another version by now")
        assert nacked(await bench.whole(5)) == ("r5", Code.GONE, 0)

    run(main)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(errno.ENOSPC, Code.INSUFFICIENT_STORAGE), (errno.EIO, Code.SINK_UNAVAILABLE)],
)
@pytest.mark.parametrize("step", range(1, 9))
def test_a_disk_that_fails_at_any_step_leaves_the_last_good_one(
    failure: int, reason: Code, step: int
) -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        bench.disk.fail_at(step, failure)
        answer = await bench.whole(6, 2)
        if answer.HasField("nack"):
            assert nacked(answer) == ("r6", reason, 5)
            assert bench.current.version == 5
        bench.disk = bench.disk.crash()
        bench.start()
        assert bench.current.version >= (6 if answer.HasField("ack") else 5)

    run(main)


def test_a_damaged_file_starts_from_the_one_before() -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        await bench.whole(6, 2)
        file = bench.disk.open(f"{FOLDER}/{CURRENT}", write=True)
        file.write_at(b"\0\0\0\0", 9)
        file.close()
        bench.start()
        assert bench.current.version == 5
        assert acked(await bench.whole(6, 2)) == (6, "r6")
        bench.start()
        assert bench.current.version == 6

    run(main)


def test_a_fault_of_our_own_is_a_reason_too() -> None:
    class Faulty(SnapshotFile):
        async def keep(self, snapshot: Snapshot) -> None:
            raise ZeroDivisionError(snapshot.version)

    async def main(bench: Bench) -> None:
        data = bench.shelf.data[5] = serialised(5)
        file = Faulty(bench.disk, FOLDER, Region.FR, None)
        receiver = SnapshotReceiver(file, bench.shelf.fetch, NODE)
        assert nacked(await receiver.take(reference(5, data))) == ("r5", Code.INTERNAL, 0)

    run(main)


# --- one offer after the other ---


def test_offers_are_answered_in_turn_and_one_not_begun_gives_way() -> None:
    async def main(bench: Bench) -> None:
        answers: list[ConnectRequest] = []
        bench.shelf.pause_s = 10
        for version in (5, 6, 7):
            bench.shelf.data[version] = serialised(version)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(bench.receiver.run(answers.append))
            await asyncio.sleep(0)
            bench.receiver.offered(reference(5, bench.shelf.data[5]))
            await asyncio.sleep(1)
            bench.receiver.offered(reference(6, bench.shelf.data[6]))
            bench.receiver.offered(reference(7, bench.shelf.data[7]))
            await asyncio.sleep(60)
            assert [acked(answer)[0] for answer in answers] == [5, 7]
            bench.receiver.offered(reference(7, bench.shelf.data[7]))
            bench.receiver.offered(None)
            await asyncio.sleep(60)
            assert len(answers) == 2
            task.cancel()

    run(main)


@pytest.mark.parametrize("after_s", [0.5, 10.0])
def test_a_cancelled_take_leaves_what_was(after_s: float) -> None:
    async def main(bench: Bench) -> None:
        await bench.whole(5)
        bench.shelf.pause_s = 1.0
        data = bench.shelf.data[6] = serialised(6)
        bench.disk.freeze()
        with suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await bench.receiver.take(reference(6, data))
        bench.disk.thaw()
        assert bench.current.version == 5
        bench.disk = bench.disk.crash()
        bench.start()
        assert bench.current.version == 5

    run(main)
