"""Control's API on a free port, over a database in memory, with accounts to call it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, ClientSession, web

from control.accounts.destinations import Destination
from control.accounts.handlers import IssueCredential, Tools, issue_credential
from control.accounts.model import Account, CredentialKind
from control.accounts.probe import Probed
from control.database import MemoryDatabase
from control.facts.apply import apply_batch
from control.facts.model import Batch, Body, Fact
from control.uploads.commands import MemoryCommands
from control.uploads.feed import EventFeed
from control.web import api, route
from control.web.routes import PREFIX, Services
from geo.answer import Doors
from geo.web import Router
from tests.control.builders import FR_1, INGEST, NOW_MS, epoch, tools, with_account
from zentransfer.clock import ManualClock
from zentransfer.credential import token
from zentransfer.health import http_runner, listen
from zentransfer.ids import CredentialID, Region
from zentransfer.limits import EVENTS_STREAM_S

ROUTER = Router(
    {region: Doors(f"http://{region}.example") for region in Region}, None, is_lab=False
)


@dataclass
class Desk:
    """The served API and what it stands on."""

    base: str
    session: ClientSession
    services: Services
    commands: MemoryCommands
    clock: ManualClock
    probed: list[Destination]
    changes: list[int] = field(default_factory=list[int])
    traced: list[tuple[CredentialID, int]] = field(default_factory=list[tuple[CredentialID, int]])
    sequence: int = 0

    async def call(
        self, method: str, path: str, bearer: str | None, **options: Any
    ) -> tuple[int, Any]:
        """Call one verb; return the status and the JSON of the answer, or its text."""
        headers = options.pop("headers", {})
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        async with self.session.request(
            method, self.base + path, headers=headers, **options
        ) as answer:
            return answer.status, await content(answer)

    async def account(self, name: str) -> tuple[Account, str]:
        """Make an account with a destination and a workflow; return it and a program's token."""
        async with self.services.database.write() as uow:
            made = await with_account(uow, name)
            await self.services.tools.keys.make_account(made.id)
        _, shown = await self.issue(made)
        return made, shown

    async def issue(
        self, of: Account, kind: CredentialKind = CredentialKind.API
    ) -> tuple[CredentialID, str]:
        """Issue a credential; return its id and its token."""
        async with self.services.database.write() as uow:
            command = IssueCredential(of.id, kind, "test")
            issued = await issue_credential(command, uow, NOW_MS, self.services.tools)
        return issued.credential.id, token(issued.credential.name, issued.secret)

    async def tell(self, *bodies: Body) -> None:
        """Apply facts as if a node had sent them."""
        facts = [
            Fact(f"fact-{number}", number, NOW_MS + number, body)
            for number, body in enumerate(bodies, self.sequence + 1)
        ]
        self.sequence += len(facts)
        batch = Batch(FR_1, INGEST, epoch(), facts[0].sequence, tuple(facts))
        async with self.services.database.write() as uow:
            applied = await apply_batch(uow, batch, NOW_MS)
        assert not applied.aside
        self.services.feed.notify(applied.accounts)


async def content(answer: ClientResponse) -> Any:
    """Return the JSON of an answer, its text if it is none, or nothing."""
    text = await answer.text()
    return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text


@asynccontextmanager
async def served(stream_s: float = EVENTS_STREAM_S) -> AsyncGenerator[Desk, None]:
    """Serve the API until the block ends; streams of events end after *stream_s* seconds."""
    probed: list[Destination] = []
    changes: list[int] = []
    traced: list[tuple[CredentialID, int]] = []

    async def probe(destination: Destination, /) -> Probed:
        probed.append(destination)
        return Probed()

    kit: Tools = await tools()
    commands, clock = MemoryCommands(), ManualClock(NOW_MS)
    services = Services(
        database=MemoryDatabase(),
        tools=kit,
        clock=clock,
        commands=commands,
        probe=probe,
        feed=EventFeed(),
        changed=lambda: changes.append(1),
        stream_s=stream_s,
        trace=lambda credential, lasts_ms: traced.append((credential, lasts_ms)),
    )
    app = web.Application()
    app.add_routes([*api.routes(services), *route.routes(services, ROUTER)])
    runner = http_runner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0, "test")
    await web.SockSite(runner, listener).start()
    port = listener.getsockname()[1]
    try:
        async with ClientSession() as session:
            base = f"http://127.0.0.1:{port}{PREFIX}"
            yield Desk(base, session, services, commands, clock, probed, changes, traced)
            await services.feed.close()
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
