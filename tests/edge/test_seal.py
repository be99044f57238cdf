import hmac
import json
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import pytest
from crc32c import crc32c
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from edge.seal.broken import Broken, Reason
from edge.seal.header import HEADER_BLOCK_BYTES, Header, Place, is_record_size, read_header
from edge.seal.manifest import Manifest, Partial, SegmentPlace, read_manifest
from edge.seal.names import open_names, seal_names
from edge.seal.packing import Malformed, pack, unpack
from edge.seal.reader import SegmentReader
from edge.seal.record import (
    Assembler,
    RecordKeys,
    Walked,
    Walker,
    crc_seed,
    next_position,
)
from tests.support.seal_vectors import FOLDER, NAMES, VECTORS, make, placed
from tests.support.sim import simulate
from tests.support.writing import read_whole
from zentransfer.ids import UploadID
from zentransfer.limits import (
    MANIFEST_BYTES_MAX,
    NAMES_BYTES_MAX,
    PARTIALS_PER_UPLOAD_MAX,
    SEAL_RECORD_BYTES_MAX,
    SEAL_RECORD_BYTES_MIN,
    SEGMENTS_PER_UPLOAD_MAX,
)

RECORD = 8_192
DEK = bytes(range(32))
ORIGIN = bytes(range(32, 64))
PLACE = Place(
    "fr-2026-11", "ac_a", "up_a", "fr", 3, 1_000, 5, provisional=False, record_bytes=RECORD
)


def vector(name: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((FOLDER / f"v1-{name}.json").read_text())
    return stored


def is_ours(message: bytes, tag: bytes) -> bool:
    return hmac.digest(ORIGIN, message, sha256) == tag


def header_of(place: Place = PLACE) -> Header:
    return Header.of(place, b"sealed" * 10)


def block_of(header: Header) -> bytes:
    return header.block(hmac.digest(ORIGIN, header.hash, sha256))


# Vectors: what was sealed once is read for ever.


@pytest.mark.parametrize("name", VECTORS)
def test_what_was_sealed_once_is_read_for_ever(name: str) -> None:
    stored = vector(name)
    sink, keys = placed(stored)
    whole = UploadID(stored["whole"])
    assert simulate(read_whole(sink, whole, keys)) == b64decode(stored["plaintext"])
    record = simulate(sink.record(whole)).value
    key = bytes.fromhex(stored["metadata_key"])
    assert open_names(key, whole, record.names) == NAMES
    assert record.ending.workflow_version == 7
    assert record.size == len(b64decode(stored["plaintext"]))


@pytest.mark.parametrize("name", VECTORS)
def test_the_generator_still_makes_vectors_of_this_form(name: str) -> None:
    made, stored = make(name), vector(name)
    assert made.keys() == stored.keys()
    assert made["files"].keys() == stored["files"].keys()
    assert made["plaintext"] == stored["plaintext"]


def test_a_reader_written_from_the_description_alone_reads_a_vector() -> None:
    """Nothing of ours is used here: this is the format, a second time."""
    stored = vector("small")
    (path,) = (path for path in stored["files"] if path.endswith(".seg"))
    data = b64decode(stored["files"][path])
    assert data[:6] == b"ZTSEG\x01"
    length = int.from_bytes(data[6:10])
    core, tag = data[: 10 + length], data[10 + length : 42 + length]
    assert data[42 + length : 4096] == bytes(4096 - 42 - length)
    fields = msgpack.unpackb(core[10:])
    order = "suite kid account upload region number start fence provisional record_bytes dek"
    assert list(fields) == order.split()
    digest = sha256(core).digest()
    assert tag == hmac.digest(bytes.fromhex(stored["origin_key"]), digest, sha256)

    sealed_dek = fields.pop("dek")
    info = b"zentransfer sealed log, data key\x00ZTSEG\x01" + msgpack.packb(fields)
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(stored["private_key"]))
    dek = suite.decrypt(sealed_dek, private, info=info)
    material = HKDF(SHA256(), 39, digest, b"zentransfer sealed log, records").derive(dek)
    cipher, prefix = AESGCM(material[:32]), material[32:]

    size = int.from_bytes(data[4096:4100])
    end = 4096 + 5 + size + 16
    assert data[4100] == 1
    assert data[end : end + 4] == crc32c(data[4096:end], int.from_bytes(digest[:4])).to_bytes(4)
    text = cipher.decrypt(prefix + bytes(4) + b"\0", data[4101:end], b"\x01")
    assert text == b64decode(stored["plaintext"])

    at = end + 4
    size = int.from_bytes(data[at : at + 4])
    assert data[at + 4] == 3
    body = data[at + 5 : at + 5 + size + 16]
    counter = (1).to_bytes(4)
    manifest = msgpack.unpackb(cipher.decrypt(prefix + counter + b"\1", body, b"\x03"))
    assert manifest == {
        "total": len(text),
        "segments": [[1, 0, digest]],
        "digest": sha256(text).digest(),
        "expected": {},
        "partials": [],
    }
    named = sha256(b"zentransfer sealed log, manifest\x00" + digest + body).digest()
    message = b"zentransfer sealed log, manifest\x00" + named
    after = at + 5 + size + 16
    key = bytes.fromhex(stored["origin_key"])
    assert data[after : after + 32] == hmac.digest(key, message, sha256)
    assert len(data) == after + 32 + 4


