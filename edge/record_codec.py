"""The stored form of an upload record: a msgpack map with a checksum over it.  Pure.

The rule: a record that is not what was written is refused whole; and a field that another version
of the program added is none of its damage.
"""

from typing import Final

from crc32c import crc32c

from edge.record import (
    Ending,
    ManifestPlace,
    Mark,
    Segment,
    State,
    UploadRecord,
)
from edge.seal.header import HEADER_BLOCK_BYTES
from edge.seal.packing import U32_MAX, Fields, Malformed, Packable, pack, unpack
from edge.seal.record import Walked
from zentransfer.ids import AccountID, CredentialID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.limits import (
    FINALS_PER_PARTIAL_MAX,
    NAMES_BYTES_MAX,
    PARTIALS_PER_UPLOAD_MAX,
    SEGMENTS_PER_UPLOAD_MAX,
    UPLOAD_RECORD_BYTES_MAX,
)

_MAGIC: Final = b"ZTREC\x01"
_ID_CHARS_MAX: Final = 64
_WORD_CHARS_MAX: Final = 32
_HASH_BYTES: Final = 32
_SEALED_EXTRA_BYTES_MAX: Final = 64  # nonce and tag around the names


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
            "gone_ms": record.gone_ms,
            "is_gone_told": record.is_gone_told,
            "is_partial": record.is_partial,
            "finals": [[each] for each in record.finals],
            "partials": [[each] for each in record.partials],
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
        gone_ms=fields.number("gone_ms") if fields.has("gone_ms") else 0,
        is_gone_told=fields.has("is_gone_told") and fields.flag("is_gone_told"),
        is_partial=fields.has("is_partial") and fields.flag("is_partial"),
        finals=_uploads(fields, "finals", FINALS_PER_PARTIAL_MAX),
        partials=_uploads(fields, "partials", PARTIALS_PER_UPLOAD_MAX),
    )


def _uploads(fields: Fields, name: str, count_max: int) -> tuple[UploadID, ...]:
    rows = fields.rows(name, count_max) if fields.has(name) else []
    return tuple(UploadID(row.text("0", _ID_CHARS_MAX)) for row in rows)


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
