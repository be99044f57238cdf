"""The last version of each region's snapshot in the database, so that versions only grow."""

from dataclasses import dataclass

from sqlalchemy import select

from control.connection import Connection, upsert
from control.tables import snapshot
from zentransfer.ids import Region


@dataclass(frozen=True, slots=True)
class Published:
    """What was last published to *region*: the digest of its content tells whether it changed."""

    region: Region
    version: int
    digest: bytes
    created_ms: int


class SnapshotStore:
    """Published versions, inside the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def maybe_last(self, region: Region) -> Published | None:
        """Return what was last published to *region*, or ``None``."""
        for row in await self._connection.rows(select(snapshot).where(snapshot.c.region == region)):
            return Published(region, row["version"], row["digest"], row["created_ms"])
        return None

    async def put(self, published: Published) -> None:
        """Put *published* in the place of what was there for its region."""
        changed = {
            "version": published.version,
            "digest": published.digest,
            "created_ms": published.created_ms,
        }
        put = upsert(snapshot).values(region=published.region, **changed)
        await self._connection.change(
            put.on_conflict_do_update(index_elements=["region"], set_=changed)
        )