# Headers.


def test_a_header_is_read_back_from_its_block() -> None:
    header = header_of()
    block = block_of(header)
    assert len(block) == HEADER_BLOCK_BYTES
    assert read_header(block, is_ours) == header


@given(at=st.integers(0, HEADER_BLOCK_BYTES - 1), flip=st.integers(1, 255))
def test_no_byte_of_a_header_block_can_change(at: int, flip: int) -> None:
    block = bytearray(block_of(header_of()))
    block[at] ^= flip
    with pytest.raises(Broken) as refused:
        read_header(bytes(block), is_ours)
    assert refused.value.reason in (Reason.HEADER, Reason.ORIGIN)


def test_a_header_of_a_strangers_ingest_is_refused() -> None:
    header = header_of()
    with pytest.raises(Broken) as refused:
        read_header(header.block(hmac.digest(b"other key", header.hash, sha256)), is_ours)
    assert refused.value.reason is Reason.ORIGIN


def test_every_field_of_a_place_is_bound_into_the_info() -> None:
    others = [
        Place(
            "fr-2026-12", "ac_a", "up_a", "fr", 3, 1_000, 5, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_b", "up_a", "fr", 3, 1_000, 5, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_b", "fr", 3, 1_000, 5, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_a", "us", 3, 1_000, 5, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_a", "fr", 4, 1_000, 5, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_a", "fr", 3, 1_001, 5, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_a", "fr", 3, 1_000, 6, provisional=False, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_a", "fr", 3, 1_000, 5, provisional=True, record_bytes=RECORD
        ),
        Place(
            "fr-2026-11", "ac_a", "up_a", "fr", 3, 1_000, 5, provisional=False, record_bytes=12_288
        ),
    ]
    infos = {place.info() for place in (PLACE, *others)}
    hashes = {header_of(place).hash for place in (PLACE, *others)}
    assert len(infos) == len(hashes) == 10


@pytest.mark.reaches("SEAL_RECORD_BYTES_MIN")
@pytest.mark.reaches("SEAL_RECORD_BYTES_MAX")
def test_a_record_size_outside_its_limits_is_refused() -> None:
    assert is_record_size(SEAL_RECORD_BYTES_MIN)
    assert is_record_size(SEAL_RECORD_BYTES_MAX)
    for size in (SEAL_RECORD_BYTES_MIN - 4_096, SEAL_RECORD_BYTES_MAX + 4_096, 10_000, 0):
        assert not is_record_size(size)
        place = Place("k", "a", "u", "fr", 1, 0, 1, provisional=False, record_bytes=size)
        with pytest.raises(Broken) as refused:
            read_header(block_of(header_of(place)), is_ours)
        assert refused.value.reason is Reason.HEADER


# Records.


class Log:
    """A segment's bytes as an assembler gives them out."""

    def __init__(self, place: Place = PLACE) -> None:
        self.header = header_of(place)
        self.keys = RecordKeys(DEK, self.header.hash)
        self.seed = crc_seed(self.header.hash)
        buffer = memoryview(bytearray(place.record_bytes))
        self.assembler = Assembler(self.keys, self.seed, place.start, block_of(self.header), buffer)
        self.file = bytearray()
        self.ends: list[int] = []  # offsets after each record
        self.plain = b""

    def append(self, data: bytes) -> None:
        self.plain += data
        rest = memoryview(data)
        while rest:
            room = self.assembler.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            if self.assembler.filled(count):
                self.seal()
            rest = rest[count:]

    def seal(self) -> None:
        self.assembler.seal()
        self.take()
        self.ends.append(self.assembler.walked.written)

    def accept(self) -> None:
        self.seal()
        self.assembler.accept(self.assembler.offset)
        self.take()

    def take(self) -> None:
        data, position = self.assembler.take()
        assert position == len(self.file)
        self.file += data

    def walk(self, data: bytes | bytearray, begin: Walked | None = None) -> Walked:
        walker = Walker(self.seed, RECORD, begin or Walked.begin(self.header.place.start))
        view, more = memoryview(data), True
        while more:
            position, count = walker.wants()
            more = walker.take(view[position : position + count])
        return walker.walked

    def read(self, data: bytes | bytearray, end: int) -> bytes:
        reader = SegmentReader(self.header, self.keys, self.seed, end)
        view, found = memoryview(bytearray(data)), b""
        while not reader.is_done:
            position, count = reader.wants()
            for text in reader.open(view[position : position + count]):
                found += text
        return found


