"""The manifest, by which alone a log is whole: its length and every segment of it.  Pure.

It binds the hash of each segment's header, and so each segment's key, without any of those keys.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from edge.seal.packing import U32_MAX, Fields, Malformed, pack, unpack
from zentransfer.limits import (
    MANIFEST_BYTES_MAX,
    PARTIALS_PER_UPLOAD_MAX,
    SEGMENTS_PER_UPLOAD_MAX,
)

HASH_BYTES: Final = 32

_ID_CHARS_MAX: Final = 64
_DIGEST_BYTES_MAX: Final = 64  # SHA-512
_DIGESTS_MAX: Final = 8  # algorithms: RFC 9530 registers fewer that are alive
_LABEL: Final = b"zentransfer sealed log, manifest\x00"


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """One segment of a whole log: where it starts (bytes of the upload) and its header's hash."""

    number: int
    start: int
    header_hash: bytes


@dataclass(frozen=True, slots=True)
class Partial:
    """A whole upload that is a part of this one (tus concatenation): ``size`` in bytes."""

    upload: str
    manifest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a whole upload consists of.

    ``digest`` is the SHA-256 of all bytes, from a process that saw every one of them.
    ``expected`` maps an algorithm (``sha-256``) to the digest that the client announced; who
    streams the content compares it.  With ``partials`` the content is theirs, in this order.
    """

    total: int
    segments: tuple[SegmentPlace, ...]
    digest: bytes | None = None
    expected: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    partials: tuple[Partial, ...] = ()

    def pack(self) -> bytes:
        """Return the one encoding of this manifest."""
        text = pack(
            {
                "total": self.total,
                "segments": [[s.number, s.start, s.header_hash] for s in self.segments],
                "digest": self.digest,
                "expected": dict(sorted(self.expected.items())),
                "partials": [[p.upload, p.manifest, p.size] for p in self.partials],
            }
        )
        assert len(text) <= MANIFEST_BYTES_MAX, "cannot happen: every list has a limit"
        return text


def read_manifest(text: bytes) -> Manifest:
    """Return the manifest in *text*, if a log can be so; raises :class:`Malformed`."""
    fields = unpack(text)
    manifest = Manifest(
        total=fields.number("total"),
        segments=tuple(_segment(row) for row in fields.rows("segments", SEGMENTS_PER_UPLOAD_MAX)),
        digest=fields.data("digest", HASH_BYTES) if fields.has("digest") else None,
        expected=_expected(fields.table("expected")),
        partials=tuple(_partial(row) for row in fields.rows("partials", PARTIALS_PER_UPLOAD_MAX)),
    )
    if not _is_possible(manifest) or manifest.pack() != text:
        raise Malformed("a manifest that contradicts itself")
    return manifest


def manifest_digest(header_hash: bytes, sealed: bytes) -> bytes:
    """Return what names a manifest: SHA-256 over its segment and its sealed text.

    Of the sealed text, because a digest of the plain one would let whoever reads the record test
    guesses about the content.
    """
    return hashlib.sha256(_LABEL + header_hash + sealed).digest()


def origin_message(digest: bytes) -> bytes:
    """Return what a manifest's origin tag is made over, unlike anything else's."""
    return _LABEL + digest


def _segment(row: Fields) -> SegmentPlace:
    return SegmentPlace(row.number("0", U32_MAX), row.number("1"), row.data("2", HASH_BYTES))


def _partial(row: Fields) -> Partial:
    return Partial(row.text("0", _ID_CHARS_MAX), row.data("1", HASH_BYTES), row.number("2"))


def _expected(table: Fields) -> dict[str, bytes]:
    names = table.names()
    if len(names) > _DIGESTS_MAX:
        raise Malformed("too many digests")
    return {name: table.data(name, _DIGEST_BYTES_MAX) for name in names}


def _is_possible(manifest: Manifest) -> bool:
    """Say whether the segments follow one another without a hole, from 0 to the total."""
    segments = manifest.segments
    if not segments or segments[0].start != 0:
        return False
    if any(len(segment.header_hash) != HASH_BYTES for segment in segments):
        return False
    # Only the last one may be empty: it is there for the manifest.
    steps = [a.number < b.number and a.start < b.start for a, b in pairwise(segments)]
    if manifest.partials:
        own = segments[-1].start
        return all(steps) and own == 0 and manifest.total == sum(p.size for p in manifest.partials)
    return all(steps) and segments[-1].start <= manifest.total
