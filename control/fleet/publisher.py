"""Which snapshot each region has now, and how to get there from an older one.

The rule: a version is in the database before any node hears of it, so that no two contents ever
have one version, whatever crashes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from control.accounts.destinations import Destination
from control.accounts.handlers import inner_column, secret_column
from control.accounts.model import Account, Credential
from control.fleet.region_keys import RegionKey, SealedSecret
from control.fleet.snapshot import (
    Delta,
    Knob,
    Snapshot,
    TicketKeyEntry,
    Truth,
    content_for,
    digest_of,
    maybe_delta,
)
from control.fleet.snapshot_store import Published
from control.keystore import KeyStore
from control.unit_of_work import Database, UnitOfWork
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.credential import Pepper, verifier
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, DestinationID, Region
from zentransfer.limits import SNAPSHOT_HISTORY_MAX, SNAPSHOT_RETRY_S
from zentransfer.sealed_secret import Bound, seal

KNOBS: Final[tuple[Knob, ...]] = ()  # no live knob is offered yet


class Publisher:
    """The snapshots of all regions, the newest and those that a delta can start from."""

    def __init__(self, database: Database, keys: KeyStore, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._touched = asyncio.Event()
        self._kept = {region: deque[Snapshot](maxlen=SNAPSHOT_HISTORY_MAX) for region in Region}

    def touch(self) -> None:
        """Say that accounts changed; ``run`` publishes it."""
        self._touched.set()

    async def run(self, tell: Callable[[set[Region]], None]) -> None:
        """Publish what changes, for ever, and *tell* which regions have a new version.

        A task of the composition root.  While the database cannot, what is published stays, and it
        is tried again every SNAPSHOT_RETRY_S.
        """
        while True:
            await self._touched.wait()
            self._touched.clear()
            try:
                changed = await self.refresh()
            except Error as failed:
                log.error("snapshot.not_published", failed)
                self._touched.set()
                await asyncio.sleep(SNAPSHOT_RETRY_S)
                continue
            for region in sorted(changed):
                log.fact("snapshot.published", region=region, version=self.current(region).version)
            if changed:
                tell(changed)

    async def refresh(self) -> set[Region]:
        """Publish what changed in the truth; return the regions that have a new version.

        Call it at the start and after each change of accounts.  Raises what the database raises;
        what was published before stays.
        """
        return {region for region in Region if await self._refreshed(region, at_least=0)}

    async def outrun(self, region: Region, version: int) -> None:
        """Take a version above *version*, which a node holds and control does not know.

        So is it after control came back from an older backup: versions must still only grow.
        """
        if version > self.current(region).version:
            await self._refreshed(region, at_least=version + 1)

    def current(self, region: Region) -> Snapshot:
        """Return the region's newest snapshot; raises ``Error(UNAVAILABLE)`` before a refresh."""
        if not self._kept[region]:
            raise Error(Code.UNAVAILABLE, "no snapshot is published yet")
        return self._kept[region][-1]

    def maybe_delta(self, region: Region, held: int) -> Delta | None:
        """Return what leads from version *held* to the newest; ``None`` if only all of it does."""
        for old in self._kept[region]:
            if old.version == held:
                return maybe_delta(old, self.current(region))
        return None

    async def _refreshed(self, region: Region, at_least: int) -> bool:
        now_ms = self._clock.now_ms()
        pepper = await self._keys.pepper(region)
        async with self._database.write() as uow:
            content = content_for(region, await self._truth(region, pepper, uow))
            digest = digest_of(content)
            last = await uow.snapshots.maybe_last(region)
            if last is not None and last.digest == digest and last.version >= at_least:
                published = last
            else:
                version = max((last.version if last else 0) + 1, at_least)
                published = Published(region, version, digest, now_ms)
                await uow.snapshots.put(published)
        kept = self._kept[region]
        if kept and kept[-1].version == published.version:
            return False
        kept.append(
            Snapshot(region, published.version, published.created_ms, content, published.digest)
        )
        return True

    async def _truth(self, region: Region, pepper: Pepper, uow: UnitOfWork) -> Truth:
        accounts = await uow.accounts.allowed_in(region)
        credentials = await uow.accounts.all_credentials(region)
        inner = {one.id: self._maybe_inner(one) for one in credentials}
        destinations = await uow.workflows.all_destinations(region)
        return Truth(
            accounts=accounts,
            credentials=credentials,
            workflows=await uow.workflows.all_workflows(region),
            destinations=destinations,
            name_keys=self._name_keys(accounts),
            verifiers={
                CredentialID(name): verifier(pepper, one) for name, one in inner.items() if one
            },
            pepper_kid=pepper.kid,
            knobs=KNOBS,
            secrets=await self._secrets(region, destinations, uow),
            ticket_keys=[
                TicketKeyEntry(key.kid, signer, key.key)
                for signer, key in (await uow.region_keys.tickets()).items()
            ],
        )

    async def _secrets(
        self, region: Region, destinations: list[Destination], uow: UnitOfWork
    ) -> dict[DestinationID, tuple[str, bytes]]:
        """Return the destinations' secrets, sealed to the region; what is not yet, is now."""
        key = await uow.region_keys.maybe(region)
        if key is None:
            return {}
        held = await uow.region_keys.sealed(region)
        found: dict[DestinationID, tuple[str, bytes]] = {}
        for one in destinations:
            sealed = held.get(one.id)
            if sealed is None or (sealed.version, sealed.kid) != (one.version, key.kid):
                sealed = self._maybe_sealed(region, key, one)
                if sealed is None:
                    continue
                await uow.region_keys.put(region, sealed)
            found[one.id] = (sealed.kid, sealed.sealed)
        return found

    def _maybe_sealed(
        self, region: Region, key: RegionKey, one: Destination
    ) -> SealedSecret | None:
        """Return the secret of *one*, sealed to *key*; ``None`` if it has none that opens."""
        if one.secret_sealed is None:
            return None
        try:
            plain = self._keys.unseal(one.account_id, secret_column(one.id), one.secret_sealed)
        except Error:
            return None
        bound = Bound(region, one.account_id, one.id, one.version)
        return SealedSecret(one.id, one.version, key.kid, seal(key.key, bound, plain))

    def _name_keys(self, accounts: list[Account]) -> dict[AccountID, tuple[str, bytes]]:
        found: dict[AccountID, tuple[str, bytes]] = {}
        for account in accounts:
            try:
                public = self._keys.public(account.id)
            except Error:  # the key is destroyed: the account is being erased
                continue
            found[account.id] = (public.kid, public.key)
        return found

    def _maybe_inner(self, one: Credential) -> bytes | None:
        try:
            return self._keys.unseal(one.account_id, inner_column(one.id), one.inner_sealed)
        except Error:
            return None
