import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from random import Random

import pytest

from edge.link import Cargo, Link, Stream
from edge.link_state import Asked, Desired, DesiredState, Observed, Status, Verb
from edge.outbox import Outbox, open_outbox
from tests.support.fleet import CONTROL, START_MS, LoopClock, ToyProcess, identity
from tests.support.sim import simulate
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, IdMaker, Kind
from zentransfer.limits import (
    FLEET_HEARTBEAT_S,
    LINK_ACK_S,
    LINK_COMMAND_S,
    LINK_HEARTBEAT_S_MAX,
    LINK_HEARTBEAT_S_MIN,
    LINK_LAST_WORD_S,
    LINK_LONG_WAIT_S,
    LINK_REPLIES_MAX,
    LINK_RETRY_FIRST_S,
    LINK_SILENCE_S,
    LINK_TELL_ALL_S,
    LINK_WELCOME_S,
)
from zentransfer.memory_disk import MemoryDisk
from zentransfer.network import MemoryNetwork
from zentransfer.stream import MessageStream, StreamClosed
from zentransfer.v1 import fleet_pb2
from zentransfer.v1.fleet_pb2 import ConnectRequest, ConnectResponse

Far = MessageStream[ConnectResponse, ConnectRequest]
NAME = "fr-1/ingest-0"
DRAIN, RESUME = fleet_pb2.COMMAND_KIND_DRAIN, fleet_pb2.COMMAND_KIND_RESUME
COMMANDS = IdMaker(Random(7).randbytes)


def welcome(heartbeat_s: float = FLEET_HEARTBEAT_S, **desired: int) -> ConnectResponse:
    return ConnectResponse(
        welcome=fleet_pb2.Welcome(
            proto=1,
            heartbeat_interval_ms=round(heartbeat_s * 1000),
            desired=fleet_pb2.Desired(**desired),  # type: ignore[arg-type]  # its own enum's number
        )
    )


def command(kind: fleet_pb2.CommandKind, name: str = "") -> ConnectResponse:
    name = name or COMMANDS.make(Kind.COMMAND)
    return ConnectResponse(command=fleet_pb2.Command(id=name, kind=kind, expires_in_ms=60_000))


def echo(heartbeat: fleet_pb2.Heartbeat) -> ConnectResponse:
    now_ms = LoopClock().now_ms()
    return ConnectResponse(
        echo=fleet_pb2.HeartbeatEcho(t0_ms=heartbeat.t0_ms, t1_ms=now_ms, t2_ms=now_ms)
    )


class Script:
    """A control that does with each stream what a test says, and notes what comes."""

    def __init__(self, serve: Callable[["Script", Far], Awaitable[None]]) -> None:
        self._serve = serve
        self.streams_s: list[float] = []
        self.heard: list[ConnectRequest] = []
        self.beats_s: list[float] = []

    async def serve(self, stream: Far) -> None:
        self.streams_s.append(asyncio.get_running_loop().time())
        await self._serve(self, stream)

    async def hear(self, stream: Far) -> ConnectRequest:
        message = await stream.receive()
        self.heard.append(message)
        if message.HasField("heartbeat"):
            self.beats_s.append(asyncio.get_running_loop().time())
        return message

    async def greet(self, stream: Far, answer: ConnectResponse) -> None:
        assert (await self.hear(stream)).HasField("hello")
        await stream.send(answer)

    async def echo_all(self, stream: Far) -> None:
        while True:
            message = await self.hear(stream)
            if message.HasField("heartbeat"):
                await stream.send(echo(message.heartbeat))

    def done(self) -> list[fleet_pb2.CommandDone]:
        return [message.done for message in self.heard if message.HasField("done")]


class Side:
    """One link that runs against one script."""

    def __init__(self, link: Link, owner: ToyProcess, task: "asyncio.Task[None]") -> None:
        self.link = link
        self.owner = owner
        self.task = task
        self.is_leaving = False  # else the link must still run at the end


@asynccontextmanager
async def running(script: Script, owner: ToyProcess | None = None) -> AsyncIterator[Side]:
    owner = owner or ToyProcess()
    async with MemoryNetwork(Random(1)) as network:
        network.listen(CONTROL, script.serve)

        async def dial() -> Stream:
            return await network.dial(NAME, CONTROL)

        link = Link(identity(NAME, Random(2)), dial, owner, LoopClock(skew_ms=5_000), Random(3))
        async with asyncio.TaskGroup() as group:
            side = Side(link, owner, group.create_task(link.run()))
            yield side
            assert not side.task.done() or side.is_leaving
            side.task.cancel()


