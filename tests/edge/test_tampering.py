"""Whatever is changed in a stored upload, its reader refuses, with one word for why."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Final

import pytest
from crc32c import crc32c

from edge.record import ManifestPlace, State, UploadRecord
from edge.record_codec import pack_record
from edge.seal.broken import Reason
from edge.seal.header import HEADER_BLOCK_BYTES
from edge.seal.record import ACCEPTED, DATA_OVERHEAD_BYTES, crc_seed
from edge.sinks.base import Damaged, Fenced
from edge.sinks.memory import MemorySink
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.writing import fill, read_whole
from zentransfer.disk import read_all
from zentransfer.ids import AccountID, IdMaker, Kind, Region, UploadID
from zentransfer.memory_disk import MemoryDisk

BLOCKS: Final = 4  # of tamperings, so that workers share them
BLOCK: Final = 400  # tamperings
R: Final = 8_192
ACCEPT_BYTES: Final = DATA_OVERHEAD_BYTES + ACCEPTED.size


class Site:
    """Two committed uploads of one shape, their files in a dict, to be changed and read."""

    def __init__(self) -> None:
        self.keys = SeededKeys()
        self.random = Random(11)
        self.ids = IdMaker(self.random.randbytes)
        self.disk = MemoryDisk(self.random)
        self.sink = MemorySink(self.disk, self.keys.public, self.random)
        self.plain = dict[UploadID, bytes]()
        self.upload, self.twin = self._upload(), self._upload()
        self.counted = {path: self._counted(path) for path in self.files(self.upload)}
        self.whole = self.files(self.upload)

    def _upload(self) -> UploadID:
        return simulate(self._write())

    async def _write(self) -> UploadID:
        """Write three segments: a late writer's, a provisional one, and one with the manifest."""
        upload = UploadID(self.ids.make(Kind.UPLOAD))
        account = AccountID(self.ids.make(Kind.ACCOUNT))
        record = UploadRecord(upload, account, self.keys.region, created_ms=1)
        late = await (await self.sink.create(record)).writer()
        sent = self._fill(late, 9_000)
        await late.flush()
        claim = await self.sink.claim(upload)
        self._fill(late, 9_000)
        with pytest.raises(Fenced):
            await late.flush()
        writer = await claim.writer(provisional=True)
        sent += self._fill(writer, 5_000)
        writer.accept(writer.written)
        self._fill(writer, 100)
        await writer.flush()
        await writer.close()
        writer = await (await self.sink.claim(upload)).writer()
        for size in (300, 30_000):
            sent += self._fill(writer, size)
            await writer.flush()
        await writer.finish(None)
        self.plain[upload] = sent
        return upload

    def _fill(self, writer: object, size: int) -> bytes:
        data = self.random.randbytes(size)
        fill(writer, data)  # type: ignore[arg-type]  # a LogWriter in every call
        return data

    def _counted(self, path: str) -> int:
        """Return how many bytes of the segment at *path* count, its header included."""
        number = int(path.rpartition("/")[2].partition("-")[0])
        two_records = HEADER_BLOCK_BYTES + 2 * DATA_OVERHEAD_BYTES
        late, accepted = two_records + 9_000, two_records + 5_000 + ACCEPT_BYTES
        whole = len(read_all(self.disk, path, 1 << 20))
        return {1: late, 2: accepted, 3: whole}[number]

    def files(self, upload: UploadID) -> dict[str, bytes]:
        folder = f"uploads/{upload[3:5]}/{upload}"
        paths = [f"{folder}/{name}" for name in self.disk.names(folder) if name != "record"]
        return {path: read_all(self.disk, path, 1 << 20) for path in paths}

    def record(self, upload: UploadID) -> UploadRecord:
        return simulate(self.sink.record(upload)).value

    def put(self, path: str, data: bytes) -> None:
        """Let the file hold *data*; writes what differs, because a simulated sector is dear."""
        file = (
            self.disk.open(path, write=True) if self.disk.exists(path) else self.disk.create(path)
        )
        old = read_all(self.disk, path, 1 << 20)
        file.truncate(len(data))
        for at in range(0, len(data), 512):
            if data[at : at + 512] != old[at : at + 512]:
                file.write_at(data[at : at + 512], at)
        file.close()

    def put_record(self, record: UploadRecord) -> None:
        self.put(f"uploads/{record.upload[3:5]}/{record.upload}/record", pack_record(record, 99))

    def read(self) -> bytes:
        return simulate(read_whole(self.sink, self.upload, self.keys))

    def refusal(self) -> Reason:
        with pytest.raises(Damaged) as refused:
            self.read()
        return refused.value.reason

    def refusals(self, changes: Iterable[tuple[str, bytes]]) -> Counter[Reason]:
        """Put one changed file at a time, and return how often each refusal was met."""

        async def read() -> Counter[Reason]:
            met = Counter[Reason]()
            for path, data in changes:
                self.put(path, data)
                with pytest.raises(Damaged) as refused:
                    await read_whole(self.sink, self.upload, self.keys)
                met[refused.value.reason] += 1
                self.put(path, self.whole[path])
            return met

        try:
            return simulate(read())
        finally:
            self.restore()

    def restore(self) -> None:
        for path, data in self.whole.items():
            self.put(path, data)


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


