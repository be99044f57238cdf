"""What the FTP door says: each reply once, with the code that cameras act on.  Pure.

The rules: a reply is one line but where RFC 2389 wants several; what fails for a reason of the
error table is said with that table's code; and no reply holds an inner name.
"""

from typing import Final, NamedTuple

from zentransfer.errors import Code, Error, ftp_line

_CODE_CHARS: Final = 3


class Reply(NamedTuple):
    """One reply: its code, its lines of text, and whether the connection ends with it."""

    code: int
    lines: tuple[str, ...]
    ends: bool = False


def say(code: int, text: str) -> Reply:
    """Return the reply *code* with one line."""
    return Reply(code, (text,))


GREETING: Final = say(220, "ZenTransfer")
NO_ROOM: Final = Reply(421, ("This node is full for now; try again later",), ends=True)
FULL: Final = Reply(421, ("Too many connections; try again later",), ends=True)
LEAVING: Final = Reply(421, ("Service restarting, reconnect",), ends=True)
LATE: Final = Reply(421, ("Idle for too long; connect again",), ends=True)
SHUT_OUT: Final = Reply(421, ("Too many wrong passwords came; try again later",), ends=True)
TOO_MANY_SESSIONS: Final = Reply(
    421, ("Too many connections with this credential; try again later",), ends=True
)
CUT_BY_DRAIN: Final = say(426, "Service restarting; go on where SIZE says, or send it again")
RENAMED: Final = say(250, "Renamed")
DELETED: Final = say(250, "Deleted")
NO_CLIENT: Final = Reply(421, ("Too many commands that are none",), ends=True)
FAULT: Final = Reply(421, ("Something failed on our side; try again later",), ends=True)
GOODBYE: Final = Reply(221, ("Goodbye",), ends=True)
TOO_LONG: Final = say(500, "The line is too long")
SIGN_IN: Final = say(530, "Sign in first, with USER and PASS")
OPENING: Final = say(150, "Ready for data")
STORED: Final = say(226, "Stored")
LISTED: Final = say(226, "Listed")
ABORTED: Final = say(226, "Abort successful")
NOT_ABORTED: Final = say(226, "Nothing to abort")
NO_DATA: Final = say(425, "No data connection; send PASV or EPSV, connect, and try again")
NO_PORT: Final = say(425, "No data port is free; try again")
NOT_ACTIVE: Final = say(502, "Use passive mode")
PASSIVE_ALL: Final = say(200, "EPSV only from now on")
OTHER_FAMILY: Final = say(522, "Network protocol not supported")


# The table speaks of what programs do; a camera has SIZE and REST, or sends the file again.
_IN_OTHER_WORDS: Final = {
    Code.PEER_GONE: "The file was cut; go on where SIZE says, or send it again",
    Code.OFFSET_MISMATCH: "This is not where the kept part ends; ask SIZE, or send all of it",
    Code.CONFLICT: "This folder exists already: File exists",
}


def refusal(error: Error) -> Reply:
    """Return what says *error*; a node that leaves says it as the connection's last word."""
    if error.code in _IN_OTHER_WORDS:
        return say(error.reply.ftp, _IN_OTHER_WORDS[error.code])
    is_leaving = error.code is Code.DRAINING
    return _line(ftp_line(error, closing=is_leaving), ends=is_leaving)


def not_signed_in(error: Error) -> Reply:
    """Return what says that signing in failed with *error*.

    530 halts a camera until somebody edits its profile: so only for what editing cures.
    """
    if error.reply.temporary:
        return _line(ftp_line(error, closing=True), ends=True)
    return say(530, ftp_line(error)[_CODE_CHARS + 1 :])


def passive(host: str, port: int) -> Reply:
    """Return where the data connection goes, *host* in IPv4 (RFC 959): one line, parentheses."""
    address = ",".join([*host.split("."), str(port >> 8), str(port & 0xFF)])
    return say(227, f"Entering Passive Mode ({address})")


def extended_passive(port: int) -> Reply:
    """Return the port of the data connection (RFC 2428)."""
    return say(229, f"Entering Extended Passive Mode (|||{port}|)")


def _line(line: str, *, ends: bool) -> Reply:
    return Reply(int(line[:_CODE_CHARS]), (line[_CODE_CHARS + 1 :],), ends)