async def kind_control(script: Script, stream: Far) -> None:
    await script.greet(stream, welcome())
    await script.echo_all(stream)


def refusing(error: Error) -> Script:
    async def serve(script: Script, stream: Far) -> None:
        await script.hear(stream)
        raise error

    return Script(serve)


def test_it_says_who_it_is_and_beats_until_control_answers() -> None:
    async def main() -> None:
        script = Script(kind_control)
        async with running(script) as side:
            assert side.link.state() == (False, "control was not dialled yet")
            await asyncio.sleep(60)
            assert side.link.state() == (True, "linked to control")
        hello = script.heard[0].hello
        assert (hello.identity.node, hello.identity.process) == ("fr-1", "ingest-0")
        assert hello.identity.epoch.startswith("ep_")
        assert hello.kind == 1
        assert hello.region == 2
        assert (hello.proto_min, hello.proto_max) == (1, 1)
        assert hello.clock_ms == START_MS + 5_000
        beat = script.heard[-1].heartbeat
        assert beat.observed == fleet_pb2.OBSERVED_STATE_SERVING
        assert (beat.utilisation_permille, beat.uploads_in_flight) == (250, 3)
        assert beat.clock_offset_ms == -5_000
        assert len(script.streams_s) == 1

    simulate(main())


@pytest.mark.reaches("FLEET_HEARTBEAT_S")
def test_it_beats_every_ten_seconds_and_not_in_step() -> None:
    async def main() -> list[float]:
        script = Script(kind_control)
        async with running(script):
            await asyncio.sleep(600)
        return script.beats_s[2:]  # the first ones tell what was obeyed

    beats_s = simulate(main())
    pauses_s = [after - before for before, after in pairwise(beats_s)]
    assert all(9 <= pause_s <= 11 for pause_s in pauses_s)
    assert max(pauses_s) - min(pauses_s) > 1


@pytest.mark.reaches("LINK_HEARTBEAT_S_MIN", "LINK_HEARTBEAT_S_MAX")
@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"),
    [
        (0.001, LINK_HEARTBEAT_S_MIN, 1.11),
        (3600, 17.9, LINK_HEARTBEAT_S_MAX * 1.11),
        (0, 0.89, 1.11),
    ],
)
def test_no_welcome_makes_it_beat_too_fast_or_too_slowly(
    asked_s: float, least_s: float, most_s: float
) -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome(asked_s))
        await script.echo_all(stream)

    async def main() -> list[float]:
        script = Script(serve)
        async with running(script):
            await asyncio.sleep(90)
        return script.beats_s[2:]

    beats_s = simulate(main())
    pauses_s = [after - before for before, after in pairwise(beats_s)]
    assert all(least_s * 0.89 <= pause_s <= most_s for pause_s in pauses_s)


def test_a_change_is_told_at_once_but_not_in_a_burst() -> None:
    async def main() -> None:
        script = Script(kind_control)
        async with running(script) as side:
            await asyncio.sleep(15)
            before = len(script.beats_s)
            for _ in range(100):
                side.owner.observed = Observed.DRAINED
                side.link.changed()
            await asyncio.sleep(LINK_HEARTBEAT_S_MIN)
            assert len(script.beats_s) == before + 1
            assert script.heard[-1].heartbeat.observed == fleet_pb2.OBSERVED_STATE_DRAINED

    simulate(main())


# --- when control is away, silent, or says no ---


async def dead_dial() -> Stream:
    raise StreamClosed("the peer cannot be reached")


def test_control_s_absence_is_never_raised() -> None:
    async def main() -> None:
        link = Link(identity(NAME, Random(2)), dead_dial, ToyProcess(), LoopClock(), Random(3))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(link.run())
            await asyncio.sleep(3_600)
            assert not task.done()
            assert link.state() == (False, "not linked: the peer cannot be reached")
            assert link.offset() is None
            task.cancel()

    simulate(main())


@pytest.mark.reaches("LINK_WELCOME_S")
def test_a_control_without_a_welcome_is_dialled_anew() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.echo_all(stream)

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(LINK_WELCOME_S - 0.1)
            assert len(script.streams_s) == 1
            await asyncio.sleep(LINK_RETRY_FIRST_S + 0.2)
            assert len(script.streams_s) == 2
            assert side.link.state()[0] is False
            assert script.beats_s == []

    simulate(main())


