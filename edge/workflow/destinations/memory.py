"""A destination in memory, for simulations: what a remote place does, without its network.

The rule: it outlives the processes that put things there, as a remote place does, and shows what is
whole only.
"""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from random import Random
from typing import Final

from edge.snapshot import Clash
from edge.workflow.destinations.base import (
    Abilities,
    DestinationError,
    Fault,
    RemoteName,
    RemoteRef,
)
from edge.workflow.destinations.naming import checked_name, numbered, part_name
from zentransfer.errors import Code, Error
from zentransfer.limits import DELIVERY_CLASHES_MAX

_STEP_S: Final = (0.0, 0.05)  # seconds: one exchange with a place that is not far


class MemoryDestination:
    """A :class:`edge.workflow.destinations.base.Destination` that is a table of names.

    ``objects`` are what anybody sees there, by path; ``parts`` are what is on its way.
    """

    abilities = Abilities(resume=False, remote_digest=True, create_only=True, atomic=True)

    def __init__(self, random: Random, clash: Clash = Clash.KEEP_BOTH) -> None:
        """Start empty; *random* decides how long each step takes."""
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, bytearray] = {}
        self._random = random
        self._clash = clash

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        """Let the object be there; see ``Destination``."""
        del resume_ref
        folder = _folder(name)
        await self._step()
        for fence in range(1, name.fence + 1):
            self.parts.pop(folder + part_name(name, fence), None)
        found = self._find(folder, name.name, size, digest)
        if found:
            return RemoteRef(str(found), size, digest)
        part = folder + part_name(name, name.fence)
        self.parts[part] = bytearray()
        try:
            async for view in content:
                self.parts[part] += view
                await self._step()
            whole = bytes(self.parts[part])
            if len(whole) != size or digest not in (None, sha256(whole).digest()):
                raise DestinationError(
                    Code.CHECKSUM_MISMATCH, "other bytes than were announced", Fault.TEMPORARY
                )
            await self._step()
            number = self._place(folder, part, name.name, whole)
        except KeyError as cleared:
            raise DestinationError(Code.FENCED, "the part is gone", Fault.TEMPORARY) from cleared
        finally:
            self.parts.pop(part, None)
        await self._step()  # the answer's way back
        return RemoteRef(str(number), size, sha256(whole).digest())

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _find(self, folder: str, name: str, size: int, digest: bytes | None) -> int:
        """Return under which number this content is there already; 0 if it is not."""
        for number in range(1, 1 + DELIVERY_CLASHES_MAX):
            held = self.objects.get(folder + numbered(name, number))
            if held is None or digest is None:
                return 0
            if (len(held), sha256(held).digest()) == (size, digest):
                return number
        return 0

    def _place(self, folder: str, part: str, name: str, whole: bytes) -> int:
        """Give the part its name in one step, as a link does; returns its number."""
        del self.parts[part]  # another attempt may have cleared it: then it has no name to get
        for number in range(1, 1 + DELIVERY_CLASHES_MAX):
            path = folder + numbered(name, number)
            held = self.objects.get(path)
            if held is None or held == whole or self._clash is Clash.REPLACE:
                self.objects[path] = whole
                return number
            if self._clash is Clash.FAIL:
                break
        raise DestinationError(Code.CONFLICT, "another file has the name", Fault.OBJECT)

    async def _step(self) -> None:
        await asyncio.sleep(self._random.uniform(*_STEP_S))


def _folder(name: RemoteName) -> str:
    try:
        checked_name(name.name)
        return "".join(f"{checked_name(each)}/" for each in name.folder)
    except Error as wrong:
        raise DestinationError(wrong.code, wrong.detail, Fault.OBJECT) from wrong
