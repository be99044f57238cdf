"""The keeping place that a node's settings name, opened: a folder of this machine, or a bucket.

The rule: a place that cannot be used is told at the start, with its cure, and from then on in
``/readyz``; whoever uses it does not know which one it is.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from edge import capacity
from edge.keys import RegionPublicKeys
from edge.place import SINK_FOLDER
from edge.settings import EdgeSettings, SinkKind
from edge.sinks.base import Sink, SinkError
from edge.sinks.directory import DirectorySink
from edge.sinks.objects import ObjectSink
from edge.sinks.objects_bucket import Bucket, prove
from edge.sinks.objects_s3 import Access, S3Bucket
from edge.workflow.store import DiskRunStore, RunStore
from edge.workflow.store_objects import ObjectRunStore
from zentransfer import log
from zentransfer.clock import Clock, SystemClock
from zentransfer.disk import RealDisk
from zentransfer.limits import OBJECT_LOOK_S, OBJECT_PROBE_S
from zentransfer.service import CannotStart

UNMETERED_BYTES: Final = 1 << 60
"""What a store without a size of its own may be promised: more than anybody sends."""

_NOBODYS: Final = "probe/nobody"


@dataclass(frozen=True, slots=True)
class Keeping:
    """A sink and the run records beside it, open.

    ``state`` is for ``/readyz``; ``room_bytes`` is what may still be promised to senders; ``tend``
    looks after the place until it is cancelled.
    """

    sink: Sink
    runs: RunStore
    state: Callable[[], tuple[bool, str]]
    room_bytes: Callable[[], int]
    tend: Callable[[], Coroutine[None, None, None]]
    close: Callable[[], None]


async def open_keeping(settings: EdgeSettings, keys: RegionPublicKeys) -> Keeping:
    """Open what *settings* name, and see that it can be used; raises :class:`CannotStart`."""
    if settings.sink.kind is SinkKind.S3:
        return await _in_bucket(settings, keys)
    return _in_folder(settings, keys)


def _in_folder(settings: EdgeSettings, keys: RegionPublicKeys) -> Keeping:
    folder = settings.data_dir / SINK_FOLDER
    sink, disk = DirectorySink(folder, keys, os.urandom), RealDisk(folder)

    async def nothing() -> None:
        """Do nothing: a disk tells its failures to whoever meets them."""

    def close() -> None:
        sink.close()
        disk.close()

    return Keeping(
        sink=sink,
        runs=DiskRunStore(disk),
        state=lambda: (True, "a folder of this machine"),
        room_bytes=lambda: capacity.free_bytes(settings.data_dir),
        tend=nothing,
        close=close,
    )


async def _in_bucket(settings: EdgeSettings, keys: RegionPublicKeys) -> Keeping:
    wanted = settings.sink
    bucket = S3Bucket(
        Access(
            bucket=wanted.bucket,
            region=wanted.region,
            key_id=wanted.access_key_id.get_secret_value(),
            secret=wanted.secret_access_key.get_secret_value(),
            endpoint=wanted.endpoint,
            prefix=f"{wanted.prefix}/{settings.region}".lstrip("/"),
        )
    )
    try:
        await prove(bucket, os.urandom)
    except SinkError as failure:
        raise CannotStart(
            f"The object store cannot be used: {failure.detail}.",
            "Check [sink]: endpoint, region, bucket and the key, which needs to read, write, list "
            "and delete; the store must honour If-Match and If-None-Match.",
            temporary=failure.temporary and not bucket.needs_help,
        ) from failure
    clock = SystemClock()
    sink = ObjectSink(bucket, keys, os.urandom)

    def room_bytes() -> int:
        # The outbox and the records of this process still need the disk.
        return UNMETERED_BYTES if capacity.free_bytes(settings.data_dir) > 0 else 0

    return Keeping(
        sink=sink,
        runs=ObjectRunStore(bucket, os.urandom, clock),
        state=bucket.state,
        room_bytes=room_bytes,
        tend=lambda: tend(bucket, sink, clock),
        close=lambda: None,
    )


async def tend(bucket: Bucket, sink: ObjectSink, clock: Clock) -> None:
    """Ask the store now and then, so that its state is known, and remove orphans; for ever."""
    loop = asyncio.get_running_loop()
    works, look_s = True, loop.time()
    while True:
        await asyncio.sleep(OBJECT_PROBE_S)
        try:
            await bucket.get(_NOBODYS, 0)
            if not works:
                log.fact("sink.works")
            works = True
            if loop.time() >= look_s:
                look_s = loop.time() + OBJECT_LOOK_S
                removed = await sink.remove_orphans(clock)
                log.fact("sink.orphans_removed", uploads=removed)
                over = await sink.remove_tombstones(clock)
                log.fact("sink.tombstones_removed", uploads=over)
        except SinkError as failure:
            if works:
                log.fact("sink.failing", reason=failure.code)
            works = False
