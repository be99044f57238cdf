"""A form with files in it, ``multipart/form-data`` (RFC 7578), read part by part.  Pure.

The rules: a file's bytes pass through as they come, and only what may be the beginning of a
boundary waits for the next ones; and a part whose closing boundary never came is not whole.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge.facts import Door, Outcome
from edge.http import plain
from edge.http.problem import Answer, refusal
from edge.http.rufh_name import disposition_name
from edge.incoming import Incoming
from edge.names import below, cleaned, from_url
from zentransfer.errors import Code, Error
from zentransfer.limits import FORM_PART_HEAD_BYTES_MAX
from zentransfer.sealed_name import FileName

_TYPE: Final = re.compile(r"multipart/form-data[ \t]*;(.*)", re.IGNORECASE)
_BOUNDARY: Final = re.compile(
    r"""(?:^|;)[ \t]*boundary=(?:"([^"\\]+)"|([^";\s]+))""", re.IGNORECASE
)
_BOUNDARY_CHARS: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PADDING: Final = re.compile(rb"[ \t]*")  # RFC 2046 section 5.1.1: transport-padding
_DASHES: Final = b"--"
_LINE: Final = b"\r\n"
_PADDING_BYTES_MAX: Final = 64  # bytes: nobody sends any


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a part: its file's name, empty for a field, and its media type."""

    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the part that began last, at least one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part that began last is whole."""


@dataclass(frozen=True, slots=True)
class FormEnd:
    """No further part comes."""


Event = Part | Data | PartEnd | FormEnd


def is_form(content_type: str) -> bool:
    """Say whether a body of this type is a form with files."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def boundary_of(content_type: str) -> bytes:
    """Return what stands between the parts; raises ``Error(INVALID)`` (RFC 2046 section 5.1.1)."""
    found = _TYPE.fullmatch(content_type.strip())
    match = _BOUNDARY.search(found[1]) if found else None
    text = (match[1] or match[2]) if match else ""
    if not _BOUNDARY_CHARS.fullmatch(text):
        raise Error(Code.INVALID, "a form says what boundary its parts have")
    return text.encode("ascii")


class FormParser:
    """Turns the bytes of a form into its parts."""

    def __init__(self, boundary: bytes) -> None:
        """Expect parts between lines of *boundary*, as of :func:`boundary_of`."""
        self._delimiter = _LINE + _DASHES + boundary
        self._held = _LINE  # the first boundary may stand at the very beginning
        self._step: Callable[[], list[Event] | None] = self._preamble

    @property
    def has_ended(self) -> bool:
        """Whether the closing boundary came."""
        return self._step == self._epilogue

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what *data*, the next bytes of the form, tells; to be used up each time.

        Raises ``Error(INVALID)`` for what is no form, and for headers that are too long.
        """
        self._held += data
        while (events := self._step()) is not None:
            yield from events

    # Each step returns what it has found, or None when it waits for more bytes.

    def _preamble(self) -> list[Event] | None:
        """Pass over what stands before the first boundary: nothing of it is for us."""
        _, at = self._text()
        if at is None:
            return None
        self._step = self._boundary
        return []

    def _boundary(self) -> list[Event] | None:
        """Find out whether a boundary ends the form."""
        padding = _PADDING.match(self._held)
        rest = self._held[padding.end() :] if padding else self._held
        if rest.startswith(_DASHES):
            self._step = self._epilogue
            return [FormEnd()]
        if rest.startswith(_LINE):
            self._held = rest  # kept: no headers at all are an empty line right behind it
            self._step = self._head
            return []
        could_be = len(rest) < len(_LINE) and (_DASHES.startswith(rest) or _LINE.startswith(rest))
        if could_be and len(self._held) <= _PADDING_BYTES_MAX:
            return None
        raise Error(Code.INVALID, "the form's parts are not what its boundary says")

    def _head(self) -> list[Event] | None:
        """Read the headers of a part."""
        head, end, rest = self._held.partition(_LINE + _LINE)
        if len(head) > FORM_PART_HEAD_BYTES_MAX:
            raise Error(Code.INVALID, "the headers of a part are too long")
        if not end:
            return None
        self._held = rest
        self._step = self._data
        return [_part(head)]

    def _data(self) -> list[Event] | None:
        """Pass on what is surely no boundary."""
        text, at = self._text()
        events: list[Event] = [Data(text)] if text else []
        if at is not None:
            self._step = self._boundary
            return [*events, PartEnd()]
        return events or None

    def _epilogue(self) -> list[Event] | None:
        """Pass over what stands behind the last boundary."""
        self._held = b""
        return None

    def _text(self) -> tuple[bytes, int | None]:
        """Take what stands before the next boundary, and say where that was, if it is there."""
        at = self._held.find(self._delimiter)
        if at >= 0:
            text, self._held = self._held[:at], self._held[at + len(self._delimiter) :]
            return text, at
        # What could be the beginning of a boundary begins with the only CR that there is in one.
        last = self._held.rfind(b"\r", max(0, len(self._held) - len(self._delimiter) + 1))
        is_begun = last >= 0 and self._delimiter.startswith(self._held[last:])
        end = last if is_begun else len(self._held)
        text, self._held = self._held[:end], self._held[end:]
        return text, None


def form_folder(target: str) -> str:
    """Return the folder that the files of a form go to; raises ``Error(INVALID)``."""
    path = plain.path_of(target)
    if path and not path.endswith("/"):
        raise Error(Code.INVALID, "a form's files have names: send it to /in/ or /in/FOLDER/")
    return from_url(path + "x").folder  # any name: what stands before it is what we want


def form_file(folder: str, part: Part) -> Incoming:
    """Return what a form says of a file that goes to *folder*; raises ``Error(INVALID)``."""
    return Incoming(
        name=below(folder, cleaned(part.name)),
        door=Door.HTTP,
        dialect=plain.DIALECT,
        media_type=plain.word(part.media_type),
    )


def form_taken(
    taken: Sequence[tuple[Outcome, FileName]], failure: Error | None = None, stretch: float = 1.0
) -> Answer:
    """Return the answer to a form: all files that are whole, and what ended it before its end.

    *stretch* as of :func:`edge.http.problem.refusal`.
    """
    uploads = [
        {
            "id": outcome.upload_id,
            "size": outcome.size_bytes,
            "region": outcome.region,
            "name": "/".join(part for part in (name.folder, name.name) if part),
        }
        for outcome, name in taken
    ]
    if failure is None:
        body = json.dumps({"uploads": uploads}).encode() + b"\n"
        return Answer(201, {"Content-Type": "application/json"}, body)
    answer = refusal(failure, stretch)
    document = {**json.loads(answer.body), "uploads": uploads}
    return replace(answer, body=json.dumps(document).encode() + b"\n")


def _part(head: bytes) -> Part:
    """Return the part with these headers; raises ``Error(INVALID)``."""
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError as wrong:
        raise Error(Code.INVALID, "the headers of a part are not UTF-8") from wrong
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    disposition = headers.get("content-disposition", "")
    if not disposition.lower().startswith("form-data"):
        raise Error(Code.INVALID, "a part of the form does not say what it is")
    # Browsers write these three so, and no others (HTML, "multipart form data").
    name = disposition_name(disposition)
    for escape, char in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        name = name.replace(escape, char)
    return Part(name, headers.get("content-type", ""))
