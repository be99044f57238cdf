"""One client's session: who signed in, where it is, and the answers that need no socket.  Pure.

The rules: what a client must do first is asked here and nowhere else; nothing that USER or a wrong
password does takes anything from others; and a transfer is whole only by :func:`is_whole`.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from edge.ftp.paths import ROOT, Folder, file_name, folder_at, quoted
from edge.ftp.replies import NOT_ACTIVE, Reply, say
from zentransfer.credential import Shown, parse_shown
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_FAULTS_MAX, FTP_FOLDERS_MAX, FTP_LOGIN_TRIES_MAX
from zentransfer.sealed_name import FileName

OPEN_TO_ALL: Final = frozenset(
    {
        *("USER", "PASS", "ACCT", "QUIT", "SYST", "FEAT", "OPTS", "NOOP", "HELP", "STAT", "CLNT"),
        *("ABOR", "PBSZ", "PROT"),
    }
)
"""What may be said before signing in."""

NOT_FTP: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"))
"""A browser was turned on us: nothing of it is answered (ALPACA, usenix.org 2021)."""

_NUMBER: Final = re.compile("[0-9]{1,18}")
_ALLO: Final = re.compile("([0-9]{1,18})(?: +R +[0-9]{1,18})?", re.IGNORECASE)
_UTF8: Final = re.compile("UTF-?8(?: .*)?", re.IGNORECASE)


class Session:
    """What one control connection has said so far."""

    def __init__(self) -> None:
        self.shown: Shown | None = None
        """What it signed in with, once that was right."""
        self.announced: int | None = None
        """The size in bytes that ALLO gave for the next file."""
        self.is_epsv_only = False
        self._name: str | None = None
        self._tries = 0
        self._faults = 0
        self._folder: Folder = ROOT
        self._made = dict[Folder, None]()

    @property
    def is_signed_in(self) -> bool:
        """Say whether a right password was given since the last USER."""
        return self.shown is not None

    def offered(self, password: str) -> Shown | None:
        """Return the credential in USER and PASS, ``None`` if it is none of ours.

        Raises ``Error(FAILED_PRECONDITION)`` without USER before it.
        """
        name, self._name = self._name, None
        if name is None:
            raise Error(Code.FAILED_PRECONDITION, "send USER first")
        try:
            return parse_shown(name, password)
        except Error:
            return None

    def signed_in(self, shown: Shown) -> Reply:
        """Go on as who showed *shown*, which is right."""
        self.shown = shown
        self._tries = 0
        return say(230, "Signed in")

    def failed(self, reply: Reply) -> Reply:
        """Count a wrong password, and return *reply*, or the last word after too many."""
        self._tries += 1
        if self._tries < FTP_LOGIN_TRIES_MAX:
            return reply
        return Reply(421, ("Too many wrong passwords; check the camera's profile",), ends=True)

    def faulty(self, reply: Reply) -> Reply | None:
        """Count a command that is none; returns *reply*, or ``None`` after too many in a row."""
        self._faults += 1
        return reply if self._faults < FTP_FAULTS_MAX else None

    def understood(self) -> None:
        """Begin to count anew: this one was a command."""
        self._faults = 0

    def file(self, path: str) -> FileName:
        """Return the name of the file at *path*; raises ``Error(INVALID)``."""
        return file_name(self._folder, path)

    def take_announced(self) -> int | None:
        """Return what ALLO announced, which is good for one file."""
        announced, self.announced = self.announced, None
        return announced

    # -- verbs -----------------------------------------------------------------------------------

    def user(self, argument: str) -> Reply:
        """331 for every name: who knows names learns nothing (RFC 2577 section 6)."""
        self.shown = None
        self._name = argument
        return say(331, "Send the password")

    def cwd(self, argument: str) -> Reply:
        """Enter a folder, which need not have been made."""
        self._folder = folder_at(self._folder, argument)
        return say(250, "This is the folder")

    def cdup(self, _: str) -> Reply:
        """Go up one folder."""
        return self.cwd("..")

    def pwd(self, _: str) -> Reply:
        """Say where it is."""
        return say(257, quoted(self._folder))

    def mkd(self, argument: str) -> Reply:
        """Make a folder, and those above it."""
        if not argument.strip() or ".." in argument.split("/"):
            raise Error(Code.INVALID, "name the folder; a name is more than dots")
        made = folder_at(self._folder, argument)
        if made == ROOT or made in self._made:
            raise Error(Code.CONFLICT, "File exists")
        for depth in range(1, len(made) + 1):
            self._made[made[:depth]] = None
        while len(self._made) > FTP_FOLDERS_MAX:
            del self._made[next(iter(self._made))]
        return say(257, f"{quoted(made)} created")

    def allo(self, argument: str) -> Reply:
        """Keep the size; the code is 200, since cameras leave at 202."""
        match = _ALLO.fullmatch(argument.strip())
        if match is None:
            raise Error(Code.INVALID, "send the size in bytes")
        self.announced = int(match[1]) or None
        return say(200, "Noted")

    def rest(self, argument: str) -> Reply:
        """Begin at 0; further on there is nothing that could be continued (RFC 1123, 4.1.3.4)."""
        if not _NUMBER.fullmatch(argument.strip()):
            raise Error(Code.INVALID, "send the offset in bytes")
        if int(argument):
            raise Error(Code.OFFSET_MISMATCH, "nothing is kept of this file")
        return say(350, "Begins at 0")


def is_whole(received: int, announced: int | None, *, is_alone: bool) -> bool:
    """Say whether a transfer that ended with a FIN, and no ABOR, is a whole file.

    A FIN is also what a killed client sends.  So one whose control connection is gone, without a
    QUIT (*is_alone*), is believed only if as many bytes came as ALLO announced; and with fewer it
    is cut in any case.  Sizes in bytes.
    """
    return not is_alone if announced is None else received >= announced


def _is_one_of(*values: str) -> Callable[[Session, str], Reply]:
    """Return the rule of a verb that has one value here, however it is written."""

    def rule(_: Session, argument: str) -> Reply:
        if " ".join(argument.upper().split()) not in values:
            raise Error(Code.UNSUPPORTED_MEDIA)
        return say(200, "As you say")

    return rule


def _always(reply: Reply) -> Callable[[Session, str], Reply]:
    return lambda _, __: reply


def _never(code: Code, detail: str = "") -> Callable[[Session, str], Reply]:
    def rule(_: Session, __: str) -> Reply:
        raise Error(code, detail)

    return rule


def _opts(_: Session, argument: str) -> Reply:
    if not _UTF8.fullmatch(argument):
        raise Error(Code.INVALID, "there is no such option")
    return say(200, "Names are UTF-8")


_NOTHING: Final = _never(Code.NOT_FOUND)
_CLEAR: Final = _never(Code.FAILED_PRECONDITION, "this connection is not encrypted")

RULES: Final[Mapping[str, Callable[[Session, str], Reply]]] = MappingProxyType(
    {
        "USER": Session.user,
        "ACCT": _always(say(202, "No account is needed")),
        "SYST": _always(say(215, "UNIX Type: L8")),
        "FEAT": _always(Reply(211, ("Features:", "EPSV", "PASV", "UTF8", "End"))),
        "OPTS": _opts,
        "NOOP": _always(say(200, "Here")),
        "HELP": _always(say(214, "Help is on your account page")),
        "STAT": _always(say(211, "All is well")),
        "CLNT": _always(say(200, "Welcome")),
        "TYPE": _is_one_of("I", "A", "A N", "L 8"),
        "MODE": _is_one_of("S"),
        "STRU": _is_one_of("F"),
        "ALLO": Session.allo,
        "REST": Session.rest,
        "PWD": Session.pwd,
        "XPWD": Session.pwd,
        "CWD": Session.cwd,
        "XCWD": Session.cwd,
        "CDUP": Session.cdup,
        "XCUP": Session.cdup,
        "MKD": Session.mkd,
        "XMKD": Session.mkd,
        # A client that looks back finds nothing: files are only passing through.
        "SIZE": _NOTHING,
        "MDTM": _NOTHING,
        "DELE": _NOTHING,
        "RMD": _NOTHING,
        "XRMD": _NOTHING,
        "RNFR": _NOTHING,
        "RETR": _never(Code.FORBIDDEN, "content is never served back"),
        "PORT": _always(NOT_ACTIVE),
        "EPRT": _always(NOT_ACTIVE),
        "PBSZ": _CLEAR,
        "PROT": _CLEAR,
    }
)
"""The verbs that are answered from the session alone; each rule may raise ``Error``."""
