"""Offers regions' snapshots to nodes and gives them out: deltas where one leads on, else parts.

The rule: a node is offered one version at a time, and the next when it has answered or been silent
for too long; so a slow node skips versions and never falls behind for good.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from control.fleet.publisher import Publisher
from control.rpc import snapshot_wire
from zentransfer import ids, rpc
from zentransfer.errors import Code, Error
from zentransfer.ids import Region
from zentransfer.limits import LINK_FETCH_S, SNAPSHOT_DELTA_BYTES_MAX, SNAPSHOT_PART_BYTES
from zentransfer.v1 import types_pb2
from zentransfer.v1.fleet_pb2 import (
    ConnectResponse,
    FetchSnapshotRequest,
    FetchSnapshotResponse,
    SnapshotRef,
)


@dataclass(frozen=True, slots=True)
class Whole:
    """A snapshot as it is fetched; ``digest`` is that of the bytes."""

    version: int
    data: bytes
    digest: bytes


_WHOLES: Final = 2  # copies a region: the newest, and the one that nodes may be about to fetch


class Snapshots:
    """What nodes are offered, from what the publisher has."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._wholes = {region: deque[Whole](maxlen=_WHOLES) for region in Region}

    def is_current(self, region: Region, version: int, digest: bytes) -> bool:
        """Whether a node that holds *version* with content *digest* needs nothing."""
        current = self._publisher.current(region)
        return (current.version, current.digest) == (version, digest)

    def version(self, region: Region) -> int:
        """Return the newest version; raises ``Error(UNAVAILABLE)`` before there is one."""
        return self._publisher.current(region).version

    async def outrun(self, region: Region, version: int) -> bool:
        """Publish above *version* if it is not known here; return whether that was needed."""
        if version <= self.version(region):
            return False
        await self._publisher.outrun(region, version)
        return True

    def offer(self, region: Region, nonce: str, held: int | None) -> ConnectResponse:
        """Return what leads from version *held* to the newest: a delta, else a reference.

        ``None`` says that no delta will do.  Raises ``Error(UNAVAILABLE)`` before a snapshot.
        """
        changes = None if held is None else self._publisher.maybe_delta(region, held)
        if changes is not None:
            message = snapshot_wire.delta(changes, nonce)
            if message.ByteSize() <= SNAPSHOT_DELTA_BYTES_MAX:
                return ConnectResponse(delta=message)
        whole = self.whole(region)
        sha256 = types_pb2.DIGEST_ALGORITHM_SHA256
        return ConnectResponse(
            snapshot=SnapshotRef(
                version=whole.version,
                digest=types_pb2.Digest(algorithm=sha256, value=whole.digest),
                size_bytes=len(whole.data),
                nonce=nonce,
            )
        )

    def whole(self, region: Region) -> Whole:
        """Return the newest snapshot of *region* as it is fetched; raises ``Error``."""
        current, kept = self._publisher.current(region), self._wholes[region]
        if not kept or kept[-1].version != current.version:
            data = snapshot_wire.serialised(current)
            kept.append(Whole(current.version, data, hashlib.sha256(data).digest()))
        return kept[-1]

    def parts(self, request: FetchSnapshotRequest) -> Iterator[FetchSnapshotResponse]:
        """Return the parts of the version that a node asks for.

        Raises ``Error``: INVALID, GONE when there are newer ones, which will be offered.
        """
        region = ids.region_of(ids.node(request.identity.node))
        named = (one for one in self._wholes[region] if one.version == request.version)
        whole = next(named, None) or self.whole(region)
        if whole.version != request.version:
            raise Error(Code.GONE, "there is another version by now")
        return _cut(whole)

    async def fetch(
        self, request: FetchSnapshotRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncGenerator[FetchSnapshotResponse, None]:
        """Answer ``FetchSnapshot``, within LINK_FETCH_S as it may be large."""
        with rpc.running():
            try:
                async with asyncio.timeout(LINK_FETCH_S):
                    for part in self.parts(request):
                        yield part
            except TimeoutError:
                await rpc.abort(context, Error(Code.TIMEOUT))
            except Error as refusal:
                await rpc.abort(context, refusal)


def _cut(whole: Whole) -> Iterator[FetchSnapshotResponse]:
    size = len(whole.data)
    for offset in range(0, max(size, 1), SNAPSHOT_PART_BYTES):
        part = whole.data[offset : offset + SNAPSHOT_PART_BYTES]
        is_last = offset + len(part) == size
        yield FetchSnapshotResponse(version=whole.version, offset=offset, part=part, last=is_last)
