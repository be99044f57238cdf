import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest

from control.fleet.model import DesiredState, Fleet
from control.fleet.states import Observed
from control.rpc.fleet import DEFAULT_TIMING, FleetService, Timing
from edge.link import Link
from edge.link import Timing as LinkTiming
from edge.link_state import Observed as Said
from tests.support.fleet import CONTROL, START_MS, LoopClock, ToyProcess, identity
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer import log, rpc
from zentransfer.clock import SystemClock
from zentransfer.errors import Code
from zentransfer.ids import EpochID, IdMaker, Kind, NodeID
from zentransfer.limits import (
    FLEET_HEARTBEAT_S,
    FLEET_HELLO_S,
    FLEET_LOST_S,
    FLEET_OUTBOUND_MAX,
    FLEET_TICK_S,
)
from zentransfer.network import MemoryNetwork
from zentransfer.rpc_stream import Dialler
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1 import fleet_pb2, types_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub

Near = MessageStream[ConnectRequest, ConnectResponse]
Dial = Callable[[], Awaitable[Near]]
NAME = "fr-1/ingest-0"
FR1 = NodeID("fr-1")
EPOCHS = IdMaker(Random(5).randbytes)


def hello(name: str = NAME, epoch: str = "", **fields: Any) -> ConnectRequest:
    node, _, process = name.partition("/")
    is_ingest = process.startswith("ingest")
    given: dict[str, Any] = {
        "identity": types_pb2.Identity(
            node=node, process=process, epoch=epoch or EPOCHS.make(Kind.EPOCH)
        ),
        "kind": types_pb2.PROCESS_KIND_INGEST if is_ingest else types_pb2.PROCESS_KIND_DELIVERY,
        "region": types_pb2.REGION_FR,
        "proto_min": 1,
        "proto_max": 1,
    }
    return ConnectRequest(hello=fleet_pb2.Hello(**given | fields))


def beat(observed: int = fleet_pb2.OBSERVED_STATE_SERVING, t0_ms: int = 7) -> ConnectRequest:
    beaten: Any = {"observed": observed, "t0_ms": t0_ms}
    return ConnectRequest(heartbeat=fleet_pb2.Heartbeat(**beaten))


class Control:
    """A fleet and its service, to be dialled in memory."""

    def __init__(self, network: MemoryNetwork, timing: Timing) -> None:
        self.fleet = Fleet()
        self.service = FleetService(self.fleet, LoopClock(), IdMaker(Random(1).randbytes), timing)
        self._network = network
        network.listen(CONTROL, self.service.serve_stream)

    async def dial(self) -> Near:
        return await self._network.dial(NAME, CONTROL)

    async def joined(self, name: str = NAME, epoch: str = "") -> Near:
        """Return a stream that was welcomed and has said one heartbeat."""
        stream = await self.dial()
        await stream.send(hello(name, epoch))
        assert (await stream.receive()).HasField("welcome")
        await stream.send(beat())
        assert (await stream.receive()).HasField("echo")
        return stream

    def seen(self) -> dict[str, Observed]:
        return {
            f"{node.node}/{process.name}": process.observed
            for node in self.fleet.nodes()
            for process in node.processes
            if process.is_connected
        }


@asynccontextmanager
async def running(timing: Timing = DEFAULT_TIMING) -> AsyncIterator[Control]:
    async with MemoryNetwork(Random(1)) as network:
        yield Control(network, timing)


async def end_of(stream: Near) -> StreamClosed:
    """Return why *stream* ended, passing over what came before."""
    try:
        while True:
            await stream.receive()
    except StreamClosed as closed:
        return closed


async def refusal_of(*messages: ConnectRequest) -> StreamClosed:
    async with running() as control:
        stream = await control.dial()
        for message in messages:
            await stream.send(message)
        closed = await end_of(stream)
        assert control.fleet.nodes() == []
        return closed


# --- hello and welcome ---