@pytest.mark.reaches("LINK_SILENCE_S")
def test_a_silent_stream_is_dead_and_dialled_anew() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome())
        with suppress(StreamClosed):
            while True:
                await script.hear(stream)  # and answers nothing

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(LINK_SILENCE_S - 0.1)
            assert side.link.state()[0]
            await asyncio.sleep(0.2)
            assert side.link.state() == (False, "not linked: control was silent for too long")
            await asyncio.sleep(LINK_RETRY_FIRST_S)
            assert side.link.state()[0]
            assert len(script.streams_s) == 2

    simulate(main())


def test_a_dial_that_hangs_is_given_up() -> None:
    dials = 0

    async def hanging() -> Stream:
        nonlocal dials
        dials += 1
        await asyncio.sleep(1e9)
        raise AssertionError

    async def main() -> None:
        link = Link(identity(NAME, Random(2)), hanging, ToyProcess(), LoopClock(), Random(3))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(link.run())
            await asyncio.sleep(600)
            task.cancel()

    simulate(main())
    assert 600 / (LINK_WELCOME_S + 60) < dials < 60


@pytest.mark.parametrize("code", [Code.SUPERSEDED, Code.VERSION_MISMATCH, Code.FORBIDDEN])
def test_who_is_not_wanted_does_not_come_back_soon(code: Code) -> None:
    async def main() -> list[float]:
        script = refusing(Error(code, "no"))
        async with running(script) as side:
            await asyncio.sleep(10 * LINK_LONG_WAIT_S)
            assert side.link.state() == (False, "not linked: no")
        return script.streams_s

    dials_s = simulate(main())
    pauses_s = [after - before for before, after in pairwise(dials_s)]
    assert min(pauses_s) >= LINK_LONG_WAIT_S / 2


def test_control_may_ask_for_time() -> None:
    async def main() -> list[float]:
        script = refusing(Error(Code.OVERLOADED, "full", 40.0))
        async with running(script):
            await asyncio.sleep(600)
        return script.streams_s

    dials_s = simulate(main())
    assert all(b - a >= 40 for a, b in pairwise(dials_s))


@pytest.mark.parametrize("proto", [0, 2])
def test_a_version_that_was_not_offered_is_not_spoken(proto: int) -> None:
    async def serve(script: Script, stream: Far) -> None:
        answer = welcome()
        answer.welcome.proto = proto
        await script.greet(stream, answer)
        await script.echo_all(stream)

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(100)
            assert not side.link.state()[0]
            assert script.beats_s == []

    simulate(main())


def test_what_a_newer_control_says_is_passed_over() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, ConnectResponse())  # of the future, and before the welcome
        await stream.send(welcome())
        for message in (
            ConnectResponse(),
            ConnectResponse(delta={}),
            command(DRAIN, "not an id"),
        ):
            await stream.send(message)
        await script.echo_all(stream)

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(100)
            assert side.link.state()[0]
            assert len(script.streams_s) == 1
            assert script.done() == []

    simulate(main())


# --- what is desired ---


def test_it_obeys_what_the_welcome_desires() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(
            stream, welcome(state=fleet_pb2.DESIRED_STATE_DRAIN, remaining_ms=90_000)
        )
        await script.hear(stream)
        await stream.send(welcome(state=fleet_pb2.DESIRED_STATE_DISABLED, remaining_ms=5_000))
        await script.hear(stream)
        await stream.send(welcome(20.0))  # not given: active
        await script.echo_all(stream)

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(200)
            assert side.owner.told == [
                Desired(DesiredState.DRAIN, 90.0),
                Desired(DesiredState.DISABLED, 5.0),
                Desired(DesiredState.ACTIVE),
            ]
        assert script.beats_s[-1] - script.beats_s[-2] >= 18  # the new terms hold

    simulate(main())


async def commanded(
    owner: ToyProcess, *messages: ConnectResponse
) -> tuple[Script, list[fleet_pb2.CommandDone]]:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome())
        for message in messages:
            await stream.send(message)
        await script.echo_all(stream)

    script = Script(serve)
    async with running(script, owner):
        await asyncio.sleep(100)
    return script, script.done()


