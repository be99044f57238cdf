"""A region's notices by Redis or Valkey, between processes and machines.

The rule: nothing waits for Redis.  What cannot be told now is dropped, a server that is away is
tried again within seconds, and it never holds the only copy of anything.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from edge.region_state import Hear, Told, maybe_notice, packed
from zentransfer.ids import Region
from zentransfer.limits import (
    REGION_BATCH_MAX,
    REGION_DIAL_S,
    REGION_NOTICE_BYTES_MAX,
    REGION_NOTICES_MAX,
    REGION_RETRY_S,
    REGION_SILENCE_S,
)

_AWAY: Final = (RedisError, OSError, TimeoutError)


class RedisRegionState:
    """A :class:`edge.region_state.RegionState` over one channel of a server."""

    def __init__(self, url: str, region: Region, random: Random) -> None:
        """Stand on the server at *url* (``redis://``, ``rediss://`` or ``unix://``).

        Raises ``ValueError`` for another kind of address.  Nothing is dialled before ``run``.
        """
        self._url = url
        self._client()  # raises for an address that is none
        self._channel = f"zentransfer:{region}"
        self._random = random
        self._hears: list[Hear] = []
        self._waiting = deque[Told](maxlen=REGION_NOTICES_MAX)  # the oldest goes: it is stale
        self._has_more = asyncio.Event()
        self._is_listening = False
        self._is_telling = False
        self._asked: Redis | None = None  # the client for questions, while it is linked

    def tell(self, told: Told) -> None:
        """Tell the others; never waits and never fails."""
        self._waiting.append(told)
        self._has_more.set()

    def listen(self, hear: Hear) -> None:
        """Call *hear* with what is told in the region, one's own words too."""
        self._hears.append(hear)

    def check(self) -> tuple[bool, str]:
        """Say whether notices are carried; without them takeovers and deliveries are slower."""
        is_well = self._is_listening and self._is_telling
        return is_well, "linked" if is_well else "away: other nodes hear late of takeovers"

    async def is_first(self, nonce: bytes, for_s: float) -> bool | None:
        """Say whether nobody in the region asked this before; ``None`` while the server is away."""
        client = self._asked
        if client is None:
            return None
        key = f"{self._channel}:spent:{nonce.hex()}"
        try:
            async with asyncio.timeout(REGION_DIAL_S):
                put = await cast("Any", client).set(key, b"1", nx=True, px=int(for_s * 1000))
        except _AWAY:
            return None
        return put is not None

    async def run(self) -> None:
        """Carry notices until cancelled; a server that is away is dialled again and again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_for_ever())
            tasks.create_task(self._tell_for_ever())

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                async with self._dialled() as client:
                    await self._hear_all(client)
            except _AWAY:
                self._is_listening = False
            await asyncio.sleep(self._random.uniform(0, REGION_RETRY_S))

    async def _hear_all(self, client: "Redis") -> None:
        heard = cast("Any", client).pubsub()  # the library's types end here
        try:
            await heard.subscribe(self._channel)
            self._is_listening = True
            while True:
                # A line that is dead without a word is found out by its silence to our ping.
                message = await heard.get_message(timeout=REGION_SILENCE_S)
                if message is None:
                    await heard.ping()
                    if await heard.get_message(timeout=REGION_SILENCE_S) is None:
                        return
                elif message["type"] == "message":
                    self._heard(message["data"])
        finally:
            self._is_listening = False
            await heard.aclose()

    def _heard(self, data: bytes) -> None:
        notice = maybe_notice(data) if len(data) <= REGION_NOTICE_BYTES_MAX else None
        if notice is not None:
            for hear in self._hears:
                hear(notice)

    async def _tell_for_ever(self) -> None:
        while True:
            try:
                async with self._dialled() as client:
                    await self._tell_all(client)
            except _AWAY:
                self._is_telling = False
            await asyncio.sleep(self._random.uniform(0, REGION_RETRY_S))

    async def _tell_all(self, client: "Redis") -> None:
        await cast("Any", client).ping()
        self._is_telling, self._asked = True, client
        try:
            while True:
                await self._has_more.wait()
                self._has_more.clear()
                while self._waiting:
                    await self._tell_some(client)
        finally:
            self._asked = None

    async def _tell_some(self, client: "Redis") -> None:
        count = min(len(self._waiting), REGION_BATCH_MAX)
        together = cast("Any", client.pipeline(transaction=False))
        for _ in range(count):
            together.publish(self._channel, packed(self._waiting.popleft()))
        await together.execute()

    @asynccontextmanager
    async def _dialled(self) -> "AsyncGenerator[Redis, None]":
        """Give a client of its own connections, which end with it: a call may be cancelled."""
        client = self._client()
        try:
            yield client
        finally:
            await client.aclose()

    def _client(self) -> "Redis":
        made: Redis = cast("Any", Redis).from_url(
            self._url,
            socket_timeout=REGION_DIAL_S,
            socket_connect_timeout=REGION_DIAL_S,
            retry=Retry(NoBackoff(), 0),
        )
        return made
