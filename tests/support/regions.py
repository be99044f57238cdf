"""Two regions on real ports, with every HTTP dialect, that hand uploads over to each other."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from random import Random

from aiohttp import web

from edge.capability import Capabilities
from edge.handover import Signer
from edge.http.collection import Collection, Homes
from edge.http.doors import HttpDoor, guard
from edge.http.handed import Handing, Nearest
from edge.http.rufh_door import RufhDoor
from edge.http.tus_door import TusDoor
from edge.snapshot import AccountEntry, CredentialEntry, Entry, TicketKeyEntry, snapshot_of
from edge.spent import SpentTickets
from geo.answer import Doors
from geo.health import ALL_UP, Health
from geo.mmdb import MemoryLocator
from geo.region import Location, Place, Region
from geo.settings import Route
from geo.web import LAB_HEADER, Router
from tests.support.http_door import CALM
from tests.support.ports import free_ports
from tests.support.real_loop import real_loop
from tests.support.snapshots import Customer
from tests.support.taking import Node
from tests.support.writing import read_whole
from zentransfer import fronted, health
from zentransfer.fronted import Front
from zentransfer.ids import UploadID
from zentransfer.memory_disk import MemoryDisk

US, SG = Region.US, Region.SG
NAME = "localhost"
SINGAPORE = "203.0.113.9"
VIRGINIA = "198.51.100.9"
WORLD = MemoryLocator(
    {
        ip_network("203.0.113.0/24"): Location("SG", Place(1.3, 103.8)),
        ip_network("198.51.100.0/24"): Location("US", Place(38.9, -77.0)),
    }
)
KEPT = "spent"


class RegionDoor:
    """One region's door; ``seen`` has what was asked of it: method, target, and who was said."""

    def __init__(self, region: Region, port: int, customer: Customer) -> None:
        self.region, self.port, self.customer = region, port, customer
        self.signer = Signer(region.encode() * 16, region)
        self.seen: list[tuple[str, str, bool]] = []
        self.health: Health = ALL_UP

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def entry(self) -> str:
        return f"http://{NAME}:{self.port}"

    async def start(self, route: Route, keys: list[Entry]) -> web.AppRunner:
        self.node = node = await Node(MemoryDisk(Random(self.port)), self.customer).start()
        self.keys = keys
        await self.learn(*self.customer.entries())
        node.disk.make_folder(KEPT)
        doors = {region: Doors(url) for region, url in route.http.items()}
        self.nearest = Nearest(
            route,
            Handing(
                intake=node.intake,
                unfinished=node.resumables.unfinished,
                router=Router(doors, WORLD, is_lab=True, health=lambda: self.health),
                signer=self.signer,
                spent=SpentTickets(node.disk, KEPT, None, node.clock),
                clock=node.clock,
                random_bytes=node.random.randbytes,
            ),
        )
        of_urls = Capabilities(self.region.encode() * 16, self.region)
        random = Random(1)
        whole = HttpDoor(node.intake, CALM, node.clock, random)
        tus = TusDoor(node.resumables, of_urls, CALM, node.clock, random)
        rufh = RufhDoor(node.resumables, of_urls, CALM, node.clock, random)
        takers = Collection(whole, tus, rufh, Homes(self.region, route.http), self.nearest)
        front = fronted.middleware(Front(networks=("127.0.0.0/8",)))
        app = web.Application(middlewares=[front, self._note, guard, takers.anywhere])
        app.add_routes(takers.routes())
        runner = health.http_runner(app)
        await runner.setup()
        await web.SockSite(runner, health.listen("127.0.0.1", self.port, "test")).start()
        return runner

    async def learn(self, *entries: Entry) -> None:
        """Let what control says be in force, and the keys of all regions."""
        snapshots = self.node.snapshots
        version = snapshots.version + 1
        known = snapshot_of(self.region, version, 1_000, [*entries, *self.keys])
        await snapshots.keep(known)

    @web.middleware
    async def _note(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path, "Authorization" in request.headers))
        return await handler(request)

    async def content(self) -> bytes:
        """Return what is in the one upload that was committed here."""
        (upload,) = [one.upload_id for one in self.node.outcomes()]
        return await read_whole(self.node.sink, UploadID(upload), self.node.keys)


class Pinned(Customer):
    """A customer whose account is pinned, and known where it is not for this moment."""

    def __init__(self, pin: Region, region: Region) -> None:
        super().__init__(region=region)
        self.pin = pin

    def account(self) -> AccountEntry:
        return replace(super().account(), pin=self.pin)


class NeedsTls(Customer):
    """A customer whose credential is refused without TLS."""

    def credential(self) -> CredentialEntry:
        return replace(super().credential(), require_tls=True)


@dataclass
class Reply:
    """What curl saw: every status in order, the last answer's headers and body."""

    code: int
    statuses: list[int] = field(default_factory=list[int])
    fields: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    err: str = ""

    @property
    def status(self) -> int:
        return self.statuses[-1] if self.statuses else 0


class Regions:
    """us and sg, and a client near one of them."""

    def __init__(self, us: RegionDoor, sg: RegionDoor) -> None:
        self.us, self.sg = us, sg

    async def curl(
        self,
        url: str,
        *options: str,
        client: str = SINGAPORE,
        token: str | None = None,
        stdin: bytes | None = None,
    ) -> Reply:
        """Run curl; its error is ``code``."""
        shown = self.us.customer.token if token is None else token
        words = [
            *("curl", "-sS", "-i", "--max-time", "30", "--path-as-is"),
            *("-H", f"{LAB_HEADER}: {client}", "-H", f"Authorization: Bearer {shown}"),
            *options,
            url,
        ]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate(stdin)
        reply = Reply(process.returncode or 0, err=err.decode())
        while out.startswith(b"HTTP/"):
            head, _, out = out.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            reply.statuses.append(int(first.split(" ")[1]))
            pairs = (line.partition(":") for line in lines)
            reply.fields = {name.lower(): value.strip() for name, _, value in pairs}
        reply.body = out
        return reply

    def sizes(self) -> Mapping[Region, list[int]]:
        """Return how large the uploads are that each region committed."""
        doors = {US: self.us, SG: self.sg}
        return {
            region: [one.size_bytes for one in door.node.outcomes()]
            for region, door in doors.items()
        }


@asynccontextmanager
async def regions(
    us: Customer | None = None, sg: Customer | None = None, **settings: object
) -> AsyncGenerator[Regions, None]:
    """Serve both; a customer is known by the same secret in each."""
    first, second = free_ports(2)
    customers = us or Customer(region=US), sg or Customer(region=SG)
    doors = RegionDoor(US, first, customers[0]), RegionDoor(SG, second, customers[1])
    http = {door.region: door.url for door in doors}
    entry = tuple(f"{NAME}:{door.port}" for door in doors)
    given = {"http": http, "ftp": {}, "entry": entry, **settings}
    keys: list[Entry] = [
        TicketKeyEntry(door.signer.kid, door.region, door.signer.public) for door in doors
    ]
    async with AsyncExitStack() as stack:
        for door in doors:
            runner = await door.start(Route.model_validate(given), keys)
            stack.push_async_callback(runner.cleanup)
        yield Regions(*doors)


def run(
    test: Callable[[Regions], Awaitable[None]],
    us: Customer | None = None,
    sg: Customer | None = None,
    **settings: object,
) -> None:
    """Run *test* with both regions up; *settings* are those of routing."""

    async def main() -> None:
        async with asyncio.timeout(60), regions(us, sg, **settings) as both:
            await test(both)

    real_loop(main())