lengths = st.lists(st.sampled_from([0, 1, 38, 39, 63, 64, 4_071, 8_167, 9_000]), max_size=8)


@given(lengths=lengths, provisional=st.booleans())
def test_any_run_of_records_is_walked_and_read_back(lengths: list[int], provisional: bool) -> None:
    place = Place("k", "a", "u", "fr", 1, 77, 1, provisional=provisional, record_bytes=RECORD)
    log = Log(place)
    for length in lengths:
        log.append(Random(length).randbytes(length))
        log.accept() if provisional and length else log.seal()
    walked = log.walk(log.file)
    assert walked == log.assembler.walked
    assert walked.written == 77 + sum(lengths)
    assert walked.accepted == (77 + sum(lengths) if provisional else 77)
    assert log.read(log.file, walked.written) == log.plain


def test_a_full_record_ends_on_a_multiple_of_the_record_size() -> None:
    log = Log()
    log.append(bytes(3 * RECORD))
    assert len(log.file) % RECORD == 0
    log.append(b"short")
    log.seal()
    log.append(bytes(RECORD))
    assert len(log.file) % RECORD == 0


def test_no_record_begins_where_none_fits() -> None:
    assert next_position(RECORD - 63, RECORD) == RECORD
    assert next_position(RECORD - 64, RECORD) == RECORD - 64
    assert next_position(RECORD, RECORD) == RECORD


def test_a_walk_from_the_last_record_finds_what_a_whole_walk_finds() -> None:
    log = Log()
    for length in (10, 9_000, 1, 0, 500):
        log.append(bytes(length))
        log.seal()
    whole = log.walk(log.file)
    last = Walked(whole.last_position, whole.last_written, 1_000, 0, 0)
    assert log.walk(log.file, last).position == whole.position


@given(cut=st.integers(HEADER_BLOCK_BYTES, 3 * RECORD))
def test_a_log_cut_anywhere_ends_with_its_last_whole_record(cut: int) -> None:
    log = Log()
    for length in (100, 9_000, 5, 4_000):
        log.append(bytes(length))
        log.seal()
    walked = log.walk(log.file[:cut])
    assert walked.written == max(end for end in [1_000, *log.ends] if end <= walked.written)
    assert walked.position <= max(cut, HEADER_BLOCK_BYTES) + 63
    left = walked.written - 1_000
    assert log.read(log.file[:cut], walked.written) == log.plain[:left]


def test_a_whole_record_behind_a_broken_one_goes_with_it() -> None:
    log = Log()
    for length in (100, 200, 300):
        log.append(bytes(length))
        log.seal()
    log.file[HEADER_BLOCK_BYTES + 125 + 50] ^= 1  # inside the second
    assert log.walk(log.file).written == 1_100


def test_a_record_of_another_segment_never_passes() -> None:
    log, other = (
        Log(),
        Log(Place("k", "a", "u", "fr", 1, 0, 1, provisional=False, record_bytes=RECORD)),
    )
    for each in (log, other):
        each.append(bytes(100))
        each.seal()
    foreign = other.file[HEADER_BLOCK_BYTES : HEADER_BLOCK_BYTES + 125]
    assert log.walk(log.file + foreign).written == 1_100
    assert other.walk(other.file).written == 100


def test_no_nonce_is_ever_used_twice_under_one_key() -> None:
    log = Log(Place("k", "a", "u", "fr", 1, 0, 1, provisional=True, record_bytes=RECORD))
    for _ in range(5):
        log.append(b"x")
        log.accept()
    log.assembler.seal_manifest(b"manifest")
    assert log.assembler.counter == 11
    nonces = {log.keys.nonce(counter) for counter in range(11)} | {log.keys.nonce(10, final=True)}
    assert len(nonces) == 12


def test_two_segments_share_neither_key_nor_prefix() -> None:
    first, second = RecordKeys(DEK, bytes(32)), RecordKeys(DEK, bytes(31) + b"\1")
    assert first.nonce(0) != second.nonce(0)
    assert first.cipher.encrypt(bytes(12), b"x", None) != second.cipher.encrypt(
        bytes(12), b"x", None
    )


# Manifests.

SEGMENTS = (SegmentPlace(1, 0, bytes(32)), SegmentPlace(2, 10, bytes(32)))


def test_a_manifest_is_read_back() -> None:
    manifest = Manifest(20, SEGMENTS, bytes(32), {"sha-256": bytes(32), "md5": b"x"})
    assert read_manifest(manifest.pack()) == manifest


