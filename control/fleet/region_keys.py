"""The keys of regions: what destinations' secrets are sealed to, and what verifies its tickets.

The rule: **the first key of a region that a process of it tells is the region's**, and another one
is refused: whoever could put a key of his own in its place would be told every secret, or could
vouch for anybody.
"""

from dataclasses import dataclass, field

from sqlalchemy import select

from control.connection import Connection, upsert
from control.tables import destination_secret, region_key, ticket_key
from zentransfer.ids import DestinationID, Region


@dataclass(frozen=True, slots=True)
class RegionKey:
    """A region's public key, named by its ``kid``: raw X25519, for tickets raw Ed25519."""

    kid: str
    key: bytes


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """The secret of a destination in *version*, sealed to the region's key *kid*."""

    destination: DestinationID
    version: int
    kid: str
    sealed: bytes = field(repr=False)


class RegionKeyStore:
    """Keys of regions and what is sealed to them, inside the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def maybe(self, region: Region) -> RegionKey | None:
        """Return the region's key, or ``None`` while none was told."""
        found = select(region_key).where(region_key.c.region == region)
        for row in await self._connection.rows(found):
            return RegionKey(row["kid"], row["key"])
        return None

    async def learn(self, region: Region, told: RegionKey, now_ms: int) -> bool:
        """Keep *told* if it is the first of its region; return whether it was."""
        row = {"region": region, "kid": told.kid, "key": told.key, "learned_ms": now_ms}
        put = upsert(region_key).values(row).on_conflict_do_nothing()
        return await self._connection.change(put) > 0

    async def learn_ticket(self, region: Region, told: RegionKey, now_ms: int) -> bool:
        """Keep *told* for tickets if it is the first of its region; return whether it was."""
        row = {"region": region, "kid": told.kid, "key": told.key, "learned_ms": now_ms}
        put = upsert(ticket_key).values(row).on_conflict_do_nothing()
        return await self._connection.change(put) > 0

    async def tickets(self) -> dict[Region, RegionKey]:
        """Return what verifies the tickets of each region that told it."""
        rows = await self._connection.rows(select(ticket_key))
        return {Region(row["region"]): RegionKey(row["kid"], row["key"]) for row in rows}

    async def sealed(self, region: Region) -> dict[DestinationID, SealedSecret]:
        """Return what is sealed to the region already."""
        rows = await self._connection.rows(
            select(destination_secret).where(destination_secret.c.region == region)
        )
        found = (
            SealedSecret(row["destination_id"], row["version"], row["kid"], row["sealed"])
            for row in rows
        )
        return {one.destination: one for one in found}

    async def put(self, region: Region, new: SealedSecret) -> None:
        """Put *new* in the place of what was sealed for that destination."""
        changed = {"version": new.version, "kid": new.kid, "sealed": new.sealed}
        put = upsert(destination_secret).values(
            destination_id=new.destination, region=region, **changed
        )
        await self._connection.change(
            put.on_conflict_do_update(index_elements=["destination_id", "region"], set_=changed)
        )
