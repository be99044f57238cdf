"""What processes tell of their region when they link: its key for secrets, its key for tickets."""

from collections.abc import Callable
from enum import StrEnum

from control.fleet.region_keys import RegionKey
from control.unit_of_work import Database
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.ids import NodeID, Region, region_of


class Use(StrEnum):
    """What a region's key is for."""

    SECRETS = "secrets"
    TICKETS = "tickets"


class Introduction:
    """Takes regions' keys; *changed* is called when a new one is known."""

    def __init__(self, database: Database, clock: Clock, changed: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed
        self._known: dict[tuple[Use, Region], RegionKey] = {}

    async def take(self, node: NodeID, told: RegionKey, use: Use = Use.SECRETS) -> None:
        """Keep what *node* tells if its region has no key yet; another one is refused and logged.

        The node is served all the same: what it takes and delivers elsewhere needs no secret, and
        it only hands nothing over.  Raises ``Error`` while the database cannot.
        """
        region = region_of(node)
        known = self._known.get((use, region))
        if known is None:
            known = self._known[use, region] = await self._learned(node, told, use)
        if known != told:
            log.fact("fleet.key_refused", region=region, node=node)

    async def _learned(self, node: NodeID, told: RegionKey, use: Use) -> RegionKey:
        """Return the region's key, which is *told* if it is the first."""
        region, now_ms = region_of(node), self._clock.now_ms()
        async with self._database.write() as uow:
            keys = uow.region_keys
            if use is Use.SECRETS:
                is_new = await keys.learn(region, told, now_ms)
                known = await keys.maybe(region)
            else:
                is_new = await keys.learn_ticket(region, told, now_ms)
                known = (await keys.tickets()).get(region)
        assert known is not None, "it was there, or is now"
        if is_new:
            log.fact("fleet.key_learned", region=region, node=node)
            self._changed()
        return known
