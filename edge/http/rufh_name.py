"""How a file is called that comes in by a resumable upload of the IETF's dialect.  Pure.

The rule: the name that the target itself has comes first; else the one that ``Content-Disposition``
gives (RFC 6266), in its extended form if that can be read; else the one in tus' own metadata, which
tus-js-client sends in this dialect too.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from edge.http import plain, tus
from edge.names import cleaned, from_url
from zentransfer.errors import Code, Error
from zentransfer.sealed_name import FileName

_PARAMETER: Final = re.compile(
    r"""; [ \t]* ([A-Za-z0-9!#$&+.^_`|~-]+\*?) [ \t]* = [ \t]*
        (?: "((?:[^"\\]|\\.)*)" | ([^;"\s]*) )""",
    re.VERBOSE,
)
_EXTENDED: Final = re.compile(
    r"(utf-8|iso-8859-1)'[A-Za-z0-9-]*'([!#$&+.^_`|~A-Za-z0-9%-]+)", re.IGNORECASE
)
_ESCAPED: Final = re.compile(r"\\(.)")
_UNNAMED: Final = FileName("", "upload")


def name_of(target: str, headers: Mapping[str, str]) -> FileName:
    """Return the cleaned name; raises ``Error(INVALID)`` for one that is given and is no name."""
    path = urlsplit(target).path if not target.startswith("/") else target.partition("?")[0]
    if path.startswith(plain.PREFIX):
        return from_url(path.removeprefix(plain.PREFIX))
    given = disposition_name(headers.get("Content-Disposition", "")) or _in_metadata(headers)
    return cleaned(given) if given else _UNNAMED


def disposition_name(disposition: str) -> str:
    """Return the file name in a ``Content-Disposition``; empty if there is none to be read.

    Of both forms the extended one counts, as RFC 6266 section 4.3 wants.
    """
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(disposition):
        quoted, bare = match[2], match[3]
        value = bare if quoted is None else _ESCAPED.sub(r"\1", quoted)
        found.setdefault(match[1].lower(), value)
    return _extended(found.get("filename*", "")) or found.get("filename", "")


def _extended(value: str) -> str:
    """Return the text that *value* is in the form of RFC 8187; empty if it is not."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return ""
    try:
        return unquote_to_bytes(match[2]).decode(match[1].lower())
    except UnicodeDecodeError:
        return ""


def _in_metadata(headers: Mapping[str, str]) -> str:
    found = tus.parsed(headers.get("Upload-Metadata", ""))
    try:
        return (found.get("filename") or found.get("name") or b"").decode()
    except UnicodeDecodeError as wrong:
        raise Error(Code.INVALID, "the name is not UTF-8") from wrong
