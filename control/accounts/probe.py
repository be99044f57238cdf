"""Try a destination before a file depends on it.

The rule: the answer is a word of the shared error table and a sentence that says what to do; what
the trial leaves behind is nothing.
"""

import asyncio
import errno
import os
import secrets
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from control.accounts.destinations import Destination, DestinationKind
from control.unit_of_work import Database
from zentransfer.errors import Code
from zentransfer.ids import Region
from zentransfer.limits import PROBE_S


@dataclass(frozen=True, slots=True)
class Probed:
    """How a trial went: fine if there is no code, else why and what to do.

    What was not ``tried`` was only looked at.
    """

    code: Code | None = None
    detail: str = ""
    tried: bool = True


class Probe(Protocol):
    """Tries destinations."""

    async def __call__(self, destination: Destination, /) -> Probed:
        """Try to put something there, and take it away again; never raises for what it finds."""
        ...


class Probes:
    """Tries each kind as it can be tried from here."""

    def __init__(self, folders: Probe, buckets: Probe) -> None:
        """Let each kind be tried by its own."""
        self._folders = folders
        self._buckets = buckets

    async def __call__(self, destination: Destination, /) -> Probed:
        """Try *destination* as its kind asks for."""
        is_bucket = destination.kind is DestinationKind.S3
        return await (self._buckets if is_bucket else self._folders)(destination)


class BucketProbe:
    """Looks at what is known here of a bucket.  Control dials no address that an owner gives.

    The nodes do, each behind its guard, and tell how it went with the first delivery.
    """

    def __init__(self, database: Database) -> None:
        """Look into *database*."""
        self._database = database

    async def __call__(self, destination: Destination, /) -> Probed:
        """Say whether the nodes of every region where its account may send have its key."""
        async with self._database.read() as uow:
            account = await uow.accounts.maybe_account(destination.account_id)
            pin = None if account is None else account.pin
            regions = [pin] if pin is not None else list(Region)
            lacking = [one for one in regions if await uow.region_keys.maybe(one) is None]
        if lacking:
            detail = f"no delivery process of {', '.join(lacking)} has linked yet; try again later"
            return Probed(Code.UNAVAILABLE, detail, tried=False)
        detail = "not tried from here: only the nodes dial it, with the first delivery"
        return Probed(None, detail, tried=False)


class FolderProbe:
    """Tries folders from this machine, which is right where control and the node share it."""

    def __init__(self, threads: Executor) -> None:
        """Use *threads* for the calls that a dead network mount would hang in."""
        self._threads = threads

    async def __call__(self, destination: Destination, /) -> Probed:
        """Make a file in the folder, write to it and remove it."""
        if destination.kind is not DestinationKind.FOLDER:
            return Probed(Code.INVALID, "destinations of this kind cannot be tried yet")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PROBE_S):
                return await loop.run_in_executor(self._threads, _tried, destination.address)
        except TimeoutError:
            return Probed(Code.TIMEOUT, "the folder did not answer in time; is it a dead mount?")


_WHY: Final = {
    errno.ENOENT: (Code.NOT_FOUND, "the folder does not exist; make it, or correct the address"),
    errno.ENOTDIR: (Code.INVALID, "that is a file, not a folder; correct the address"),
    errno.EACCES: (Code.FORBIDDEN, "we may not write there; give this system's user the right"),
    errno.EPERM: (Code.FORBIDDEN, "we may not write there; give this system's user the right"),
    errno.EROFS: (Code.FORBIDDEN, "the folder is on a read-only file system"),
    errno.ENOSPC: (Code.INSUFFICIENT_STORAGE, "the disk there is full; make room"),
    errno.EDQUOT: (Code.INSUFFICIENT_STORAGE, "the quota there is used up; make room"),
}


def _tried(folder: str) -> Probed:
    name = os.path.join(folder, f".zentransfer-{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"a trial of this destination; it may be removed\n")
        finally:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(name)
    except OSError as failed:
        unknown = (Code.UNAVAILABLE, "the folder cannot be written to for now")
        return Probed(*_WHY.get(failed.errno or 0, unknown))
    return Probed()
