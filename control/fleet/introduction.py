"""What delivery processes tell of their region when they link: the key to seal secrets to."""

from collections.abc import Callable

from control.fleet.region_keys import RegionKey
from control.unit_of_work import Database
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.ids import NodeID, Region, region_of


class Introduction:
    """Takes regions' keys; *changed* is called when a new one is known."""

    def __init__(self, database: Database, clock: Clock, changed: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed
        self._known: dict[Region, RegionKey] = {}

    async def take(self, node: NodeID, told: RegionKey) -> None:
        """Keep what *node* tells if its region has no key yet; another one is refused and logged.

        The node is served all the same: what it takes and delivers elsewhere needs no secret.
        Raises ``Error`` while the database cannot.
        """
        region = region_of(node)
        known = self._known.get(region)
        if known is None:
            async with self._database.write() as uow:
                is_new = await uow.region_keys.learn(region, told, self._clock.now_ms())
                known = await uow.region_keys.maybe(region)
            assert known is not None, "it was there, or is now"
            self._known[region] = known
            if is_new:
                log.fact("fleet.key_learned", region=region, node=node)
                self._changed()
        if known != told:
            log.fact("fleet.key_refused", region=region, node=node)