def test_the_untouched_upload_is_read(site: Site) -> None:
    assert site.read() == site.plain[site.upload]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_flipped_byte_that_counts_is_refused(site: Site, block: int) -> None:
    random = Random(block)

    def flipped() -> tuple[str, bytes]:
        path, data = random.choice(sorted(site.whole.items()))
        changed = bytearray(data)
        changed[random.randrange(site.counted[path])] ^= random.randint(1, 255)
        return path, bytes(changed)

    met = site.refusals(flipped() for _ in range(BLOCK))
    assert met.total() == BLOCK
    assert set(met) >= {Reason.HEADER, Reason.RECORD}


def test_every_byte_of_the_manifest_counts(site: Site) -> None:
    path = next(path for path in site.whole if "/3-" in path)
    data, begin = site.whole[path], place(site.record(site.upload)).position

    def flipped(at: int) -> tuple[str, bytes]:
        return path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    met = site.refusals(flipped(at) for at in range(begin, len(data)))
    assert met == {Reason.NOT_WHOLE: len(data) - begin}


def test_bytes_behind_the_counted_end_are_ignored(site: Site) -> None:
    random = Random(2)
    for path, data in site.whole.items():
        end = site.counted[path]
        for behind in (b"", random.randbytes(5_000), data[end:] + random.randbytes(9)):
            site.put(path, data[:end] + behind)
            assert site.read() == site.plain[site.upload]
    site.restore()


def test_a_segment_cut_anywhere_is_refused(site: Site) -> None:
    random = Random(3)

    def shorter() -> tuple[str, bytes]:
        path, data = random.choice(sorted(site.whole.items()))
        return path, data[: random.randrange(site.counted[path])]

    met = site.refusals(shorter() for _ in range(300))
    assert set(met) == {Reason.CUT, Reason.NOT_WHOLE}


def test_malice_that_repairs_the_crc_is_refused_too(site: Site) -> None:
    """Whoever can write into the sink can compute a CRC; authentication is what stops them."""
    random, third = Random(4), site.record(site.upload).segments[2]
    path = next(path for path in site.whole if f"/{third.number}-" in path)
    data, seed = site.whole[path], crc_seed(third.header_hash)

    def forged() -> tuple[str, bytes]:
        record = bytearray(data[4_096:4_421])
        record[random.randrange(5, 321)] ^= random.randint(1, 255)
        record[-4:] = crc32c(record[:-4], seed).to_bytes(4)
        return path, data[:4_096] + record + data[4_421:]

    assert set(site.refusals(forged() for _ in range(300))) == {Reason.FORGED}


def test_records_in_another_order_are_refused(site: Site) -> None:
    path = max(site.whole, key=lambda path: len(site.whole[path]))
    data = site.whole[path]
    first, second = data[R : 2 * R], data[2 * R : 3 * R]
    swapped, doubled = second + first, first + first
    met = site.refusals((path, data[:R] + pair + data[3 * R :]) for pair in (swapped, doubled))
    assert met == {Reason.FORGED: 2}
    met = site.refusals([(path, data[:R] + data[2 * R :])])  # and one left out
    assert met == {Reason.NOT_WHOLE: 1}


def test_segments_of_one_upload_in_another_order_are_refused(site: Site) -> None:
    changes = [
        (one, site.whole[other]) for one in site.whole for other in site.whole if one != other
    ]
    assert site.refusals(changes) == {Reason.SEGMENT: 6}


def test_a_segment_of_another_upload_is_refused(site: Site) -> None:
    twins = site.files(site.twin)
    changes = [(path, twins[twin]) for path, twin in zip(site.whole, twins, strict=True)]
    assert site.refusals(changes) == {Reason.FOREIGN: 3}


def test_a_header_of_one_and_records_of_another_segment_are_refused(site: Site) -> None:
    twins = site.files(site.twin)
    changes = [
        (path, site.whole[path][:4_096] + twins[twin][4_096:])
        for path, twin in zip(site.whole, twins, strict=True)
    ]
    assert site.refusals(changes) == {Reason.RECORD: 2, Reason.NOT_WHOLE: 1}