@pytest.mark.reaches("FLEET_HEARTBEAT_S")
def test_a_welcome_sets_the_terms() -> None:
    async def main() -> None:
        async with running() as control:
            stream = await control.dial()
            await asyncio.sleep(2)
            await stream.send(hello(proto_min=1, proto_max=9))
            welcome = (await stream.receive()).welcome
            assert welcome.proto == 1
            assert welcome.heartbeat_interval_ms == FLEET_HEARTBEAT_S * 1000
            assert welcome.credit == 0  # this control takes no facts yet
            assert welcome.resume_from.epoch == ""
            assert welcome.desired.state == fleet_pb2.DESIRED_STATE_ACTIVE
            assert welcome.clock_ms == START_MS + 2_000
            assert control.seen() == {}

    simulate(main())


@pytest.mark.parametrize(
    "message",
    [
        ConnectRequest(),
        beat(),
        hello("moon-1/ingest-0"),
        hello("fr-1/ingest-x"),
        hello("fr-1/control", kind=types_pb2.PROCESS_KIND_UNSPECIFIED),
        hello(kind=types_pb2.PROCESS_KIND_DELIVERY),
        hello(kind=types_pb2.PROCESS_KIND_UNSPECIFIED),
        hello(region=types_pb2.REGION_US),
        hello(region=types_pb2.REGION_UNSPECIFIED),
        hello(identity=types_pb2.Identity(node="fr-1", process="ingest-0", epoch="1")),
        hello(proto_min=2, proto_max=1),
    ],
    ids=str,
)
def test_a_malformed_hello_is_refused(message: ConnectRequest) -> None:
    assert simulate(refusal_of(message)).code == Code.INVALID


@pytest.mark.parametrize(
    ("least", "most", "detail"),
    [
        (2, 3, "control speaks versions 1 to 1, the process 2 to 3: update control"),
        (0, 0, "control speaks versions 1 to 1, the process 0 to 0: update the node"),
    ],
)
def test_without_a_shared_version_both_ranges_are_named(least: int, most: int, detail: str) -> None:
    closed = simulate(refusal_of(hello(proto_min=least, proto_max=most)))
    assert (closed.code, closed.detail) == (Code.VERSION_MISMATCH, detail)


def test_a_node_is_who_its_certificate_says() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:
            fleet = Fleet()
            service = FleetService(fleet, LoopClock(), IdMaker(Random(1).randbytes))
            network.listen(CONTROL, lambda stream: service.serve_stream(stream, FR1))
            for name, code in (("fr-2/ingest-0", Code.FORBIDDEN), ("fr-1/ingest-0", None)):
                stream = await network.dial(name, CONTROL)
                await stream.send(hello(name))
                if code:
                    assert (await end_of(stream)).code == code
                else:
                    assert (await stream.receive()).HasField("welcome")

    simulate(main())


# --- heartbeats and their end ---


def test_a_heartbeat_is_echoed_with_the_times_of_its_stay() -> None:
    async def main() -> None:
        async with running() as control:
            stream = await control.joined()
            await asyncio.sleep(3)
            await stream.send(beat(t0_ms=12_345))
            echo = (await stream.receive()).echo
            assert echo.t0_ms == 12_345
            assert START_MS + 3_000 <= echo.t1_ms <= echo.t2_ms <= START_MS + 3_001
            assert control.seen() == {NAME: Observed.SERVING}

    simulate(main())


@pytest.mark.parametrize(
    "observed", [fleet_pb2.OBSERVED_STATE_UNSPECIFIED, fleet_pb2.OBSERVED_STATE_LOST, 99]
)
def test_a_heartbeat_says_what_a_process_may_say_of_itself(observed: int) -> None:
    async def main() -> None:
        async with running() as control:
            stream = await control.joined()
            await stream.send(beat(observed))
            assert (await end_of(stream)).code == Code.INVALID

    simulate(main())


@pytest.mark.reaches("FLEET_HELLO_S")
@pytest.mark.parametrize("messages", [[], [hello()]], ids=["no hello", "no heartbeat"])
def test_a_stream_that_does_not_begin_is_ended(messages: list[ConnectRequest]) -> None:
    async def main() -> None:
        async with running() as control:
            stream = await control.dial()
            for message in messages:
                await stream.send(message)
            await asyncio.sleep(FLEET_HELLO_S - 0.1)
            await stream.send(ConnectRequest())  # says nothing
            async with asyncio.timeout(0.2):
                closed = await end_of(stream)
            assert closed.code in (Code.TIMEOUT, Code.INVALID)
            assert (closed.code == Code.INVALID) == (not messages)
            assert control.fleet.nodes() == []

    simulate(main())


