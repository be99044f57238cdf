"""One client's session: who signed in, where it is, and the answers that need no socket.  Pure.

The rules: what a client must do first is asked here and nowhere else; nothing that USER or a wrong
password does takes anything from others; a REST is forgotten only by the transfer that it is for,
because a tail that is stored as a whole file is a lost file; and a transfer is whole only by
:func:`is_whole`.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from edge.ftp.listing import FACTS
from edge.ftp.paths import ROOT, Folder, file_name, folder_at, path_at, quoted
from edge.ftp.replies import GREETING, NOT_ACTIVE, Reply, say
from edge.ftp.view import View
from zentransfer.credential import Shown, parse_shown
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_FAULTS_MAX, FTP_LOGIN_TRIES_MAX
from zentransfer.sealed_name import FileName

OPEN_TO_ALL: Final = frozenset(
    {
        *("USER", "PASS", "ACCT", "QUIT", "REIN", "SYST", "FEAT", "OPTS", "NOOP", "HELP", "STAT"),
        *("CLNT", "ABOR", "HOST", "LANG", "SITE", "AUTH", "PBSZ", "PROT", "CCC"),
    }
)
"""What may be said before signing in."""

NOT_FTP: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"))
"""A browser was turned on us: nothing of it is answered (ALPACA, usenix.org 2021)."""

FEATURES: Final = (
    *("EPSV", "PASV", "UTF8", "TVFS", "SIZE", "MDTM", "MFMT", "REST STREAM", "LANG EN*"),
    f"MLST {''.join(f'{fact}*;' for fact in FACTS)}",
)
"""What FEAT lists (RFC 2389): only what works here and now."""

_NUMBER: Final = re.compile("[0-9]{1,18}")
_ALLO: Final = re.compile("([0-9]{1,18})(?: +R +[0-9]{1,18})?", re.IGNORECASE)
_UTF8: Final = re.compile("UTF-?8(?: .*)?", re.IGNORECASE)
_MLST: Final = re.compile("MLST(?: +([a-z;.]*))?", re.IGNORECASE)


def _nowhere() -> int:
    return 0


class Session:
    """What one control connection has said so far."""

    def __init__(self) -> None:
        self.shown: Shown | None = None
        """What it signed in with, once that was right."""
        self.view = View(_nowhere)
        """The files and folders that it may look at: those of its credential."""
        self.announced: int | None = None
        """The size in bytes that ALLO gave for the next file."""
        self.restart: int | None = None
        """Where the next transfer goes on, in bytes, if REST said so."""
        self.sized: tuple[Folder, int] | None = None
        """The file of which SIZE was told last, and that size in bytes."""
        self.renaming: Folder | None = None
        """What RNFR named, for the RNTO right after it."""
        self.is_epsv_only = False
        self.enters_any = True
        """Whether it may enter folders that nobody made."""
        self.features: tuple[str, ...] = ()
        """What this connection can do beside :data:`FEATURES`."""
        self._name: str | None = None
        self._tries = 0
        self._faults = 0
        self._folder: Folder = ROOT

    @property
    def is_signed_in(self) -> bool:
        """Say whether a right password was given since the last USER."""
        return self.shown is not None

    @property
    def folder(self) -> Folder:
        """Where it is."""
        return self._folder

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

    def path(self, path: str) -> Folder:
        """Return the parts of *path*, seen from where it is; raises ``Error(INVALID)``."""
        return path_at(self._folder, path)

    def file(self, path: str) -> FileName:
        """Return the name of the file at *path*; raises ``Error(INVALID)``."""
        return file_name(self._folder, path)

    def take_announced(self) -> int | None:
        """Return what ALLO announced, which is good for one file."""
        announced, self.announced = self.announced, None
        return announced

    def take_restart(self) -> int | None:
        """Return what REST said, which is good for one transfer."""
        restart, self.restart = self.restart, None
        return restart

    def take_sized(self, path: Folder) -> int | None:
        """Return what SIZE told of the file at *path*, which is good for one transfer."""
        sized, self.sized = self.sized, None
        return sized[1] if sized is not None and sized[0] == path else None

    # -- verbs -----------------------------------------------------------------------------------

    def user(self, argument: str) -> Reply:
        """331 for every name: who knows names learns nothing (RFC 2577 section 6)."""
        self._forget()
        self._name = argument
        return say(331, "Send the password")

    def rein(self, _: str) -> Reply:
        """Begin anew, as after the greeting (RFC 959 section 4.1.1)."""
        self._forget()
        self._name = None
        self.is_epsv_only = False
        return GREETING

    def feat(self, _: str) -> Reply:
        """List what works here and now (RFC 2389)."""
        return Reply(211, ("Features:", *FEATURES, *self.features, "End"))

    def cwd(self, argument: str) -> Reply:
        """Enter a folder.

        It need not have been made: a camera that made it yesterday believes that it is there.
        Where that is not wanted, one that was not is 550, and clients then MKD.
        """
        folder = folder_at(self._folder, argument)
        if not self.enters_any and not self.view.is_folder(folder):
            raise Error(Code.NOT_FOUND, "MKD makes the folder")
        self._folder = folder
        return say(250, "This is the folder")

    def cdup(self, _: str) -> Reply:
        """Go up one folder."""
        return self.cwd("..")

    def pwd(self, _: str) -> Reply:
        """Say where it is."""
        return say(257, quoted(self._folder))

    def allo(self, argument: str) -> Reply:
        """Keep the size; the code is 200, since cameras leave at 202."""
        match = _ALLO.fullmatch(argument.strip())
        if match is None:
            raise Error(Code.INVALID, "send the size in bytes")
        self.announced = int(match[1]) or None
        return say(200, "Noted")

    def rest(self, argument: str) -> Reply:
        """Take note where the next transfer begins; the transfer says whether it may."""
        if not _NUMBER.fullmatch(argument.strip()):
            raise Error(Code.INVALID, "send the offset in bytes")
        self.restart = int(argument)
        return say(350, f"Begins at {self.restart}")

    def _forget(self) -> None:
        self.shown = None
        self.view = View(_nowhere)
        self.announced = self.restart = self.renaming = self.sized = None
        self._folder = ROOT


def is_whole(received: int, announced: int | None, *, is_alone: bool, before: int = 0) -> bool:
    """Say whether a transfer that ended with a FIN, and no ABOR, is a whole file.

    A FIN is also what a killed client sends.  So one whose control connection is gone, without a
    QUIT (*is_alone*), is believed only if as many bytes came as ALLO announced; and with fewer it
    is cut in any case.  Where *before* bytes came in an earlier transfer, ALLO may mean the rest or
    all of it.  Sizes in bytes.
    """
    if announced is None:
        return not is_alone
    return received >= announced or (before > 0 and before + received == announced)


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
    """UTF8 is on always; MLST's facts are what they are (RFC 3659 section 7.9)."""
    if _UTF8.fullmatch(argument):
        return say(200, "Names are UTF-8")
    if (match := _MLST.fullmatch(argument)) is not None:
        wanted = {fact.lower() for fact in (match[1] or "").split(";")}
        return say(200, f"MLST OPTS {''.join(f'{fact};' for fact in FACTS if fact in wanted)}")
    raise Error(Code.INVALID, "there is no such option")


