import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from control.accounts.traces import TraceBook, TraceDesk
from control.fleet.model import Fleet
from control.rpc.fleet import FleetService, Truth
from control.rpc.lanes import TraceLane
from edge.link import Cargo, Link
from edge.link_state import Asked
from edge.snapshot import CredentialKind
from edge.traced import Tracing
from tests.support.fleet import CONTROL, LoopClock, ToyProcess, identity
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from zentransfer import sealed_line
from zentransfer.ids import AccountID, CommandID, CredentialID, IdMaker, Kind
from zentransfer.limits import FLEET_TRACES_AT_ONCE, TRACE_S, TRACES_MAX
from zentransfer.network import MemoryNetwork
from zentransfer.v1.fleet_pb2 import ConnectResponse

CAMERA = Customer(kind=CredentialKind.FTP)
LASTS_MS = int(TRACE_S * 1000)


class Node(ToyProcess):
    """A process that can trace."""

    def __init__(self) -> None:
        snapshot = CAMERA.snapshot()
        self.tracing = Tracing(lambda: snapshot, LoopClock())
        super().__init__(cargo=Cargo(tracing=self.tracing))

    async def act(self, asked: Asked, /) -> None:
        self.tracing.open(CredentialID(asked.subject), asked.lasts_s)

    def said(self, *verbs: str) -> None:
        ear = self.tracing.traces.ear()
        ear.heard("USER", CAMERA.shown.name)
        for verb in verbs:
            ear.heard(verb, "")


