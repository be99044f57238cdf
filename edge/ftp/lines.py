"""What comes on a control connection, cut into commands.  Pure.

The rules: a command is at most one line of a bounded length, and one that is longer costs that line
and not the connection; Telnet's own words (RFC 854) are taken out; and bytes that are no UTF-8 come
through as they are, because a name is bytes to a camera.
"""

import re
from typing import Final, NamedTuple

from zentransfer.limits import FTP_LINE_BYTES_MAX

# IAC IAC is one byte 255, an option has a byte more, and the rest are single words.  A 255 before
# anything else is a letter of a name in Latin-1 that nobody doubled.
_TELNET: Final = re.compile(rb"\xff(?:(\xff)|[\xfb-\xfe].?|[\xf0-\xfa])", re.DOTALL)
_VERB: Final = re.compile("[A-Za-z][A-Za-z0-9]{2,6}")


class Command(NamedTuple):
    """One command: its verb in capitals, empty if it is none; its argument as it was sent.

    The argument is text in UTF-8 with every other byte kept (``surrogateescape``).
    """

    verb: str
    argument: str


TOO_LONG: Final = Command("", "\n")
"""Stands for a line beyond the limit; no command has this argument."""


class Lines:
    """The commands in a stream of bytes that comes in whatever pieces."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._is_too_long = False

    @property
    def has_begun(self) -> bool:
        """Say whether a command has begun to come and not ended."""
        return bool(self._held) or self._is_too_long

    def feed(self, data: bytes) -> list[Command]:
        """Take *data*, and return the commands that end in it."""
        *ends, rest = data.split(b"\n")
        found = [self._ended(end) for end in ends]
        self._hold(rest)
        return found

    def _ended(self, end: bytes) -> Command:
        self._hold(end)
        line, is_too_long = bytes(self._held), self._is_too_long
        self._held.clear()
        self._is_too_long = False
        return TOO_LONG if is_too_long else parse(line)

    def _hold(self, piece: bytes) -> None:
        if len(self._held) + len(piece) > FTP_LINE_BYTES_MAX:
            self._is_too_long = True
            self._held.clear()
        elif not self._is_too_long:
            self._held += piece


def parse(line: bytes) -> Command:
    """Return the command in *line*, which is without its end of line."""
    plain = _TELNET.sub(lambda match: match[1] or b"", line).removesuffix(b"\r")
    verb, _, argument = plain.decode(errors="surrogateescape").partition(" ")
    return Command(verb.upper() if _VERB.fullmatch(verb) else "", argument)
