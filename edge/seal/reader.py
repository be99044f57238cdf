"""Opening a whole log: every record authenticated, in order, up to its counted end.  Pure.

The rule: a reader says nothing that it has not authenticated, and refuses a log that is cut,
reordered, mixed or foreign with one word for why.  Bytes behind a segment's counted end are not
looked at: a writer that lost its fence may have put them there.
"""

from collections.abc import Callable, Iterator
from typing import Final

from crc32c import crc32c
from cryptography.exceptions import InvalidTag

from edge.seal.broken import Broken, Reason
from edge.seal.header import HEADER_BLOCK_BYTES, ORIGIN_TAG_BYTES, Header
from edge.seal.manifest import Manifest, manifest_digest, origin_message, read_manifest
from edge.seal.packing import Malformed
from edge.seal.record import (
    ACCEPTED,
    CRC_BYTES,
    DATA_AAD,
    DATA_OVERHEAD_BYTES,
    FRAME,
    MANIFEST_AAD,
    MANIFEST_OVERHEAD_BYTES,
    TAG_BYTES,
    RecordKeys,
    RecordType,
    accept_aad,
    next_position,
)
from zentransfer.limits import MANIFEST_BYTES_MAX

MANIFEST_RECORD_BYTES_MAX: Final = MANIFEST_BYTES_MAX + MANIFEST_OVERHEAD_BYTES


class SegmentReader:
    """Opens one segment, from its start up to the offset *end* (bytes of the upload).

    Read ``wants()`` bytes, give them to ``open``, until ``is_done``.
    """

    def __init__(self, header: Header, keys: RecordKeys, seed: int, end: int) -> None:
        self._place = header.place
        self._keys = keys
        self._seed = seed
        self._end = end
        self._offset = self._accepted = header.place.start
        self.position = HEADER_BLOCK_BYTES  # of the next record, in bytes of the file
        self.counter = 0  # of the next record

    @property
    def is_done(self) -> bool:
        """Whether all that counts was opened."""
        counted = self._accepted if self._place.provisional else self._offset
        return self._offset == self._end == counted

    def wants(self) -> tuple[int, int]:
        """Return the position and the count of the bytes to read next."""
        size = self._place.record_bytes
        return self.position, size - self.position % size

    def open(self, data: memoryview) -> Iterator[memoryview]:
        """Yield the plaintext of each record in *data*, opened where it lies.

        *data* is all that the file holds of what was wanted.  Raises :class:`Broken`.
        """
        at = 0
        is_last = len(data) < self.wants()[1]  # the file ends in here
        while not self.is_done and (not at or self.position % self._place.record_bytes):
            size = self._checked(data[at:], is_last=is_last)
            text = self._opened(data[at : at + size])
            self.counter += 1
            after = next_position(self.position + size, self._place.record_bytes)
            gap = data[at + size : at + after - self.position]
            at += after - self.position
            self.position = after
            if text is not None:
                yield text
            if not self.is_done and any(gap):
                raise Broken(Reason.RECORD)

    def _checked(self, data: memoryview, *, is_last: bool) -> int:
        """Return the size of the record at the start of *data*, whole and undamaged."""
        missing = Broken(Reason.CUT if is_last else Reason.RECORD)
        if len(data) < FRAME.size:
            raise missing
        length, kind = FRAME.unpack_from(data)
        if kind == RecordType.MANIFEST:
            raise Broken(Reason.CUT)
        size: int = length + DATA_OVERHEAD_BYTES
        if size > len(data):
            raise missing
        if crc32c(data[: size - CRC_BYTES], self._seed) != _last_number(data[:size]):
            raise Broken(Reason.RECORD)
        return size

    def _opened(self, record: memoryview) -> memoryview | None:
        """Return the plaintext of a data record, None for an accept record."""
        length, kind = FRAME.unpack_from(record)
        body = record[FRAME.size : len(record) - CRC_BYTES]
        if kind == RecordType.ACCEPT:
            self._accept(body)
            return None
        if kind != RecordType.DATA or not length:
            raise Broken(Reason.RECORD)
        if self._offset + length > self._end:
            raise Broken(Reason.MANIFEST)
        text = body[:length]
        try:
            self._keys.cipher.decrypt_into(self._keys.nonce(self.counter), body, DATA_AAD, text)
        except InvalidTag as wrong:
            raise Broken(Reason.FORGED) from wrong
        self._offset += length
        return text

    def _accept(self, body: memoryview) -> None:
        if len(body) != ACCEPTED.size + TAG_BYTES or not self._place.provisional:
            raise Broken(Reason.RECORD)
        (offset,) = ACCEPTED.unpack_from(body)
        nonce = self._keys.nonce(self.counter)
        try:
            self._keys.cipher.decrypt(nonce, body[ACCEPTED.size :], accept_aad(offset))
        except InvalidTag as wrong:
            raise Broken(Reason.FORGED) from wrong
        if offset != self._offset:
            raise Broken(Reason.FORGED)
        self._accepted = offset


def open_manifest(
    header: Header,
    keys: RecordKeys,
    seed: int,
    record: tuple[memoryview, int],
    is_ours: Callable[[bytes, bytes], bool],
) -> tuple[Manifest, bytes]:
    """Return the manifest in *record*, and its digest.

    *record* is the bytes from its start on, and its number in the segment, whose *header*, *keys*
    and *seed* of the CRC are given.  ``is_ours(message, tag)`` says whether an origin tag is good.
    Raises :class:`Broken`.
    """
    data, counter = record
    body = _manifest_body(data, seed)
    sealed = bytes(body[:-ORIGIN_TAG_BYTES])
    digest = manifest_digest(header.hash, sealed)
    if not is_ours(origin_message(digest), bytes(body[-ORIGIN_TAG_BYTES:])):
        raise Broken(Reason.ORIGIN)
    try:
        text = keys.cipher.decrypt(keys.nonce(counter, final=True), sealed, MANIFEST_AAD)
        manifest = read_manifest(text)
    except (InvalidTag, Malformed) as wrong:
        raise Broken(Reason.MANIFEST) from wrong
    if manifest.segments[-1].header_hash != header.hash:
        raise Broken(Reason.MANIFEST)
    return manifest, digest


def _manifest_body(data: memoryview, seed: int) -> memoryview:
    if len(data) < FRAME.size:
        raise Broken(Reason.NOT_WHOLE)
    length, kind = FRAME.unpack_from(data)
    size = length + MANIFEST_OVERHEAD_BYTES
    if kind != RecordType.MANIFEST or length > MANIFEST_BYTES_MAX or size > len(data):
        raise Broken(Reason.NOT_WHOLE)
    if crc32c(data[: size - CRC_BYTES], seed) != _last_number(data[:size]):
        raise Broken(Reason.NOT_WHOLE)
    return data[FRAME.size : size - CRC_BYTES]


def _last_number(record: memoryview) -> int:
    return int.from_bytes(record[len(record) - CRC_BYTES :])