class Scene:
    """Control with an ingest and a delivery process, all linked."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.book = TraceBook()
        self.notified: list[AccountID] = []
        desk = TraceDesk(self.book, LoopClock(), self.notified.extend)
        ids = IdMaker(Random(1).randbytes)
        self.service = FleetService(Fleet(), LoopClock(), ids, truth=Truth(traces=desk))
        self.nodes: dict[str, Node] = {}
        self._network = network
        network.listen(CONTROL, self.service.serve_stream)

    def start(self, group: asyncio.TaskGroup, name: str) -> Link:
        owner = self.nodes[name] = Node()
        link = Link(
            identity(name, Random(2)),
            lambda: self._network.dial(name, CONTROL),
            owner,
            LoopClock(),
            Random(3),
        )
        group.create_task(link.run())
        return link

    def lines(self) -> list[str]:
        return [
            sealed_line.open_sealed(
                CAMERA.private_key, CAMERA.account_id, CAMERA.credential_id, one.line.sealed
            )
            for one in self.book.behind(CAMERA.account_id, CAMERA.credential_id, 0)
        ]

    def open(self) -> None:
        now_ms = LoopClock().now_ms()
        until_ms = self.book.open(CAMERA.account_id, CAMERA.credential_id, now_ms)
        self.service.trace(CAMERA.credential_id, until_ms - now_ms)


@asynccontextmanager
async def scene(*names: str) -> AsyncIterator[tuple[Scene, asyncio.TaskGroup]]:
    async with MemoryNetwork(Random(1)) as network, asyncio.TaskGroup() as group:
        made = Scene(network)
        links = [made.start(group, name) for name in names]
        watch = group.create_task(made.service.watch())
        await asyncio.sleep(5)
        yield made, group
        for link in links:
            await link.aclose()
        watch.cancel()


def test_a_trace_reaches_the_ingest_processes_and_its_lines_come_back() -> None:
    async def main() -> None:
        async with scene("fr-1/ingest-0", "us-1/ingest-0", "fr-1/delivery-0") as (made, _):
            made.open()
            await asyncio.sleep(5)
            assert not made.nodes["fr-1/delivery-0"].tracing.traces.are_open
            made.nodes["fr-1/ingest-0"].said("NOOP")
            await asyncio.sleep(5)
            made.nodes["us-1/ingest-0"].said("PASS")
            await asyncio.sleep(5)
            user = f"> USER {CAMERA.shown.name}"
            assert made.lines() == [user, "> NOOP", user, "> PASS"]
            assert set(made.notified) == {CAMERA.account_id}
            made.service.trace(CAMERA.credential_id, 0)
            await asyncio.sleep(5)
            assert not made.nodes["us-1/ingest-0"].tracing.traces.are_open

    simulate(main())


def test_a_process_that_comes_later_traces_too_for_what_is_left() -> None:
    async def main() -> None:
        async with scene("fr-1/delivery-0") as (made, group):
            made.open()
            await asyncio.sleep(TRACE_S / 2)
            link = made.start(group, "fr-1/ingest-0")
            await asyncio.sleep(5)
            traces = made.nodes["fr-1/ingest-0"].tracing.traces
            assert traces.is_traced(CAMERA.credential_id)
            await asyncio.sleep(TRACE_S / 2)
            assert not traces.is_traced(CAMERA.credential_id)
            await link.aclose()

    simulate(main())


def test_what_is_over_is_forgotten_while_nobody_asks() -> None:
    async def main() -> None:
        async with scene("fr-1/ingest-0") as (made, _):
            made.open()
            await asyncio.sleep(5)
            made.nodes["fr-1/ingest-0"].said()
            await asyncio.sleep(5)
            assert made.lines()
            await asyncio.sleep(TRACE_S)
            assert not made.book._open

    simulate(main())


def test_a_process_that_links_while_as_many_as_may_be_are_traced_hears_of_all() -> None:
    async def main() -> None:
        async with scene("fr-1/ingest-0") as (made, group):
            for number in range(TRACES_MAX):
                credential = CredentialID(IdMaker(Random(number).randbytes).make(Kind.CREDENTIAL))
                made.book.open(AccountID(f"ac_{number}"), credential, LoopClock().now_ms())
            link = made.start(group, "us-1/ingest-0")
            await asyncio.sleep(5)
            traces = made.nodes["us-1/ingest-0"].tracing.traces
            assert all(traces.is_traced(one) for one in made.book.live(LoopClock().now_ms()))
            assert link.state()[0], "and its stream lived through it"
            # All of them end at once, and none of that ends a stream either.
            for credential in made.book.live(LoopClock().now_ms()):
                made.service.trace(credential, 0)
            await asyncio.sleep(5)
            assert not traces.are_open
            assert link.state()[0]
            await link.aclose()

    simulate(main())


class Told:
    """What a process was asked, in order."""

    def __init__(self) -> None:
        self.names: list[CommandID] = []
        self.asked: list[tuple[str, int]] = []
        self.lane = TraceLane(IdMaker(Random(1).randbytes), LoopClock(), self.command)

    def command(self, name: CommandID, message: ConnectResponse) -> None:
        self.names.append(name)
        self.asked.append((message.command.argument, message.command.expires_in_ms))


@pytest.mark.reaches("FLEET_TRACES_AT_ONCE")
def test_a_process_that_does_not_answer_is_asked_a_few_and_the_others_once_it_does() -> None:
    async def main() -> None:
        told = Told()
        wanted = {CredentialID(f"cr_{number}"): LASTS_MS for number in range(TRACES_MAX)}
        for _ in range(3):
            told.lane.ask(wanted)
        assert len(told.asked) == FLEET_TRACES_AT_ONCE
        told.lane.on_done(CommandID("another"))
        assert len(told.asked) == FLEET_TRACES_AT_ONCE
        await asyncio.sleep(1)
        told.lane.on_done(told.names[0])
        told.lane.on_done(told.names[0])
        told.lane.on_done(told.names[1])
        assert len(told.asked) == FLEET_TRACES_AT_ONCE + 2
        assert told.asked[-1][1] == LASTS_MS - 1_000, "for what is left by then"

    simulate(main())


def test_of_more_than_may_wait_the_one_that_is_over_first_is_not_asked() -> None:
    async def main() -> None:
        told = Told()
        count = FLEET_TRACES_AT_ONCE + TRACES_MAX
        for number in range(count - 1):
            told.lane.ask({CredentialID(f"cr_{number}"): LASTS_MS})
        told.lane.ask({CredentialID("cr_ended"): 0})
        told.lane.ask({CredentialID("cr_last"): LASTS_MS})
        for place in range(count):
            told.lane.on_done(told.names[place])
        names = [name for name, _ in told.asked]
        assert (len(names), names[-1]) == (count, "cr_last")
        assert "cr_ended" not in names

    simulate(main())