def test_a_command_is_done_once_and_answered_each_time() -> None:
    async def main() -> None:
        owner = ToyProcess()
        drain, resume = command(DRAIN), command(RESUME)
        _, done = await commanded(owner, drain, drain, resume, drain)
        assert [desired.state for desired in owner.told] == [
            DesiredState.ACTIVE,  # the welcome's
            DesiredState.DRAIN,
            DesiredState.ACTIVE,
        ]
        assert owner.told[1].remaining_s == 60
        assert [one.state for one in done] == [fleet_pb2.COMMAND_STATE_DONE] * 4
        assert [one.id for one in done].count(drain.command.id) == 3

    simulate(main())


def test_a_command_is_remembered_from_one_stream_to_the_next() -> None:
    drain = command(DRAIN)

    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome())
        await stream.send(drain)
        while not (await script.hear(stream)).HasField("done"):
            pass

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(100)
            drains = [one for one in side.owner.told if one.state is DesiredState.DRAIN]
            assert len(script.done()) > 2
            assert len(drains) == 1

    simulate(main())


def test_a_drain_is_reported_with_the_next_heartbeat_at_once() -> None:
    async def main() -> None:
        script, _ = await commanded(ToyProcess(), command(DRAIN))
        early = [message.heartbeat.observed for message in script.heard[:5]]
        assert fleet_pb2.OBSERVED_STATE_DRAINING in early
        assert script.beats_s[1] <= LINK_HEARTBEAT_S_MIN

    simulate(main())


def test_what_it_does_not_know_it_refuses() -> None:
    async def main() -> None:
        _, done = await commanded(ToyProcess(), command(fleet_pb2.COMMAND_KIND_ERASE))
        (refused,) = done
        assert refused.state == fleet_pb2.COMMAND_STATE_REFUSED
        assert refused.reason == "method_not_allowed"

    simulate(main())


def asked(kind: fleet_pb2.CommandKind, subject: str) -> ConnectResponse:
    message = command(kind)
    message.command.argument = subject
    return message


def test_what_is_asked_is_handed_to_the_owner_once() -> None:
    async def main() -> None:
        owner = ToyProcess()
        delivery, upload = COMMANDS.make(Kind.DELIVERY), COMMANDS.make(Kind.UPLOAD)
        retry = asked(fleet_pb2.COMMAND_KIND_RETRY, delivery)
        cancel = asked(fleet_pb2.COMMAND_KIND_CANCEL, upload)
        _, done = await commanded(owner, retry, cancel, retry)
        assert owner.asked == [Asked(Verb.RETRY, delivery), Asked(Verb.CANCEL, upload)]
        assert [one.state for one in done] == [fleet_pb2.COMMAND_STATE_DONE] * 3

    simulate(main())


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Error(Code.NOT_FOUND), fleet_pb2.COMMAND_STATE_REFUSED),
        (Error(Code.SINK_UNAVAILABLE), fleet_pb2.COMMAND_STATE_FAILED),
    ],
    ids=["for good", "for now"],
)
def test_what_cannot_be_done_is_refused_and_what_may_heal_has_failed(
    error: Error, state: fleet_pb2.CommandState
) -> None:
    async def main() -> None:
        cancel = asked(fleet_pb2.COMMAND_KIND_CANCEL, COMMANDS.make(Kind.UPLOAD))
        _, (done,) = await commanded(ToyProcess(error=error), cancel)
        assert (done.state, done.reason) == (state, error.code)

    simulate(main())


def test_what_failed_is_told_and_may_be_tried_again() -> None:
    async def main() -> None:
        drain = command(DRAIN)
        _, done = await commanded(ToyProcess(error=Error(Code.SINK_UNAVAILABLE)), drain, drain)
        assert [one.state for one in done] == [fleet_pb2.COMMAND_STATE_FAILED] * 2
        assert {one.reason for one in done} == {"sink_unavailable"}

    simulate(main())


@pytest.mark.reaches("LINK_COMMAND_S")
def test_a_command_that_is_not_taken_in_hand_in_time_has_failed() -> None:
    async def main() -> None:
        owner = ToyProcess(takes_s=LINK_COMMAND_S + 0.1)
        _, done = await commanded(owner, command(DRAIN))
        assert [(one.state, one.reason) for one in done] == [
            (fleet_pb2.COMMAND_STATE_FAILED, "timeout")
        ]
        assert owner.told == []

    simulate(main())


