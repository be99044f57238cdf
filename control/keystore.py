"""Keys that must not be in the database: of accounts, of regions' verifiers, of addresses.

The rule: a key is durable before anything is sealed to it, each has a file of its own (0600), and
none is ever in a backup of the database.  So destroying an account's one file makes its name, its
addresses and the names of its files unreadable, in every copy.
"""

import hmac
import unicodedata
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zentransfer import sealed_line
from zentransfer.credential import (
    PEPPER_FILE_BYTES,
    Pepper,
    make_pepper,
    parse_pepper_file,
    pepper_file,
)
from zentransfer.disk import Disk, make_durable_folder, read_all, write_atomic
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, RandomBytes, Region, UploadID
from zentransfer.limits import ACCOUNT_KEYS_CACHED_MAX
from zentransfer.sealed_name import FileName, open_sealed

_ACCOUNTS: Final = "accounts"
_PEPPERS: Final = "peppers"
_ADDRESSES: Final = "addresses.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_COLUMNS_INFO: Final = b"zentransfer control columns 1"


class PublicKey:
    """The half of an account's key that nodes get: raw X25519, 32 bytes, named by its digest."""

    __slots__ = ("key", "kid")

    def __init__(self, key: bytes) -> None:
        digest = hashes.Hash(hashes.SHA256())
        digest.update(key)
        self.kid: Final = digest.finalize()[:8].hex()
        self.key: Final = key


class _Keys:
    """Both keys of an account: one opens names, the other seals columns."""

    __slots__ = ("columns", "names", "public")

    def __init__(self, private: bytes) -> None:
        self.names = X25519PrivateKey.from_private_bytes(private)
        self.public = PublicKey(self.names.public_key().public_bytes_raw())
        self.columns = AESGCM(HKDF(hashes.SHA256(), 32, None, _COLUMNS_INFO).derive(private))


class KeyStore:
    """The keys on one disk; made by :func:`open_keystore`."""

    def __init__(self, disk: Disk, random_bytes: RandomBytes, addresses: bytes) -> None:
        self._disk = disk
        self._random_bytes = random_bytes
        self._addresses = addresses
        self._cached = OrderedDict[AccountID, _Keys]()
        self._peppers: dict[Region, Pepper] = {}

    async def make_account(self, account: AccountID) -> PublicKey:
        """Make the key of *account*, durably, and return its public half; again, the same one."""
        path = _path(account)
        if not self._disk.exists(path):
            await write_atomic(self._disk, path, self._random_bytes(_KEY_BYTES))
        return self.public(account)

    def public(self, account: AccountID) -> PublicKey:
        """Return the public half of an account's key; raises ``Error(GONE)`` once destroyed."""
        return self._keys(account).public

    def open_name(self, account: AccountID, upload: UploadID, sealed: bytes) -> FileName:
        """Open a file's name for a member of *account*; raises ``Error``: GONE, DAMAGED."""
        return open_sealed(self._keys(account).names, account, upload, sealed)

    def open_line(self, account: AccountID, credential: CredentialID, sealed: bytes) -> str:
        """Open a line of a trace for a member of *account*; raises ``Error``: GONE, DAMAGED."""
        return sealed_line.open_sealed(self._keys(account).names, account, credential, sealed)

    def seal(self, account: AccountID, column: str, plain: bytes) -> bytes:
        """Seal a value for one *column*; raises ``Error(GONE)``."""
        nonce = self._random_bytes(_NONCE_BYTES)
        return nonce + self._keys(account).columns.encrypt(nonce, plain, column.encode())

    def unseal(self, account: AccountID, column: str, sealed: bytes) -> bytes:
        """Open a sealed value of that *column*; raises ``Error``: GONE, DAMAGED."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._keys(account).columns.decrypt(nonce, rest, column.encode())
        except (InvalidTag, ValueError) as wrong:
            raise Error(Code.DAMAGED, "a sealed value cannot be opened") from wrong

    async def destroy_account(self, account: AccountID) -> None:
        """Destroy the key of *account*, durably; what was sealed to it stays shut.  Idempotent.

        It is overwritten first: a name that is gone leaves the bytes where they were.
        """
        self._cached.pop(account, None)
        with suppress(FileNotFoundError):
            file = self._disk.open(_path(account), write=True)
            try:
                file.write_at(bytes(_KEY_BYTES), 0)
                await file.flush()
            finally:
                file.close()
            self._disk.unlink(_path(account))
        await self._disk.flush_folder(_ACCOUNTS)

    async def pepper(self, region: Region) -> Pepper:
        """Return the region's pepper, made at the first call."""
        if region not in self._peppers:
            path = f"{_PEPPERS}/{region}"
            if not self._disk.exists(path):
                await write_atomic(self._disk, path, pepper_file(make_pepper(self._random_bytes)))
            self._peppers[region] = parse_pepper_file(read_all(self._disk, path, PEPPER_FILE_BYTES))
        return self._peppers[region]

    def address_hash(self, email: str) -> bytes:
        """Return the keyed hash by which an e-mail address is looked up."""
        normal = unicodedata.normalize("NFC", email).strip().casefold()
        return hmac.digest(self._addresses, normal.encode(), "sha256")

    def _keys(self, account: AccountID) -> _Keys:
        keys = self._cached.get(account)
        if keys is None:
            keys = self._cached[account] = _Keys(self._private(account))
            if len(self._cached) > ACCOUNT_KEYS_CACHED_MAX:
                self._cached.popitem(last=False)
        self._cached.move_to_end(account)
        return keys

    def _private(self, account: AccountID) -> bytes:
        try:
            key = read_all(self._disk, _path(account), _KEY_BYTES)
        except FileNotFoundError as gone:
            raise Error(Code.GONE, "the account's key is gone") from gone
        if not any(key):  # its destruction was cut short, half-way between bytes and name
            raise Error(Code.GONE, "the account's key is gone")
        return key


async def open_keystore(disk: Disk, random_bytes: RandomBytes) -> KeyStore:
    """Return the store in the root of *disk*, made when it is empty; raises ``OSError``."""
    for folder in (_ACCOUNTS, _PEPPERS):
        await make_durable_folder(disk, folder)
    if not disk.exists(_ADDRESSES):
        await write_atomic(disk, _ADDRESSES, random_bytes(_KEY_BYTES))
    return KeyStore(disk, random_bytes, read_all(disk, _ADDRESSES, _KEY_BYTES))


def _path(account: AccountID) -> str:
    return f"{_ACCOUNTS}/{account}"