@pytest.mark.reaches("FLEET_LOST_S")
def test_a_stream_without_heartbeats_is_ended_whatever_else_it_says() -> None:
    async def main() -> None:
        async with running() as control:
            stream = await control.joined()
            for _ in range(5):
                await asyncio.sleep(FLEET_LOST_S / 5 - 0.01)
                await stream.send(ConnectRequest())
            assert control.seen() == {NAME: Observed.SERVING}
            async with asyncio.timeout(0.1):
                assert (await end_of(stream)).code == Code.TIMEOUT
            assert control.seen() == {}
            assert control.service._sessions == {}

    simulate(main())


@pytest.mark.reaches("FLEET_TICK_S")
def test_silence_is_judged_every_second() -> None:
    async def main() -> None:
        async with running() as control, asyncio.TaskGroup() as group:
            watch = group.create_task(control.service.watch())
            await asyncio.sleep(0.5)
            await (await control.joined()).close()
            await asyncio.sleep(30 - FLEET_TICK_S)
            assert control.fleet.nodes()[0].observed is Observed.SERVING
            await asyncio.sleep(2 * FLEET_TICK_S)
            assert control.fleet.nodes()[0].observed is Observed.LATE
            watch.cancel()

    simulate(main())


# --- two streams of one process ---


def test_a_newer_start_ends_the_older_stream_and_says_so() -> None:
    async def main() -> None:
        async with running() as control:
            old = await control.joined()
            new = await control.joined()
            closed = await end_of(old)
            assert closed.code == Code.SUPERSEDED
            await new.send(beat(fleet_pb2.OBSERVED_STATE_DRAINING))
            await new.receive()
            assert control.seen() == {NAME: Observed.DRAINING}

    simulate(main())


def test_the_end_of_a_superseded_stream_leaves_the_new_one_alone() -> None:
    async def main() -> None:
        async with running() as control:
            old = await control.joined()
            await control.joined()
            await old.close()
            await asyncio.sleep(1)
            assert control.seen() == {NAME: Observed.SERVING}
            assert len(control.service._sessions) == 1

    simulate(main())


# --- what is wanted ---


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_what_is_wanted_is_told_to_live_streams_and_in_the_welcome() -> None:
    async def main() -> None:
        async with running() as control:
            fleet, service = control.fleet, control.service
            stream = await control.joined()
            service.apply(fleet.drain(FR1, 90, now_s()))
            drain = (await stream.receive()).command
            assert (drain.kind, drain.expires_in_ms) == (fleet_pb2.COMMAND_KIND_DRAIN, 90_000)
            service.apply(fleet.activate(FR1))
            resume = (await stream.receive()).command
            assert (resume.kind, resume.expires_in_ms) == (fleet_pb2.COMMAND_KIND_RESUME, 0)
            assert resume.id != drain.id
            service.apply(fleet.disable(FR1, 60, now_s()))
            terms = (await stream.receive()).welcome
            assert terms.proto == 1
            assert terms.desired.state == fleet_pb2.DESIRED_STATE_DISABLED
            assert terms.desired.remaining_ms == 60_000
            await asyncio.sleep(20)
            other = await control.dial()
            await other.send(hello("fr-1/delivery-0"))
            desired = (await other.receive()).welcome.desired
            assert desired.state == fleet_pb2.DESIRED_STATE_DISABLED
            assert desired.remaining_ms == 40_000

    simulate(main())


def test_a_drain_whose_time_is_over_is_still_a_drain_with_an_end() -> None:
    async def main() -> None:
        async with running() as control:
            await control.joined()
            control.service.apply(control.fleet.drain(FR1, 1, now_s()))
            await asyncio.sleep(10)
            stream = await control.dial()
            await stream.send(hello())
            desired = (await stream.receive()).welcome.desired
            assert (desired.state, desired.remaining_ms) == (fleet_pb2.DESIRED_STATE_DRAIN, 1)

    simulate(main())