@pytest.mark.parametrize(
    "wrong",
    [
        Manifest(20, ()),
        Manifest(20, SEGMENTS[1:]),
        Manifest(9, SEGMENTS),
        Manifest(20, SEGMENTS[::-1]),
        Manifest(20, (SEGMENTS[0], SegmentPlace(2, 0, bytes(32)))),
        Manifest(20, (SEGMENTS[0], SegmentPlace(1, 10, bytes(32)))),
        Manifest(20, (SegmentPlace(1, 0, bytes(31)),)),
        Manifest(20, SEGMENTS, partials=(Partial("up_a", bytes(32), 20),)),
        Manifest(20, SEGMENTS[:1], partials=(Partial("up_a", bytes(32), 21),)),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(wrong: Manifest) -> None:
    with pytest.raises(Malformed):
        read_manifest(wrong.pack())


def test_a_manifest_has_one_spelling() -> None:
    text = pack(
        {
            "partials": [],
            "total": 0,
            "segments": [[1, 0, bytes(32)]],
            "digest": None,
            "expected": {},
        }
    )
    with pytest.raises(Malformed):
        read_manifest(text)


@pytest.mark.reaches("MANIFEST_BYTES_MAX")
@pytest.mark.reaches("PARTIALS_PER_UPLOAD_MAX")
def test_the_longest_manifest_there_can_be_fits() -> None:
    segments = tuple(
        SegmentPlace(2**32 - SEGMENTS_PER_UPLOAD_MAX + n, n and 2**62 + n, bytes(32))
        for n in range(SEGMENTS_PER_UPLOAD_MAX)
    )
    longest = Manifest(
        2**62 + 2**20, segments, bytes(32), {f"algorithm-{n}": bytes(64) for n in range(8)}
    )
    assert read_manifest(longest.pack()) == longest
    assert len(longest.pack()) > MANIFEST_BYTES_MAX * 0.7
    partials = (Partial("up_" + 26 * "a", bytes(32), 2**40),) * PARTIALS_PER_UPLOAD_MAX
    final = Manifest(PARTIALS_PER_UPLOAD_MAX * 2**40, SEGMENTS[:1], partials=partials)
    assert read_manifest(final.pack()) == final
    more = Manifest(final.total + 2**40, SEGMENTS[:1], partials=(*partials, partials[0]))
    with pytest.raises(Malformed):
        read_manifest(more.pack())
    with pytest.raises(AssertionError):
        Manifest(20, SEGMENTS, expected={"x": bytes(MANIFEST_BYTES_MAX)}).pack()


# Names.


@given(names=st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=5))
def test_names_open_for_their_own_upload_only(names: dict[str, bytes]) -> None:
    sealed = seal_names(bytes(32), "up_a", names, bytes(12))
    assert open_names(bytes(32), "up_a", sealed) == names
    for key, upload, data in (
        (bytes(32), "up_b", sealed),
        (b"\1" * 32, "up_a", sealed),
        (bytes(32), "up_a", sealed[:-1]),
        (bytes(32), "up_a", b""),
    ):
        with pytest.raises(Broken):
            open_names(key, upload, data)


@pytest.mark.reaches("NAMES_BYTES_MAX")
def test_too_many_or_too_long_names_are_refused() -> None:
    seal_names(bytes(32), "up_a", {"x": bytes(NAMES_BYTES_MAX - 10)}, bytes(12))
    for names in ({"x": bytes(NAMES_BYTES_MAX)}, {str(n): b"" for n in range(257)}):
        with pytest.raises(Malformed):
            seal_names(bytes(32), "up_a", names, bytes(12))


# The encoding.


@given(data=st.binary(max_size=200))
def test_strange_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    try:
        fields = unpack(data)
    except Malformed:
        return
    assert fields.names() is not None


def test_every_field_has_a_type_and_a_bound() -> None:
    fields = unpack(
        pack({"n": 5, "t": "text", "d": b"data", "f": True, "r": [[1]], "m": {"x": 1}, "bad": [1]})
    )
    assert fields.number("n", 5) == 5
    wrong: list[Callable[[], object]] = [
        lambda: fields.number("n", 4),
        lambda: fields.number("f"),
        lambda: fields.number("missing"),
        lambda: fields.text("t", 3),
        lambda: fields.text("d", 9),
        lambda: fields.data("d", 3),
        lambda: fields.data("t", 9),
        lambda: fields.flag("n"),
        lambda: fields.rows("n", 9),
        lambda: fields.rows("r", 0),
        lambda: fields.rows("bad", 9),
        lambda: fields.table("n"),
        lambda: unpack(pack({"x": 1}) + b"\0"),
        lambda: unpack(b"\x01"),
    ]
    for take in wrong:
        with pytest.raises(Malformed):
            take()
    assert not fields.has("missing")
    assert fields.table("m").number("x") == 1
