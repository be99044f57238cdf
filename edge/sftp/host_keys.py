"""The keys by which clients know a node's SFTP door again: made once, kept in its data folder.

The rule: a client that saw another key would warn of an attack; so they are made once for all
processes of the node, durable before anybody sees them, and only this user may read them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Final

from asyncssh import (
    SSHKey,
    generate_private_key,  # pyright: ignore[reportUnknownVariableType] - of any options
    import_private_key,
)

from zentransfer.disk import Disk, read_all, write_atomic

_LOCK: Final = "making"
_FILE_BYTES_MAX: Final = 16_384  # bytes: a key of RSA 3072 has some 2,600
_ED25519: Final = "ssh-ed25519"
_RSA: Final = "ssh-rsa"
_RSA_BITS: Final = 3_072  # as of OpenSSH's ssh-keygen


async def host_keys(disk: Disk) -> list[SSHKey]:
    """Return the keys in the folder *disk*, Ed25519 before RSA; makes those that are missing.

    Files are 0600.  Raises ``OSError``, and ``ValueError`` for one that cannot be read.
    """
    # RSA keys take some 0.15 s to check and up to seconds to make: not in the loop.
    with ThreadPoolExecutor(1, "host-keys") as thread:
        async with disk.lock(_LOCK):
            return [
                await _key(disk, thread, "ed25519.key", partial(generate_private_key, _ED25519)),
                await _key(
                    disk, thread, "rsa.key", partial(generate_private_key, _RSA, key_size=_RSA_BITS)
                ),
            ]


async def _key(disk: Disk, thread: Executor, name: str, make: Callable[[], SSHKey]) -> SSHKey:
    loop = asyncio.get_running_loop()
    if not disk.exists(name):
        made = await loop.run_in_executor(thread, make)
        await write_atomic(disk, name, made.export_private_key("openssh"))
    content = read_all(disk, name, _FILE_BYTES_MAX)
    return await loop.run_in_executor(thread, import_private_key, content)
