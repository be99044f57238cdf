"""A destination that is a bucket of S3, or of a server that speaks like it.

The rule: an object appears whole, by one request or by the completion of its parts, and says in its
metadata whose content it is; so a second attempt meets the first one's work and puts nothing twice.
What fits one request never takes a name from another (If-None-Match).  The library cannot say so of
what comes in parts: there a name is looked at once more before the last part, held against our own
other deliveries, and looked at again afterwards; another writer within that moment is not noticed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256

from edge.guard_proxy import Proxy
from edge.snapshot import Clash
from edge.workflow.destinations.base import (
    Abilities,
    DestinationError,
    Fault,
    RemoteName,
    RemoteRef,
)
from edge.workflow.destinations.s3_client import DELIVERY, DIGEST, Client, Found, Taken
from edge.workflow.destinations.s3_place import Bucket, ETag, key, part_bytes
from zentransfer.errors import Code, Error
from zentransfer.limits import DELIVERY_CLASHES_MAX, S3_PART_BYTES, S3_RETRIES
from zentransfer.sealed_secret import S3Secret


class S3Destination:
    """A :class:`edge.workflow.destinations.base.Destination` that is a bucket."""

    abilities = Abilities(resume=False, remote_digest=True, create_only=False, atomic=True)

    def __init__(
        self, where: Bucket, secret: S3Secret, proxy: Proxy, clash: Clash = Clash.KEEP_BOTH
    ) -> None:
        """Put objects into the bucket *where*, signed with *secret*, dialled by *proxy*."""
        self._where = where
        self._client = Client(where, secret, proxy)
        self._clash = clash
        self._names = _Names()
        self._puts = 0
        self._is_closed = False

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        """Let the object be there; see ``Destination``.

        Codes: FORBIDDEN for a refused key and a server in a private network, NOT_FOUND without the
        bucket, MISDIRECTED in another region, RATE_LIMITED and UNAVAILABLE for what heals.
        """
        del resume_ref  # parts are begun anew: the library cannot go on with another one's
        put = _Put(_Target(self._where, self._client, self._clash, name), size, digest)
        first = put.at(1)
        with self._used():
            await self._client.ready()
            async with self._names.held(first):
                return await (put.whole(content) if size <= S3_PART_BYTES else put.parts(content))

    def close(self) -> None:
        """Let go of connections when what is being put is there; idempotent."""
        self._is_closed = True
        if not self._puts:
            self._client.forget()

    @contextmanager
    def _used(self) -> Generator[None, None, None]:
        """Keep the connections for as long as something is put, also by who came late."""
        self._puts += 1
        try:
            yield
        finally:
            self._puts -= 1
            if self._is_closed and not self._puts:
                self._client.forget()


@dataclass(frozen=True, slots=True)
class _Target:
    """Where one object goes."""

    where: Bucket
    client: Client
    clash: Clash
    name: RemoteName


class _Put:
    """One object on its way: what it shall be called, and what it is."""

    def __init__(self, to: _Target, size: int, digest: bytes | None) -> None:
        self._to = to
        self._client = to.client
        self._size = size
        self._digest = digest

    def at(self, number: int) -> str:
        """Return the key under *number*; raises ``DestinationError`` for what can be none."""
        try:
            return key(self._to.where, self._to.name, number)
        except Error as wrong:
            raise DestinationError(wrong.code, wrong.detail, Fault.OBJECT) from wrong

    async def whole(self, content: AsyncIterator[memoryview]) -> RemoteRef:
        """Put what fits one request; read only if it is not there already."""
        number = 1
        if self._digest is not None:
            is_there, number = await self._place(number)
            if is_there:
                return self._ref(number)
        data, tag = await self._taken(content)
        over = self._to.clash is Clash.REPLACE
        for _ in range(1 + S3_RETRIES):
            is_there, number = await self._place(number)
            if is_there:
                return self._ref(number)
            try:
                said = await self._client.put(self.at(number), data, self._marks(), over=over)
            except Taken:  # a moment ago; what it is, the next look tells
                continue
            return await self._verified(number, said, tag)
        raise _overtaken()

    async def parts(self, content: AsyncIterator[memoryview]) -> RemoteRef:
        """Put what does not fit one request; parts are sent as they come."""
        is_there, number = await self._place(1)
        if is_there:
            return self._ref(number)
        tags, full = ETag(), part_bytes(self._size)
        async with aclosing(self._cut(content, number, tags)) as parts:
            said = await self._client.put_parts(self.at(number), parts, full, self._marks())
        ref = await self._verified(number, said, tags.joined())
        if self._to.clash is not Clash.REPLACE:
            found = await self._look(number)
            if found is None or not await self._is_ours(found, number):
                raise _overtaken()
        return ref

    async def _taken(self, content: AsyncIterator[memoryview]) -> tuple[bytearray, str]:
        """Return all of *content*, as it was announced, and the tag that it will have."""
        taken, tags, running = bytearray(), ETag(), sha256()
        async for view in content:
            self._require_room(len(taken) + len(view))
            taken += view
            tags.update(view)
            running.update(view)
        self._digest = self._checked(len(taken), running.digest())
        return taken, tags.whole()

    async def _cut(
        self, content: AsyncIterator[memoryview], number: int, tags: ETag
    ) -> AsyncGenerator[bytearray, None]:
        """Yield parts of one size; ends only if they are all, and the name is still free."""
        running, full, sent, part = sha256(), part_bytes(self._size), 0, bytearray()
        async for view in content:
            sent += len(view)
            self._require_room(sent)
            running.update(view)
            rest = view
            while rest:
                piece = rest[: full - len(part)]
                tags.update(piece)
                part += piece
                rest = rest[len(piece) :]
                if len(part) == full:
                    tags.end_part()
                    yield part
                    part = bytearray()  # the library holds the other one
        if part:
            tags.end_part()
            yield part
        self._digest = self._checked(sent, running.digest())
        if self._to.clash is not Clash.REPLACE and await self._look(number) is not None:
            raise _overtaken()

    async def _place(self, first: int) -> tuple[bool, int]:
        """Return the first free number from *first* on, or one that holds this content already.

        Raises ``DestinationError(CONFLICT)`` when there is none.
        """
        clash = self._to.clash
        most = DELIVERY_CLASHES_MAX if clash is Clash.KEEP_BOTH else 1
        for number in range(first, 1 + most):
            found = await self._look(number)
            if found is None:
                return False, number
            if await self._is_ours(found, number):
                return True, number
            if clash is Clash.REPLACE:
                return False, number
        raise DestinationError(
            Code.CONFLICT, "another file has the name, and all its numbers", Fault.OBJECT
        )

    async def _is_ours(self, found: Found, number: int) -> bool:
        """Say whether *found* is this content: as it says itself, or read back if it says none."""
        if found.size != self._size:
            return False
        is_same_delivery = found.delivery == self._to.name.delivery
        if self._digest is None:
            return is_same_delivery
        if found.digest:
            return found.digest == self._digest.hex()
        if is_same_delivery:  # its digest was not known before it was sent
            return True
        return await self._client.read_digest(self.at(number)) == self._digest

    async def _verified(self, number: int, said: str, expected: str) -> RemoteRef:
        """Return the reference of what was put; raises if the server holds anything else.

        A tag that is not made as S3 makes it says nothing: then the object is read back.
        """
        if said != expected and await self._client.read_digest(self.at(number)) != self._digest:
            await self._client.remove(self.at(number))
            raise _mismatch("the destination holds other bytes than were sent")
        return self._ref(number)

    def _ref(self, number: int) -> RemoteRef:
        return RemoteRef(str(number), self._size, self._digest)

    def _require_room(self, size: int) -> None:
        if size > self._size:
            raise _mismatch("the content is longer than was announced")

    def _checked(self, size: int, digest: bytes) -> bytes:
        """Return *digest* if it and *size* are those that were announced."""
        if size != self._size:
            raise _mismatch("the content is shorter than was announced")
        if self._digest not in (None, digest):
            raise _mismatch("the content is not what was announced")
        return digest

    def _marks(self) -> dict[str, str]:
        known = {DIGEST: self._digest.hex()} if self._digest is not None else {}
        return {DELIVERY: self._to.name.delivery, **known}

    async def _look(self, number: int) -> Found | None:
        return await self._client.maybe_found(self.at(number))


class _Names:
    """Names that are being given, each by one delivery at a time; others are not kept."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._wanted = Counter[str]()

    @asynccontextmanager
    async def held(self, name: str) -> AsyncGenerator[None, None]:
        """Hold *name*, as soon as nobody else does."""
        self._wanted[name] += 1
        try:
            async with self._locks.setdefault(name, asyncio.Lock()):
                yield
        finally:
            self._wanted[name] -= 1
            if not self._wanted[name]:
                del self._wanted[name], self._locks[name]


def _mismatch(detail: str) -> DestinationError:
    return DestinationError(Code.CHECKSUM_MISMATCH, detail, Fault.TEMPORARY)


def _overtaken() -> DestinationError:
    return DestinationError(Code.CONFLICT, "another file got the name meanwhile", Fault.TEMPORARY)
