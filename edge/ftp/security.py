"""What a door asks and a client says of encryption (RFC 2228, RFC 4217).  Pure.

The rules: nothing is promised that is not done, so on a clear connection PBSZ and PROT fail; who
turns TLS on signs in again, for what was said in clear may have been anybody's; and TLS never ends
before the control connection does, except by REIN, which begins everything anew.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.ftp.replies import Reply, say
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_HANDSHAKE_S, FTP_HANDSHAKES_MAX

TLS_WORDS: Final = frozenset(("TLS", "TLS-C", "SSL"))
"""What AUTH may name: RFC 4217 section 17, and the word of clients that are older than it."""
DATA_VERBS: Final = frozenset(("STOR", "STOU", "APPE", "LIST", "NLST", "MLSD", "RETR"))

BEGIN: Final = say(234, "Begin TLS")
TOO_MANY: Final = Reply(421, ("Too many TLS handshakes; try again later",), ends=True)
NEEDS_TLS: Final = say(530, "TLS is required here; turn on FTPS (explicit) in the profile")
NEEDS_PRIVATE_DATA: Final = say(521, "Data must be encrypted; send PBSZ 0, PROT P")

_NOT_AVAILABLE: Final = say(502, "There is no TLS at this server")
_IS_ON: Final = say(503, "TLS is on already")
_OTHER_MECHANISM: Final = say(504, "AUTH TLS is what this server knows")
_STAYS: Final = say(534, "The control connection stays encrypted")
_NOTHING_TO_CLEAR: Final = say(533, "The control connection is not encrypted")


class Reuse(StrEnum):
    """Whether data connections must continue the TLS session of their control connection."""

    OFF = "off"
    """No: Python's ftplib never does (cpython #63699)."""
    REMEMBERED = "remembered"
    """Who did it before, in so far as it did."""
    REQUIRED = "required"
    """Always; by TLS 1.3 curl then sends one file in a connection (:class:`edge.ftp.tls.Rules`)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a door asks; ``names`` are those that clients may call it by in TLS, all if empty."""

    is_required: bool = False
    """Nobody signs in in clear, whatever its credential says."""
    tolerates_cuts: bool = False
    """A file by TLS is whole without the client's close_notify too."""
    reuse: Reuse = Reuse.OFF
    names: frozenset[str] = frozenset()
    handshake_s: float = FTP_HANDSHAKE_S
    handshakes_max: int = FTP_HANDSHAKES_MAX


class Protection(StrEnum):
    """The levels of PROT (RFC 2228 section 3)."""

    CLEAR = "C"
    SAFE = "S"
    CONFIDENTIAL = "E"
    PRIVATE = "P"


class Security:
    """How a control connection and the data connections of it are protected."""

    def __init__(self, *, has_tls: bool, is_implicit: bool = False) -> None:
        """Begin in clear; *has_tls* says whether there can be TLS at all.

        On a connection that is TLS from its first byte, data is private without a word.
        """
        self.is_tls = False
        """Whether the control connection is encrypted."""
        self.is_private = False
        """Whether data connections are."""
        self._has_tls = has_tls
        self._is_implicit = is_implicit
        self._has_size = False

    def auth(self, argument: str) -> Reply:
        """Return :data:`BEGIN` if TLS may begin, else why it may not."""
        if not self._has_tls:
            return _NOT_AVAILABLE
        if self.is_tls:
            return _IS_ON
        return BEGIN if argument.strip().upper() in TLS_WORDS else _OTHER_MECHANISM

    def began(self) -> None:
        """Go on with TLS on the control connection."""
        self.is_tls = True
        self.is_private = self._has_size = self._is_implicit

    def ended(self) -> None:
        """Go on in clear, as at the beginning."""
        self.is_tls = self.is_private = self._has_size = False

    def pbsz(self, argument: str) -> Reply:
        """Agree on the only size that a stream has (RFC 4217 section 9)."""
        self._ask_for_tls()
        if not (argument.strip().isascii() and argument.strip().isdecimal()):
            raise Error(Code.INVALID, "send PBSZ 0")
        self._has_size = True
        return say(200, "PBSZ=0")

    def prot(self, argument: str, *, must_be_private: bool) -> Reply:
        """Choose whether data is encrypted; not whether, if it *must_be_private*."""
        self._ask_for_tls()
        if not self._has_size:
            raise Error(Code.FAILED_PRECONDITION, "send PBSZ 0 first")
        match argument.strip().upper():
            case Protection.PRIVATE:
                self.is_private = True
            case Protection.CLEAR if must_be_private:
                return say(534, "Data must be encrypted here; send PROT P")
            case Protection.CLEAR:
                self.is_private = False
            case Protection.SAFE | Protection.CONFIDENTIAL:
                return say(536, "TLS knows PROT P and PROT C")
            case _:
                return say(504, "Send PROT P")
        return say(200, "Data is encrypted" if self.is_private else "Data is in clear")

    def ccc(self) -> Reply:
        """Refuse to speak in clear again: what follows would be anybody's."""
        return _STAYS if self.is_tls else _NOTHING_TO_CLEAR

    def features(self) -> tuple[str, ...]:
        """Return the lines of FEAT that are true here and now (RFC 4217 section 6)."""
        return ("AUTH TLS", "PBSZ", "PROT") if self._has_tls else ()

    def _ask_for_tls(self) -> None:
        if not self.is_tls:
            raise Error(Code.FAILED_PRECONDITION, "this connection is not encrypted")
