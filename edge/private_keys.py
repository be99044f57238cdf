"""The half of a region's keys that opens: made once, kept in a folder that only delivery reads.

The rule: ingest does not import this module, and its process may not read this folder.
"""

import json
from base64 import b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.keys import KEY_BYTES, PRIVATE_FOLDER, PUBLIC_FILE, PUBLIC_FOLDER, SUITE
from edge.seal.broken import Broken, Reason
from edge.seal.header import Header
from zentransfer.disk import Disk, make_durable_folder, read_all, write_atomic
from zentransfer.ids import RandomBytes, Region

ROOT_FOLDER: Final = "root"

_ROOT_FILE: Final = f"{ROOT_FOLDER}/region.key"
_LOCK_FILE: Final = "making"


class KeyFiles:
    """An :class:`edge.keys.OpenKey` over key files, one for each kid."""

    def __init__(self, disk: Disk) -> None:
        """Stand on the folder that ``make_region_keys`` filled; reads it when asked."""
        self._disk = disk

    async def open(self, header: Header) -> bytes:
        """Return the data key of the segment with this *header*; see ``OpenKey``."""
        try:
            key = _read(self._disk, _content_file(header.place.kid))
            return SUITE.decrypt(header.sealed_dek, key, info=header.place.info())
        except (FileNotFoundError, InvalidTag, ValueError) as wrong:
            raise Broken(Reason.KEY) from wrong

    def destination_key(self, kid: str) -> X25519PrivateKey:
        """Return the key that opens destination secrets; raises ``OSError``."""
        return _read(self._disk, _destination_file(kid))

    def root_key(self) -> Ed25519PrivateKey:
        """Return the region's root key, which signs deletion receipts; raises ``OSError``."""
        return Ed25519PrivateKey.from_private_bytes(read_all(self._disk, _ROOT_FILE, KEY_BYTES))


async def make_region_keys(disk: Disk, region: Region, kid: str, random_bytes: RandomBytes) -> None:
    """Make the keys of *region* in the folder *disk*, unless they are there; durable on return.

    ``public/`` is for ingest and delivery, ``private/`` for delivery alone, ``root/`` for whoever
    signs the next month's keys.  Files are 0600 in folders 0700.  Raises ``OSError``.
    """
    async with disk.lock(_LOCK_FILE):
        # The public file is written last: while it is missing, nothing was sealed to any key.
        if disk.exists(PUBLIC_FILE):
            return
        content, destination, root = (random_bytes(KEY_BYTES) for _ in range(3))
        for folder in (PRIVATE_FOLDER, ROOT_FOLDER, PUBLIC_FOLDER):
            await make_durable_folder(disk, folder)
        await write_atomic(disk, _content_file(kid), content)
        await write_atomic(disk, _destination_file(kid), destination)
        await write_atomic(disk, _ROOT_FILE, root)
        table = {
            "region": region,
            "kid": kid,
            "content": _public(content),
            "destination": _public(destination),
            "destination_kid": kid,
            "metadata_kid": kid,
            "metadata": {kid: _text(random_bytes(KEY_BYTES))},
            "origin": _text(random_bytes(KEY_BYTES)),
            "root": _text(
                Ed25519PrivateKey.from_private_bytes(root).public_key().public_bytes_raw()
            ),
        }
        await write_atomic(disk, PUBLIC_FILE, json.dumps(table, indent=1).encode())


def _content_file(kid: str) -> str:
    return f"{PRIVATE_FOLDER}/content-{_checked(kid)}.key"


def _destination_file(kid: str) -> str:
    return f"{PRIVATE_FOLDER}/destination-{_checked(kid)}.key"


def _checked(kid: str) -> str:
    """Return *kid* if it can be a part of a file's name; it may come from a stranger's header."""
    if not kid or not kid.isascii() or not kid.replace("-", "").isalnum():
        raise ValueError("that is not the id of a key")
    return kid


def _read(disk: Disk, path: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(read_all(disk, path, KEY_BYTES))


def _public(key: bytes) -> str:
    return _text(X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw())


def _text(key: bytes) -> str:
    return b64encode(key).decode("ascii")