def test_a_missing_segment_is_refused(site: Site) -> None:
    for path, data in site.whole.items():
        site.disk.unlink(path)
        assert site.refusal() is Reason.MISSING
        site.put(path, data)


RecordChange = Callable[[UploadRecord, UploadRecord], UploadRecord]


def place(record: UploadRecord) -> ManifestPlace:
    assert record.manifest is not None
    return record.manifest


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (lambda r, _: replace(r, state=State.RECEIVING), {Reason.NOT_WHOLE}),
        (lambda r, _: replace(r, manifest=None), {Reason.NOT_WHOLE}),
        (lambda r, _: replace(r, size=r.size - 1), {Reason.MANIFEST}),
        (lambda r, _: replace(r, segments=r.segments[:-1]), {Reason.NOT_WHOLE}),
        (lambda r, _: replace(r, segments=r.segments[1:]), {Reason.MANIFEST}),
        (lambda r, _: replace(r, segments=r.segments[::-1]), {Reason.NOT_WHOLE}),
        (lambda r, _: replace(r, account=AccountID("ac_other")), {Reason.FOREIGN}),
        (lambda r, t: replace(r, segments=t.segments, manifest=t.manifest), {Reason.SEGMENT}),
        (lambda r, _: replace(r, manifest=replace(place(r), digest=bytes(32))), {Reason.MANIFEST}),
        (lambda r, _: replace(r, manifest=replace(place(r), counter=0)), {Reason.MANIFEST}),
        (lambda r, _: replace(r, manifest=replace(place(r), position=4_096)), {Reason.NOT_WHOLE}),
        (
            lambda r, _: replace(
                r,
                segments=(replace(r.segments[0], start=1), *r.segments[1:]),
            ),
            {Reason.MANIFEST},
        ),
    ],
)
def test_a_record_that_lies_about_the_log_is_refused(
    site: Site, change: RecordChange, reasons: set[Reason]
) -> None:
    honest = site.record(site.upload)
    try:
        site.put_record(change(honest, site.record(site.twin)))
        assert site.refusal() in reasons
    finally:
        site.put_record(honest)


def test_a_log_of_another_region_is_refused(site: Site) -> None:
    us = replace(site.keys.public, region=Region.US)
    sink = MemorySink(site.disk, us, site.random)
    with pytest.raises(Damaged) as refused:
        simulate(read_whole(sink, site.upload, site.keys))
    assert refused.value.reason is Reason.FOREIGN


def test_a_log_that_a_strangers_ingest_sealed_is_refused(site: Site) -> None:
    """The public key is public: only the origin tag tells our ingest from anybody else."""
    stranger = SeededKeys()
    stranger.public = replace(stranger.public, origin=bytes(32))
    disk = MemoryDisk(Random(1))
    forged = MemorySink(disk, stranger.public, Random(1))
    upload = UploadID(site.ids.make(Kind.UPLOAD))

    async def forge() -> None:
        record = UploadRecord(upload, AccountID("ac_a"), Region.FR, created_ms=1)
        writer = await (await forged.create(record)).writer()
        fill(writer, b"forged")
        await writer.finish(None)

    simulate(forge())
    assert simulate(read_whole(forged, upload, stranger)) == b"forged"
    ours = MemorySink(disk, site.keys.public, Random(1))
    with pytest.raises(Damaged) as refused:
        simulate(read_whole(ours, upload, site.keys))
    assert refused.value.reason is Reason.ORIGIN


def test_another_private_key_opens_nothing(site: Site) -> None:
    for other in (SeededKeys(seed=5), SeededKeys(kid="fr-2026-12")):
        with pytest.raises(Damaged) as refused:
            simulate(read_whole(site.sink, site.upload, other))
        assert refused.value.reason is Reason.KEY


def test_each_segment_is_opened_once_with_its_own_header(site: Site) -> None:
    keys = SeededKeys()
    simulate(read_whole(site.sink, site.upload, keys))
    numbers = [header.place.number for header in keys.opened]
    assert sorted(numbers) == [1, 2, 3]


def test_nothing_is_yielded_that_was_not_authenticated(site: Site) -> None:
    path = min(path for path in site.whole if "/1-" in path)
    changed = bytearray(site.whole[path])
    changed[R + 100] ^= 1
    site.put(path, bytes(changed))
    got = bytearray()

    async def read() -> None:
        async for text in site.sink.reader(site.upload, site.keys):
            got.extend(text)

    with pytest.raises(Damaged):
        simulate(read())
    assert bytes(got) == site.plain[site.upload][: len(got)]
    assert len(got) == R - HEADER_BLOCK_BYTES - 25
    site.restore()
