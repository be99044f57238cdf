"""One line of a protocol trace on its way to control, sealed as names of files are.  Pure.

The rule: such a line names files, so it leaves the node only sealed to its account's public key
(HPKE as in ``sealed_name``), bound to account and credential; and it is kept nowhere but in memory.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID
from zentransfer.limits import TRACE_LINE_BYTES_MAX
from zentransfer.sealed_name import OVERHEAD_BYTES, SUITE

SEALED_LINE_BYTES_MAX: Final = TRACE_LINE_BYTES_MAX + OVERHEAD_BYTES
_INFO: Final = b"zentransfer trace line 1\x00"


def seal(public_key: bytes, account: AccountID, credential: CredentialID, line: str) -> bytes:
    """Return *line* sealed to *public_key* (raw X25519); one that is too long is cut at its end.

    Raises ``ValueError`` for a key that is none.
    """
    key = X25519PublicKey.from_public_bytes(public_key)
    cut = line.encode(errors="replace")[:TRACE_LINE_BYTES_MAX]
    return SUITE.encrypt(cut, key, _info(account, credential))


def open_sealed(
    private_key: X25519PrivateKey, account: AccountID, credential: CredentialID, sealed: bytes
) -> str:
    """Return the line in *sealed*; raises ``Error(DAMAGED)`` if it is not that credential's."""
    try:
        found = SUITE.decrypt(sealed, private_key, _info(account, credential))
    except (InvalidTag, ValueError) as wrong:
        raise Error(Code.DAMAGED, "the line cannot be opened") from wrong
    return found.decode(errors="ignore")


def _info(account: AccountID, credential: CredentialID) -> bytes:
    return _INFO + f"{account}\0{credential}".encode()