@pytest.mark.reaches("LINK_REPLIES_MAX")
def test_a_control_that_takes_no_answers_loses_the_stream() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome())
        with suppress(StreamClosed):
            for _ in range(LINK_REPLIES_MAX + 100):
                await stream.send(command(DRAIN))
        await asyncio.sleep(1e6)  # and never reads

    async def main() -> None:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(0.1)
            detail = "not linked: control commands faster than it takes our answers"
            assert side.link.state() == (False, detail)

    simulate(main())


# --- our own faults ---


class Faulty(ToyProcess):
    """A process with a mistake in it."""

    def status(self) -> Status:
        raise ZeroDivisionError

    async def obey(self, desired: Desired, /) -> None:
        raise ZeroDivisionError


def logged(main: Callable[[], Coroutine[object, object, None]]) -> list[dict[str, object]]:
    """Run *main* and return what it wrote to the log."""
    stream = io.StringIO()
    log.setup("ingest-0", stream)
    try:
        simulate(main())
    finally:
        log.setup("early")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_fault_of_the_owner_is_logged_and_the_link_goes_on() -> None:
    async def main() -> None:
        async with running(Script(kind_control), Faulty()) as side:
            await asyncio.sleep(600)
            assert side.link.state() == (False, "not linked: a fault of our own")

    lines = logged(main)
    assert {line["fact"] for line in lines} >= {"link.failed"}
    assert {line.get("error") for line in lines} >= {"ZeroDivisionError"}


def test_a_fault_in_obeying_is_answered() -> None:
    class Unruly(ToyProcess):
        async def obey(self, desired: Desired, /) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        _, done = await commanded(Unruly(), command(DRAIN))
        assert [(one.state, one.reason) for one in done] == [
            (fleet_pb2.COMMAND_STATE_FAILED, "internal")
        ]

    assert "link.obey_failed" in {line["fact"] for line in logged(main)}


# --- the log: one line where something changed ---


def test_a_long_time_without_control_is_one_line() -> None:
    async def main() -> None:
        link = Link(identity(NAME, Random(2)), dead_dial, ToyProcess(), LoopClock(), Random(3))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(link.run())
            await asyncio.sleep(3_600)
            task.cancel()

    assert [line["fact"] for line in logged(main)] == ["link.away"]


def test_a_mismatch_of_versions_names_both_ranges_and_the_cure() -> None:
    detail = "control speaks versions 2 to 3, the process 1 to 1: update the node"

    async def main() -> None:
        async with running(refusing(Error(Code.VERSION_MISMATCH, detail))):
            await asyncio.sleep(1)

    (line,) = logged(main)
    assert (line["fact"], line["level"]) == ("link.version_mismatch", "error")
    assert (line["node"], line["detail"]) == ("fr-1", detail)


def test_superseded_and_refused_links_say_so() -> None:
    async def main() -> None:
        for code in (Code.SUPERSEDED, Code.FORBIDDEN):
            async with running(refusing(Error(code))):
                await asyncio.sleep(1)

    assert [(line["fact"], line.get("reason")) for line in logged(main)] == [
        ("link.superseded", None),
        ("link.refused", "forbidden"),
    ]


def test_up_and_down_are_told_with_their_times() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome())
        await asyncio.sleep(20)

    async def main() -> None:
        async with running(Script(serve)):
            await asyncio.sleep(20.6)

    up, down, again = logged(main)
    assert (up["fact"], up["version"], up["dials"]) == ("link.up", 1, 1)
    assert (down["fact"], down["lived_s"]) == ("link.down", 20.0)
    assert again["fact"] == "link.up"


# --- leaving ---


async def left(side: Side) -> float:
    """Close the link, twice at once, and return how long that took."""
    loop = asyncio.get_running_loop()
    before_s = loop.time()
    side.is_leaving = True
    async with asyncio.TaskGroup() as group:
        group.create_task(side.link.aclose())
        group.create_task(side.link.aclose())
    await side.link.aclose()
    await side.task
    assert side.link.state() == (False, "the process leaves")
    return loop.time() - before_s


def test_leaving_says_the_last_state_and_waits_until_control_has_it() -> None:
    async def main() -> None:
        script = Script(kind_control)
        async with running(script) as side:
            await asyncio.sleep(15)
            side.owner.observed = Observed.DRAINED
            assert await left(side) == 0
            assert script.heard[-1].heartbeat.observed == fleet_pb2.OBSERVED_STATE_DRAINED

    simulate(main())


