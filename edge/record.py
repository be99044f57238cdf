"""The upload record: what a region knows of one upload, beside its sealed log.  Pure.

The rule: it changes by compare-and-swap only, from one value of this module to another, and its
fence never goes back; so whoever holds an older fence can neither add a segment nor commit.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from crc32c import crc32c

from edge.seal.header import HEADER_BLOCK_BYTES
from edge.seal.packing import U32_MAX, Fields, Malformed, Packable, pack, unpack
from edge.seal.record import Walked
from zentransfer.ids import AccountID, CredentialID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.limits import (
    NAMES_BYTES_MAX,
    SEGMENTS_PER_UPLOAD_MAX,
    UPLOAD_RECORD_BYTES_MAX,
)

_MAGIC: Final = b"ZTREC\x01"
_ID_CHARS_MAX: Final = 64
_WORD_CHARS_MAX: Final = 32
_HASH_BYTES: Final = 32
_SEALED_EXTRA_BYTES_MAX: Final = 64  # nonce and tag around the names


class State(StrEnum):
    """Where an upload stands; a state to the left never follows one to its right."""

    RECEIVING = "receiving"
    COMMITTED = "committed"
    DAMAGED = "damaged"
    """Told bytes are no longer there: it fails visibly and is never rewound (law 1)."""
    DESTROYING = "destroying"
    DESTROYED = "destroyed"


class WrongState(Exception):
    """A transition that the record's state does not have."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment that counts: ``start`` in bytes of the upload."""

    number: int
    fence: int
    start: int
    header_hash: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the newest segment is known to be whole.

    ``offset`` was told.  ``walked`` is where a scan begins: at the last record before the mark, so
    that the scan sees whether what was told is still there.  ``position`` (bytes of the file) is
    where that record ends.  ``is_end`` means that a claim has scanned: nothing behind it counts.
    """

    offset: int
    position: int
    walked: Walked
    is_end: bool = False

    @classmethod
    def at(cls, offset: int, walked: Walked, *, is_end: bool = False) -> "Mark":
        """Return the mark at the end of *walked*, with *offset* told."""
        begin = Walked(
            walked.last_position,
            walked.last_written,
            offset,
            walked.last_position,
            walked.last_written,
        )
        return cls(offset, walked.position, begin, is_end)


@dataclass(frozen=True, slots=True)
class ManifestPlace:
    """Where the manifest stands in the last segment, and the digest that names it."""

    digest: bytes
    position: int
    counter: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What is stamped into the record with its end: one compare-and-swap for all of it.

    ``ended_ms`` is UTC milliseconds since 1970; ``outcome`` is the id under which the end is told.
    """

    workflow: WorkflowID | None = None
    workflow_version: int = 0
    ended_ms: int = 0
    outcome: OutcomeID | None = None


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One upload: whose it is, its state and fence, its segments, its end.

    ``length`` is the announced size in bytes, ``size`` the durable one once it is committed.
    ``names`` are sealed under the metadata key named ``names_kid``.  ``heard_ms`` is when bytes of
    it were last noted, UTC, or 0.  ``door`` and ``dialect`` are
    words of the doors: an upload is continued only in the dialect that created it.
    """

    upload: UploadID
    account: AccountID
    region: Region
    created_ms: int
    door: str = ""
    dialect: str = ""
    credential: CredentialID | None = None
    length: int | None = None
    names: bytes = b""
    names_kid: str = ""
    heard_ms: int = 0
    state: State = State.RECEIVING
    fence: int = 1
    segments: tuple[Segment, ...] = ()
    mark: Mark | None = None
    size: int = 0
    manifest: ManifestPlace | None = None
    ending: Ending = Ending()

    @property
    def next_number(self) -> int:
        """The number of the segment that comes next."""
        return self.segments[-1].number + 1 if self.segments else 1

    @property
    def is_full(self) -> bool:
        """Whether no further segment fits."""
        return len(self.segments) >= SEGMENTS_PER_UPLOAD_MAX

    def claimed(self) -> "UploadRecord":
        """Return the record under a higher fence, which shuts out every older writer."""
        self._must_be(State.RECEIVING)
        return replace(self, fence=self.fence + 1)

    def scanned(self, mark: Mark) -> "UploadRecord":
        """Return the record whose newest segment ends at *mark*; an empty segment is dropped."""
        self._must_be(State.RECEIVING)
        newest = self.segments[-1]
        if mark.offset > newest.start:
            return replace(self, mark=replace(mark, is_end=True))
        return replace(self, segments=self.segments[:-1], mark=self._end_at(newest.start))

    def opened(self, segment: Segment, mark: Mark) -> "UploadRecord":
        """Return the record with a further *segment*, which is whole up to *mark*."""
        self._must_be(State.RECEIVING)
        if segment.fence != self.fence or self.is_full:
            raise WrongState("no further segment under this fence")
        if self.mark is not None and not self.mark.is_end:
            raise WrongState("the newest segment is still open")
        return replace(self, segments=(*self.segments, segment), mark=mark)

    def marked(self, mark: Mark) -> "UploadRecord":
        """Return the record whose newest segment is whole up to *mark*."""
        self._must_be(State.RECEIVING)
        return replace(self, mark=mark)

    def heard(self, now_ms: int) -> "UploadRecord":
        """Return the record of an upload that had bytes at *now_ms* (UTC); never goes back."""
        return replace(self, heard_ms=max(self.heard_ms, now_ms))

    def named(self, names: bytes, kid: str) -> "UploadRecord":
        """Return the record with *names*, sealed under the metadata key *kid*."""
        return replace(self, names=names, names_kid=kid)

    def announced(self, length: int) -> "UploadRecord":
        """Return the record with its size in bytes announced; once set it never changes."""
        self._must_be(State.RECEIVING)
        if self.length not in (None, length):
            raise WrongState("another length was announced before")
        return replace(self, length=length)

    def committed(self, manifest: ManifestPlace, size: int, ending: Ending) -> "UploadRecord":
        """Return the record of an upload that is whole, with all that its end stamps."""
        self._must_be(State.RECEIVING)
        if self.length not in (None, size):
            raise WrongState("the upload is not as long as was announced")
        return replace(
            self, state=State.COMMITTED, manifest=manifest, size=size, ending=ending, mark=None
        )

    def damaged(self) -> "UploadRecord":
        """Return the record of an upload that lost what was told, under a higher fence."""
        self._must_be(State.RECEIVING)
        return replace(self, state=State.DAMAGED, fence=self.fence + 1)

    def ended(self, ending: Ending) -> "UploadRecord":
        """Return the record stamped with an end other than a commit (cancelled, expired)."""
        return replace(self, ending=ending)

    def destroying(self) -> "UploadRecord":
        """Return the record of an upload whose keys go now; nothing may be opened or added."""
        if self.state in (State.DESTROYING, State.DESTROYED):
            return self
        return replace(self, state=State.DESTROYING, fence=self.fence + 1)

    def destroyed(self) -> "UploadRecord":
        """Return the tombstone: no names, no segments, and no content anywhere."""
        self._must_be(State.DESTROYING)
        return replace(
            self,
            state=State.DESTROYED,
            names=b"",
            names_kid="",
            segments=(),
            mark=None,
        )

    def _must_be(self, state: State) -> None:
        if self.state is not state:
            raise WrongState(f"the upload is {self.state}")

    def _end_at(self, offset: int) -> "Mark | None":
        """Return the mark that says: the segments there are end at *offset*, by a claim."""
        if len(self.segments) == 1:
            return None
        return Mark(offset, 0, Walked.begin(offset), is_end=True)


def pack_record(record: UploadRecord, version: int) -> bytes:
    """Return the stored form of *record* as its *version*, with a CRC over it.

    Raises :class:`Malformed` above UPLOAD_RECORD_BYTES_MAX.
    """
    text = _MAGIC + pack(
        {
            "version": version,
            "upload": record.upload,
            "account": record.account,
            "region": record.region,
            "created_ms": record.created_ms,
            "door": record.door,
            "dialect": record.dialect,
            "credential": record.credential,
            "length": record.length,
            "names": record.names,
            "names_kid": record.names_kid,
            "heard_ms": record.heard_ms,
            "state": record.state,
            "fence": record.fence,
            "segments": [[s.number, s.fence, s.start, s.header_hash] for s in record.segments],
            "mark": _packed_mark(record.mark),
            "size": record.size,
            "manifest": _packed_manifest(record.manifest),
            "workflow": record.ending.workflow,
            "workflow_version": record.ending.workflow_version,
            "ended_ms": record.ending.ended_ms,
            "outcome": record.ending.outcome,
        }
    )
    if len(text) + 4 > UPLOAD_RECORD_BYTES_MAX:
        raise Malformed("the record is too long")
    return text + crc32c(text).to_bytes(4)


def read_record(data: bytes) -> tuple[UploadRecord, int]:
    """Return the record in *data* and its version; raises :class:`Malformed`.

    A field that this program does not know is no error: new files meet old programs while a node
    is being renewed, and an old one that changes such a record drops the field.
    """
    text, crc = data[:-4], data[-4:]
    if not text.startswith(_MAGIC) or crc32c(text) != int.from_bytes(crc):
        raise Malformed("no upload record, or a damaged one")
    fields = unpack(text[len(_MAGIC) :])
    try:
        return _record(fields), fields.number("version")
    except ValueError as wrong:  # a word that is no state or region of ours
        raise Malformed("a field has no meaning") from wrong


def _record(fields: Fields) -> UploadRecord:
    credential = _maybe_text(fields, "credential")
    return UploadRecord(
        upload=UploadID(fields.text("upload", _ID_CHARS_MAX)),
        account=AccountID(fields.text("account", _ID_CHARS_MAX)),
        region=Region(fields.text("region", _WORD_CHARS_MAX)),
        created_ms=fields.number("created_ms"),
        door=fields.text("door", _WORD_CHARS_MAX),
        dialect=fields.text("dialect", _WORD_CHARS_MAX),
        credential=None if credential is None else CredentialID(credential),
        length=fields.number("length") if fields.has("length") else None,
        names=fields.data("names", NAMES_BYTES_MAX + _SEALED_EXTRA_BYTES_MAX),
        names_kid=fields.text("names_kid", _ID_CHARS_MAX),
        heard_ms=fields.number("heard_ms") if fields.has("heard_ms") else 0,
        state=State(fields.text("state", _WORD_CHARS_MAX)),
        fence=fields.number("fence"),
        segments=tuple(_segment(row) for row in fields.rows("segments", SEGMENTS_PER_UPLOAD_MAX)),
        mark=_mark(fields),
        size=fields.number("size"),
        manifest=_manifest(fields),
        ending=_ending(fields),
    )


def _segment(row: Fields) -> Segment:
    return Segment(
        row.number("0", U32_MAX), row.number("1"), row.number("2"), row.data("3", _HASH_BYTES)
    )


def _packed_mark(mark: Mark | None) -> Packable:
    if mark is None:
        return None
    walked = mark.walked
    return {
        "offset": mark.offset,
        "position": mark.position,
        "from_position": walked.position,
        "from_written": walked.written,
        "is_end": mark.is_end,
    }


def _mark(fields: Fields) -> Mark | None:
    if not fields.has("mark"):
        return None
    mark = fields.table("mark")
    offset, position = mark.number("offset"), mark.number("from_position")
    written = mark.number("from_written")
    begin = Walked(position, written, offset, position, written)
    return Mark(offset, mark.number("position"), begin, mark.flag("is_end"))


def _packed_manifest(place: ManifestPlace | None) -> Packable:
    return None if place is None else [[place.digest, place.position, place.counter]]


def _manifest(fields: Fields) -> ManifestPlace | None:
    if not fields.has("manifest"):
        return None
    for row in fields.rows("manifest", 1):
        place = ManifestPlace(row.data("0", _HASH_BYTES), row.number("1"), row.number("2", U32_MAX))
        if place.position >= HEADER_BLOCK_BYTES:
            return place
    raise Malformed("a manifest that stands nowhere")


def _ending(fields: Fields) -> Ending:
    workflow, outcome = _maybe_text(fields, "workflow"), _maybe_text(fields, "outcome")
    return Ending(
        workflow=None if workflow is None else WorkflowID(workflow),
        workflow_version=fields.number("workflow_version"),
        ended_ms=fields.number("ended_ms"),
        outcome=None if outcome is None else OutcomeID(outcome),
    )


def _maybe_text(fields: Fields, name: str) -> str | None:
    return fields.text(name, _ID_CHARS_MAX) if fields.has(name) else None
