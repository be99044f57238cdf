"""Where an account wants its files, and which of them can be had.  Pure.

The rule: a kind that is not offered yet is refused when the destination is made, by name, and not
when the first file waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from control.accounts.buckets import bucket_address
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, DestinationID
from zentransfer.limits import DESTINATION_ADDRESS_CHARS_MAX


class DestinationKind(StrEnum):
    """How a destination is spoken to."""

    FOLDER = "folder"
    S3 = "s3"
    GCS = "gcs"
    AZURE = "azure"
    SFTP = "sftp"
    FTP = "ftp"
    WEBDAV = "webdav"
    DROPBOX = "dropbox"
    GOOGLE_DRIVE = "google_drive"
    ONEDRIVE = "onedrive"
    WEBHOOK = "webhook"
    EMAIL = "email"


OFFERED: Final = frozenset({DestinationKind.FOLDER, DestinationKind.S3})


class Clash(StrEnum):
    """What happens when another file has the name at the destination."""

    KEEP_BOTH = "keep_both"
    REPLACE = "replace"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Destination:
    """One place for an account's files; *version* grows with each change.

    ``address`` is a folder's absolute path on the region's machines for kind ``folder``, and
    ``s3://bucket/prefix`` for kind ``s3``; that one has also a server (``endpoint``), the server's
    word for the bucket's place (``store_region``), and a secret, sealed to its account.
    """

    id: DestinationID
    account_id: AccountID
    version: int
    kind: DestinationKind
    label: str
    address: str
    clash: Clash
    created_ms: int
    endpoint: str | None = None
    store_region: str | None = None
    secret_sealed: bytes | None = field(default=None, repr=False)


def address(kind: DestinationKind, text: str, folder_roots: Sequence[str]) -> str:
    """Return *text* as the address of a destination of *kind*; raises ``Error(INVALID)``.

    A folder is an absolute path at or below one of *folder_roots*, which the operator sets: the
    machines are shared, and an account's files go nowhere else on them.
    """
    if kind not in OFFERED:
        offered = " or ".join(sorted(OFFERED))
        raise Error(Code.INVALID, f"destinations of kind {kind} are not offered yet; use {offered}")
    if kind is DestinationKind.S3:
        return bucket_address(text)
    if not 0 < len(text) <= DESTINATION_ADDRESS_CHARS_MAX or not text.isprintable():
        raise Error(Code.INVALID, "the address is empty, too long or not printable")
    path = PurePosixPath(text)
    if not path.is_absolute() or text.startswith("//") or ".." in path.parts:
        raise Error(Code.INVALID, "a folder's address is an absolute path without '..'")
    if not any(path.is_relative_to(root) for root in folder_roots):
        raise Error(Code.INVALID, "that folder is outside those that this system delivers to")
    return str(path)
