"""What an FTP server's replies hold: where its data port is, what time it has.  Pure."""

import re
from datetime import UTC, datetime
from typing import Final

from ops.doctor.seen import Heard, Said

_PASV: Final = re.compile(r"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})")
_EPSV: Final = re.compile(r"\(([!-~])\1\1(\d{1,5})\1\)")
_MDTM: Final = re.compile(r"(\d{14})(?:\.\d+)?")
_DATE: Final = re.compile(rb"^date:[ \t]*([ -~]{1,64}?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_BYTE_MAX: Final = 255
_PORT_MAX: Final = 65_535


def is_good(answer: Heard | None) -> bool:
    """Say whether *answer* says yes (RFC 959, 4.2.1)."""
    return isinstance(answer, Said) and 200 <= answer.code < 300  # noqa: PLR2004 - the RFC's class


def is_begun(answer: Heard | None) -> bool:
    """Say whether *answer* says that a transfer begins."""
    return isinstance(answer, Said) and 100 <= answer.code < 200  # noqa: PLR2004 - the RFC's class


def maybe_place(answer: Heard) -> tuple[str, int] | None:
    """Return address and port of a data connection; the address is empty in RFC 2428's form."""
    match answer:
        case Said(code=227, text=text) if (found := _PASV.search(text)) is not None:
            numbers = list(map(int, found.groups()))
            if max(numbers) > _BYTE_MAX:
                return None
            port = numbers[4] * 256 + numbers[5]
            return (".".join(map(str, numbers[:4])), port) if port else None
        case Said(code=229, text=text) if (found := _EPSV.search(text)) is not None:
            port = int(found[2])
            return ("", port) if 0 < port <= _PORT_MAX else None
        case _:
            return None


def maybe_mdtm_ms(answer: Heard | None) -> int | None:
    """Return the UTC milliseconds of a file's time (RFC 3659, 2.3)."""
    if not isinstance(answer, Said) or (found := _MDTM.fullmatch(answer.text.strip())) is None:
        return None
    try:
        told = datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(told.timestamp() * 1000)


def maybe_date_ms(head: bytes) -> int | None:
    """Return the UTC milliseconds that the Date of an HTTP response says (RFC 9110, 6.6.1)."""
    found = _DATE.search(head.replace(b"\r\n", b"\n"))
    if found is None:
        return None
    try:
        told = datetime.strptime(f"{found[1].decode()} +0000", "%a, %d %b %Y %H:%M:%S GMT %z")
    except ValueError:
        return None
    return int(told.timestamp() * 1000)