def _site(_: Session, argument: str) -> Reply:
    if argument.strip().upper() != "HELP":
        raise Error(Code.METHOD_NOT_ALLOWED)
    return say(214, "SITE knows HELP only")


def _lang(_: Session, argument: str) -> Reply:
    """English only (RFC 2640 section 4.1)."""
    if argument.strip().upper().partition("-")[0] not in ("", "EN"):
        raise Error(Code.UNSUPPORTED_MEDIA)
    return say(200, "Replies are in English")


_UNKNOWN: Final = _never(Code.NOT_FOUND, "this is not known of a file")

RULES: Final[Mapping[str, Callable[[Session, str], Reply]]] = MappingProxyType(
    {
        "USER": Session.user,
        "ACCT": _always(say(202, "No account is needed")),
        "REIN": Session.rein,
        "SYST": _always(say(215, "UNIX Type: L8")),
        "FEAT": Session.feat,
        "OPTS": _opts,
        "NOOP": _always(say(200, "Here")),
        "HELP": _always(say(214, "Help is on your account page")),
        "SITE": _site,
        "CLNT": _always(say(200, "Welcome")),
        "LANG": _lang,
        "HOST": _always(say(220, "This host serves all names")),
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
        "PORT": _always(NOT_ACTIVE),
        "EPRT": _always(NOT_ACTIVE),
        "HASH": _UNKNOWN,
        "XCRC": _UNKNOWN,
        "XMD5": _UNKNOWN,
    }
)
"""The verbs that are answered from the session alone; each rule may raise ``Error``."""
