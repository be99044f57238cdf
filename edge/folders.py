"""Making a folder so that it is there for good, or not at all."""

from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

from zentransfer.disk import Disk, make_durable_folder

_LOCK: Final = "folders.lock"


async def make_folder_for_good(disk: Disk, path: str) -> None:
    """Make a folder and those above it, durably; raises ``OSError``.

    A name whose flush failed is lost with the power although it is seen, and the next flush says
    ok.  So it is taken away again, and nobody makes another one in the same folder meanwhile.
    """
    async with disk.lock(_LOCK):
        try:
            await make_durable_folder(disk, path)
        except OSError:
            with suppress(OSError):  # what is in use is not empty, and stays
                for folder in (path, *map(str, PurePosixPath(path).parents)):
                    disk.remove_folder(folder)
            raise