@pytest.mark.reaches("FLEET_OUTBOUND_MAX")
def test_a_node_that_does_not_read_loses_its_stream_and_holds_nobody() -> None:
    async def main() -> None:
        async with running() as control:
            deaf = await control.joined()
            other = await control.joined("fr-2/ingest-0")
            for _ in range(2 * FLEET_OUTBOUND_MAX):
                control.service.apply(control.fleet.drain(FR1, 60, now_s()))
                await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            assert control.seen() == {"fr-2/ingest-0": Observed.SERVING}
            closed = await end_of(deaf)
            assert closed.code == Code.OVERLOADED
            assert closed.retry_after_s is not None
            await other.send(beat())
            assert (await other.receive()).HasField("echo")

    simulate(main())


# --- the log ---


def logged(main: Callable[[], Coroutine[object, object, None]]) -> list[dict[str, object]]:
    """Run *main* and return what it wrote to the log."""
    stream = io.StringIO()
    log.setup("control", stream)
    try:
        simulate(main())
    finally:
        log.setup("early")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_stream_is_two_lines_and_a_command_one() -> None:
    async def main() -> None:
        async with running() as control:
            stream = await control.joined()
            control.service.apply(control.fleet.drain(FR1, 60, now_s()))
            name = (await stream.receive()).command.id
            done = fleet_pb2.CommandDone(id=name, state=fleet_pb2.COMMAND_STATE_DONE)
            for _ in range(3):  # only the first is an answer
                await stream.send(ConnectRequest(done=done))
            await stream.send(
                ConnectRequest(
                    done=fleet_pb2.CommandDone(id="made up", state=fleet_pb2.COMMAND_STATE_DONE)
                )
            )
            await asyncio.sleep(5)
            await stream.close()
            await asyncio.sleep(0)

    connected, ended, disconnected = logged(main)
    assert connected["fact"] == "fleet.connected"
    assert (connected["node"], connected["process"], connected["version"]) == (FR1, "ingest-0", 1)
    assert (ended["fact"], ended["state"]) == ("fleet.command_ended", "done")
    assert (disconnected["fact"], disconnected["lived_s"]) == ("fleet.disconnected", 5.0)


def test_what_is_refused_is_one_line_each() -> None:
    async def main() -> None:
        for message in (beat(), hello(proto_min=2, proto_max=2), hello(region=1)):
            await refusal_of(message)
        async with running() as control:
            await (await control.dial()).close()  # came and went, which is nobody's fault
            await asyncio.sleep(1)

    nobody, newer, elsewhere = logged(main)
    assert (nobody["fact"], nobody["reason"]) == ("fleet.refused", "invalid")
    assert newer["fact"] == "fleet.version_mismatch"
    detail = "control speaks versions 1 to 1, the process 2 to 2: update control"
    assert newer["detail"] == detail
    assert (elsewhere["fact"], elsewhere["reason"]) == ("fleet.refused", "invalid")


def test_what_a_person_may_want_to_know_is_logged() -> None:
    async def main() -> None:
        async with running() as control, asyncio.TaskGroup() as group:
            watch = group.create_task(control.service.watch())
            first = EpochID(EPOCHS.make(Kind.EPOCH))
            await control.joined(epoch=first)
            await control.joined()
            for _ in range(3):
                stream = await control.dial()
                await stream.send(hello(epoch=first))
                await stream.receive()
                with suppress(StreamClosed):
                    await stream.send(beat())
                    await end_of(stream)
            control.service.apply(control.fleet.activate(FR1))
            control.service.apply(control.fleet.disable(FR1, 5, now_s()))
            others = [await control.joined(f"fr-{number}/ingest-0") for number in (2, 3, 4)]
            for _ in range(4):
                await asyncio.sleep(20)
                for other in others:
                    await other.send(beat())
            await control.joined()
            await asyncio.sleep(1)
            watch.cancel()

    facts = [line["fact"] for line in logged(main)]
    expected = ["quarantined", "released", "enabled", "late", "lost", "back"]
    assert [name for name in facts if str(name).removeprefix("fleet.") in expected] == [
        f"fleet.{word}" for word in expected
    ]


