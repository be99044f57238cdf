"""Takes the snapshots that control offers: whole, verified and durable, or not at all.

The rule: **the last good snapshot keeps serving** until the next one is on disk; what is refused
is refused with a reason, and nothing else happens.
"""

import asyncio
import errno
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from edge import link_wire, snapshot_wire
from edge.link_wire import Offer
from edge.snapshot import Snapshot, applied
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import NodeID, region_of
from zentransfer.limits import LINK_FETCH_S, LINK_SILENCE_S, SNAPSHOT_WIRE_BYTES_MAX
from zentransfer.v1.fleet_pb2 import ConnectRequest, FetchSnapshotResponse, SnapshotRef
from zentransfer.v1.snapshot_pb2 import Delta

Fetch = Callable[[int], AsyncGenerator[FetchSnapshotResponse, None]]
"""Gives the parts of a whole snapshot by its version; raises ``Error`` when it cannot."""


class SnapshotKeeper(Protocol):
    """What the receiver needs of :class:`edge.snapshot_file.SnapshotFile`."""

    @property
    def current(self) -> Snapshot | None:
        """Return the snapshot in force."""
        ...

    async def keep(self, snapshot: Snapshot, /) -> None:
        """Make *snapshot* durable, then let it be in force; raises ``Error``, ``OSError``."""
        ...


class SnapshotReceiver:
    """Takes one offer after the other; one that is not begun gives way to a newer one."""

    def __init__(
        self,
        keeper: SnapshotKeeper,
        fetch: Fetch,
        node: NodeID,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep by *keeper* what is offered, and call *kept* when another one is in force."""
        self._kept = kept
        self._keeper = keeper
        self._fetch = fetch
        self._node = node
        self._offer: Offer | None = None
        self._offered = asyncio.Event()

    @property
    def digest(self) -> bytes:
        """Return the digest of the content in force, empty without one."""
        return self._keeper.current.digest if self._keeper.current else b""

    @property
    def version(self) -> int:
        """Return the version in force; 0 means none."""
        return self._keeper.current.version if self._keeper.current else 0

    def offered(self, offer: Offer | None) -> None:
        """Note what control offers, for :meth:`run` to take; ``None`` forgets it."""
        self._offer = offer
        self._offered.set()

    async def run(self, answer: Callable[[ConnectRequest], None]) -> None:
        """Take what is offered, for ever, and *answer* each."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            offer = self._offer
            self._offer = None
            if offer is not None:
                answer(await self.take(offer))

    async def take(self, offer: Offer) -> ConnectRequest:
        """Take *offer* and return the ack, or the nack that says why not."""
        try:
            found = await self._maybe_found(offer)
            if found is not None:
                await self._keeper.keep(found)
                self._kept()
                log.fact("link.snapshot_kept", node=self._node, version=found.version)
            return link_wire.kept(offer)
        except Error as refusal:
            reason = refusal.code
        except OSError as failed:
            log.error("link.snapshot_failed", failed, node=self._node)
            is_full = failed.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = Code.INSUFFICIENT_STORAGE if is_full else Code.SINK_UNAVAILABLE
        except Exception as fault:  # noqa: BLE001  # a fault of ours must not end the stream
            log.error("link.snapshot_failed", fault, node=self._node)
            reason = Code.INTERNAL
        log.fact("link.snapshot_refused", node=self._node, version=self.version, reason=reason)
        return link_wire.refused(offer, reason, self.version)

    async def _maybe_found(self, offer: Offer) -> Snapshot | None:
        """Return the snapshot of *offer*, verified; ``None`` when it is in force already."""
        if isinstance(offer, SnapshotRef):
            return await self._fetched(offer)
        return self._maybe_changed(offer)

    def _maybe_changed(self, offer: Delta) -> Snapshot | None:
        current = self._keeper.current
        if current is None:
            raise Error(Code.VERSION_MISMATCH, "there is nothing yet to apply a delta to")
        if (current.version, current.digest) == (offer.to_version, offer.digest.value):
            return None
        return applied(current, snapshot_wire.delta(offer, region_of(self._node)))

    async def _fetched(self, offer: SnapshotRef) -> Snapshot:
        if offer.version < self.version:
            raise Error(Code.VERSION_MISMATCH, "an older snapshot is not taken")
        if offer.size_bytes > SNAPSHOT_WIRE_BYTES_MAX:
            raise Error(Code.TOO_LARGE, "the snapshot is larger than a node takes")
        try:
            async with asyncio.timeout(LINK_FETCH_S):
                data = await self._parts(offer)
        except TimeoutError:
            raise Error(Code.TIMEOUT, "the snapshot did not come in time") from None
        if hashlib.sha256(data).digest() != offer.digest.value:
            raise Error(Code.DAMAGED, "the snapshot is not the one that was named")
        found = snapshot_wire.snapshot(data)
        if (found.version, found.region) != (offer.version, region_of(self._node)):
            raise Error(Code.MISDIRECTED, "the snapshot is not the one that was named")
        return found

    async def _parts(self, offer: SnapshotRef) -> bytes:
        """Return the bytes of the parts in their order, no more than were named."""
        data, loop = bytearray(), asyncio.get_running_loop()
        async with (
            asyncio.timeout(LINK_SILENCE_S) as patience,
            aclosing(self._fetch(offer.version)) as parts,
        ):
            async for one in parts:
                patience.reschedule(loop.time() + LINK_SILENCE_S)
                end = len(data) + len(one.part)
                is_next = one.version == offer.version and one.offset == len(data)
                if not is_next or end > offer.size_bytes:
                    raise Error(Code.DAMAGED, "the parts of the snapshot do not fit")
                data += one.part
        return bytes(data)
