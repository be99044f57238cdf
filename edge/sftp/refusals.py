"""What the SFTP door says when something fails: a status and a sentence.  Pure.

The rule: the sentence is that of the error table, for every door; the status is one of SFTP's
version 3 (draft-ietf-secsh-filexfer-02), which has few: what a client must not try again is
refused as permission, what may heal as failure.
"""

from typing import Final

from zentransfer.errors import Code, Error, ftp_line

NO_SUCH_FILE: Final = 2
PERMISSION_DENIED: Final = 3
FAILURE: Final = 4
BAD_MESSAGE: Final = 5

_STATUS: Final = {
    Code.NOT_FOUND: NO_SUCH_FILE,
    Code.GONE: NO_SUCH_FILE,
    Code.FORBIDDEN: PERMISSION_DENIED,
    Code.UNAUTHENTICATED: PERMISSION_DENIED,
    Code.METHOD_NOT_ALLOWED: PERMISSION_DENIED,
    Code.MISDIRECTED: PERMISSION_DENIED,
    Code.INVALID: BAD_MESSAGE,
}
_OTHER_WORDS: Final = {
    Code.PEER_GONE: "The file was cut and nothing of it is kept; send it again",
}
_AFTER_CODE: Final = 4  # characters: three digits and a space begin a line of FTP


def status(error: Error) -> int:
    """Return the status of *error*."""
    return _STATUS.get(error.code, FAILURE)


def text(error: Error) -> str:
    """Return the sentence of *error*."""
    words = _OTHER_WORDS.get(error.code)
    return words if words is not None else ftp_line(error)[_AFTER_CODE:]