@pytest.mark.reaches("LINK_LAST_WORD_S")
def test_leaving_does_not_wait_long_for_a_control_that_hangs() -> None:
    async def serve(script: Script, stream: Far) -> None:
        await script.greet(stream, welcome())
        await asyncio.sleep(1e6)

    async def main() -> None:
        async with running(Script(serve)) as side:
            await asyncio.sleep(5)
            assert await left(side) == LINK_LAST_WORD_S

    simulate(main())


async def with_facts(disk: MemoryDisk, count: int) -> Outbox:
    """Return an outbox with *count* facts."""
    outbox = await open_outbox(disk, "outbox", lambda: EpochID(COMMANDS.make(Kind.EPOCH)))
    for _ in range(count):
        await outbox.add(b"a fact")
    return outbox


@pytest.mark.reaches("LINK_TELL_ALL_S")
@pytest.mark.parametrize("commits", [True, False], ids=["commits", "hangs"])
def test_leaving_waits_a_little_for_control_to_commit_the_facts(commits: bool) -> None:
    async def serve(script: Script, stream: Far) -> None:
        hello = (await script.hear(stream)).hello
        terms = welcome()
        terms.welcome.credit = 4
        terms.welcome.resume_from.epoch = hello.outbox_epoch
        terms.welcome.resume_from.sequence = 1
        await stream.send(terms)
        while True:
            message = await script.hear(stream)
            if message.HasField("heartbeat"):
                await stream.send(echo(message.heartbeat))
            if message.HasField("facts") and commits:
                await asyncio.sleep(1)
                ack = fleet_pb2.FactsAck(epoch=hello.outbox_epoch, sequence=3)
                await stream.send(ConnectResponse(facts_ack=ack))

    async def main() -> None:
        owner = ToyProcess()
        outbox = await with_facts(MemoryDisk(Random(1)), 3)
        owner.cargo = Cargo(outbox)
        async with running(Script(serve), owner) as side:
            await asyncio.sleep(0.1)
            before_s = asyncio.get_running_loop().time()
            await side.link.tell_all()
            took_s = asyncio.get_running_loop().time() - before_s
            assert took_s == pytest.approx(0.9 if commits else LINK_TELL_ALL_S)
            assert outbox.lag == (0 if commits else 3)
            await left(side)
            await side.link.tell_all()  # nobody to tell

    simulate(main())


def test_facts_do_not_hold_up_heartbeats() -> None:
    async def serve(script: Script, stream: Far) -> None:
        hello = (await script.hear(stream)).hello
        terms = welcome()
        terms.welcome.credit = 4
        terms.welcome.resume_from.epoch = hello.outbox_epoch
        terms.welcome.resume_from.sequence = 1
        await stream.send(terms)
        await script.echo_all(stream)

    async def main() -> None:
        script, owner = Script(serve), ToyProcess()
        owner.cargo = Cargo(await with_facts(MemoryDisk(Random(1)), 3_000))
        async with running(script, owner) as side:
            await asyncio.sleep(590)  # control never acks: what is in flight is sent again
            assert side.link.state()[0]
        assert len(script.beats_s) >= 590 / FLEET_HEARTBEAT_S
        sent = [message for message in script.heard if message.HasField("facts")]
        assert len(sent) == 4 * (1 + 590 // LINK_ACK_S)

    simulate(main())


def test_leaving_waits_for_no_control_that_is_away() -> None:
    async def main() -> None:
        async with running(refusing(Error(Code.SUPERSEDED))) as side:
            await asyncio.sleep(5)
            assert await left(side) == 0

    simulate(main())


def test_a_link_that_was_closed_first_ends_at_once() -> None:
    async def main() -> None:
        link = Link(identity(NAME, Random(2)), dead_dial, ToyProcess(), LoopClock(), Random(3))
        link.changed()  # nobody to tell
        await link.aclose()
        await link.run()

    simulate(main())


@pytest.mark.parametrize("after_s", [0, 0.001, 5, 31, 45, 100])
def test_a_cancelled_link_closes_its_stream(after_s: float) -> None:
    ended: list[str] = []

    async def serve(script: Script, stream: Far) -> None:
        try:
            await kind_control(script, stream)
        except StreamClosed as closed:
            ended.append(closed.detail)

    async def main() -> int:
        script = Script(serve)
        async with running(script) as side:
            await asyncio.sleep(after_s)
            side.is_leaving = True
            side.task.cancel()
            await asyncio.sleep(1)
            return len(script.streams_s)

    assert simulate(main()) == len(ended)
    assert set(ended) <= {"the peer closed the stream"}