def test_a_region_that_is_silent_as_a_whole_is_logged_once() -> None:
    async def main() -> None:
        async with running() as control, asyncio.TaskGroup() as group:
            watch = group.create_task(control.service.watch())
            await control.joined()
            await asyncio.sleep(200)
            watch.cancel()

    (held,) = (line for line in logged(main) if line["fact"] == "fleet.held")
    assert held["region"] == "fr"


# --- over gRPC ---

FAST = Timing(heartbeat_s=0.05, hello_s=2.0, silence_s=0.5, tick_s=0.05)


@asynccontextmanager
async def over_grpc() -> AsyncIterator[tuple[Fleet, FleetService, Dial, str]]:
    fleet = Fleet()
    service = FleetService(fleet, SystemClock(), IdMaker(Random(1).randbytes), FAST)
    async with rpc.server("127.0.0.1:0", service.register) as port:
        address = f"127.0.0.1:{port}"
        dialler: Dialler[ConnectRequest, ConnectResponse] = Dialler(
            lambda: rpc.channel(address), lambda channel: FleetServiceStub(channel).Connect
        )
        async with dialler:
            yield fleet, service, dialler.dial, address


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def linked(dial: Dial, owner: ToyProcess, seed: int = 1) -> Link:
    timing = LinkTiming(heartbeat_s_min=0.02)
    return Link(identity(NAME, Random(seed)), dial, owner, SystemClock(), Random(seed), timing)


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_a_link_over_grpc_beats_drains_and_leaves(uvloop: bool) -> None:
    async def main() -> None:
        async with over_grpc() as (fleet, service, dial, _), asyncio.TaskGroup() as group:
            owner = ToyProcess()
            link = linked(dial, owner)
            run = group.create_task(link.run())
            await until(lambda: link.state()[0])
            await until(lambda: link.offset() is not None)
            offset = link.offset()
            assert offset is not None
            assert abs(offset.offset_ms) <= offset.round_trip_ms / 2 + 1  # it is the same clock
            service.apply(fleet.drain(FR1, 60, now_s()))
            await until(lambda: fleet.nodes()[0].observed is Observed.DRAINING)
            assert fleet.nodes()[0].desired.state is DesiredState.DRAIN
            owner.observed = Said.DRAINED
            await link.aclose()
            await run
            await until(lambda: fleet.nodes()[0].observed is Observed.DRAINED)

    real_loop(main(), uvloop=uvloop)


def test_a_newer_process_supersedes_over_grpc_too() -> None:
    async def main() -> None:
        async with over_grpc() as (fleet, _, dial, _), asyncio.TaskGroup() as group:
            old, new = linked(dial, ToyProcess(), 1), linked(dial, ToyProcess(), 2)
            runs = [group.create_task(old.run())]
            await until(lambda: bool(fleet.nodes() and fleet.nodes()[0].processes))
            runs.append(group.create_task(new.run()))
            detail = "not linked: a newer stream of this process took over"
            await until(lambda: old.state() == (False, detail))
            assert new.state()[0]
            await asyncio.sleep(2 * FAST.silence_s)
            assert new.state()[0]
            for run in runs:
                run.cancel()

    real_loop(main())


def test_what_is_not_offered_yet_is_unimplemented() -> None:
    async def main() -> None:
        async with over_grpc() as (_, _, _, address):
            channel = rpc.channel(address)
            stub = FleetServiceStub(channel)
            for call in (
                stub.Enroll(fleet_pb2.EnrollRequest()),
                stub.Renew(fleet_pb2.RenewRequest()),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await anext(aiter(stub.FetchSnapshot(fleet_pb2.FetchSnapshotRequest())))
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            await channel.close()

    real_loop(main())


def test_a_control_that_comes_back_is_found_again() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            address = ""
            async with Dialler[ConnectRequest, ConnectResponse](
                lambda: rpc.channel(address), lambda channel: FleetServiceStub(channel).Connect
            ) as dialler:
                link = linked(dialler.dial, ToyProcess())
                async with over_grpc() as (_, _, _, first):
                    address = first
                    run = group.create_task(link.run())
                    await until(lambda: link.state()[0])
                await until(lambda: not link.state()[0])
                async with over_grpc() as (_, _, _, second):
                    address = second
                    await until(lambda: link.state()[0])
                    await link.aclose()
                    await run

    real_loop(main())
