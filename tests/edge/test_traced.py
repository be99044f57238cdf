import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from edge.link_state import Asked, Order, Verb
from edge.link_wire import parsed, traced
from edge.snapshot import CredentialKind
from edge.traced import Tracing
from tests.support.sim import simulate
from tests.support.snapshots import Customer
from zentransfer import sealed_line
from zentransfer.clock import ManualClock
from zentransfer.ids import CommandID, CredentialID, IdMaker, Kind
from zentransfer.limits import TRACE_LINES_PER_REPORT_MAX, TRACE_PAUSE_S, TRACE_S
from zentransfer.v1 import fleet_pb2
from zentransfer.v1.fleet_pb2 import ConnectResponse

CAMERA = replace(Customer(), kind=CredentialKind.FTP)
COMMAND = CommandID(IdMaker(bytes).make(Kind.COMMAND))


def tracing(clock: ManualClock, of: Customer = CAMERA) -> Tracing:
    snapshot = of.snapshot()
    return Tracing(lambda: snapshot, clock)


async def heard(of: Tracing, *verbs: str) -> None:
    ear = of.traces.ear()
    ear.heard("USER", CAMERA.shown.name)
    for verb in verbs:
        ear.heard(verb, "")


def test_a_line_is_told_sealed_to_its_account() -> None:
    async def main() -> None:
        one = tracing(ManualClock(5))
        one.open(CAMERA.credential_id, 60)
        await heard(one, "NOOP")
        (user, noop) = one.maybe_report()
        assert (user.credential, user.account) == (CAMERA.credential_id, CAMERA.account_id)
        assert (user.session, user.at_ms) == (1, 5)
        assert user.line.kid == CAMERA.account().name_kid
        opened = [
            sealed_line.open_sealed(
                CAMERA.private_key, CAMERA.account_id, CAMERA.credential_id, told.line.ciphertext
            )
            for told in (user, noop)
        ]
        assert opened == [f"> USER {CAMERA.shown.name}", "> NOOP"]
        assert one.maybe_report() == []

    simulate(main())


@pytest.mark.reaches("TRACE_LINES_PER_REPORT_MAX")
def test_a_report_has_only_so_many_lines() -> None:
    async def main() -> None:
        one = tracing(ManualClock())
        one.open(CAMERA.credential_id, 60)
        await heard(one, *["NOOP"] * TRACE_LINES_PER_REPORT_MAX)
        assert len(one.maybe_report()) == TRACE_LINES_PER_REPORT_MAX
        assert len(one.maybe_report()) == 1

    simulate(main())


@pytest.mark.reaches("TRACE_S")
def test_a_trace_lasts_no_longer_than_it_may() -> None:
    async def main() -> None:
        clock = ManualClock()
        one = tracing(clock)
        for lasts_s in (None, 10 * TRACE_S):
            one.open(CAMERA.credential_id, lasts_s)
            clock.advance(int(TRACE_S * 1000))
            assert not one.traces.is_traced(CAMERA.credential_id)

    simulate(main())


def test_a_programs_credential_and_a_node_without_a_snapshot_are_not_traced() -> None:
    async def main() -> None:
        for one in (tracing(ManualClock(), Customer()), Tracing(lambda: None, ManualClock())):
            one.open(CAMERA.credential_id, 60)
            await heard(one, "NOOP")
            assert one.maybe_report() == []

    simulate(main())


@pytest.mark.reaches("TRACE_PAUSE_S")
def test_control_is_told_at_a_pace() -> None:
    async def main() -> None:
        one = tracing(ManualClock())
        one.open(CAMERA.credential_id, 60)
        wakes: list[float] = []
        loop = asyncio.get_running_loop()

        async def speak() -> None:
            for _ in range(8):
                await heard(one, "NOOP")
                await asyncio.sleep(TRACE_PAUSE_S / 4)

        async with asyncio.TaskGroup() as group:
            watch = group.create_task(one.watch(lambda: wakes.append(loop.time())))
            await speak()
            await asyncio.sleep(2 * TRACE_PAUSE_S)
            watch.cancel()
        assert 2 <= len(wakes) <= 4
        pauses = [later - sooner for sooner, later in pairwise(wakes)]
        assert min(pauses) >= TRACE_PAUSE_S * 0.99

    simulate(main())


def test_what_control_asks_and_what_is_told_have_their_words_on_the_wire() -> None:
    async def main() -> None:
        command = fleet_pb2.Command(
            id=COMMAND,
            kind=fleet_pb2.COMMAND_KIND_TRACE,
            argument=CAMERA.credential_id,
            expires_in_ms=2_500,
        )
        asked = Asked(Verb.TRACE, CAMERA.credential_id, 2.5)
        assert parsed(ConnectResponse(command=command)) == Order(COMMAND, None, asked)
        command.argument = "nonsense"
        assert parsed(ConnectResponse(command=command)) == Order(COMMAND, None, None)
        one = tracing(ManualClock(7))
        one.open(CredentialID(asked.subject), asked.lasts_s)
        await heard(one)
        told = one.maybe_report()
        (line,) = traced(told).traced.lines
        assert line.credential_id == CAMERA.credential_id
        assert (line.session, line.at_ms) == (1, 7)
        assert line.sealed_line.ciphertext == told[0].line.ciphertext

    simulate(main())
