import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sim import simulate
from tests.support.stream_suite import Far, echo, nothing, number, received, request, response
from zentransfer.errors import Code
from zentransfer.limits import (
    NETWORK_DIAL_S,
    NETWORK_HISTORY_EVENTS_MAX,
    NETWORK_PIPE_MESSAGES_MAX,
    NETWORK_STREAMS_MAX,
)
from zentransfer.network import Event, Faults, MemoryNetwork
from zentransfer.stream import StreamClosed

SLOW = Faults(delay_min_s=0.01, delay_max_s=0.03)
HARSH = Faults(loss=0.2, duplicate=0.2, reorder=0.3, delay_min_s=0.01, delay_max_s=0.5)


def now() -> float:
    return asyncio.get_running_loop().time()


class Ends:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ends: list[str] = []

    async def __call__(self, stream: Far) -> None:
        try:
            while True:
                self.numbers.append(number(await stream.receive()))
        except StreamClosed as end:
            self.ends.append(end.detail)
            raise
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise


# --- law 13: same seed, same history ---


def busy(seed: int, faults: Faults, numbers: list[int]) -> Coroutine[Any, Any, tuple[Any, ...]]:
    async def main() -> tuple[Any, ...]:
        ends = Ends()
        async with MemoryNetwork(Random(seed), faults) as network:
            network.listen("control", ends)

            async def talk(name: str) -> None:
                with suppress(StreamClosed):
                    stream = await network.dial(name, "control")
                    for n in numbers:
                        await stream.send(request(n))
                        await asyncio.sleep(0.01)
                    await stream.close()

            async with asyncio.TaskGroup() as group:
                for name in ("us-1", "fr-1"):
                    group.create_task(talk(name))
                await asyncio.sleep(0.1)
                network.partition("us-1", "control")
                network.cut("fr-1", "control")
                await asyncio.sleep(1)
                network.heal("us-1", "control")
            await asyncio.sleep(2)
            return ends.numbers, ends.ends, list(network.history), network.history_digest

    return main()


faults = st.builds(
    Faults,
    loss=st.floats(0, 1),
    duplicate=st.floats(0, 1),
    reorder=st.floats(0, 1),
    delay_min_s=st.floats(0, 0.1),
    delay_max_s=st.floats(0.1, 1),
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), faults, st.lists(st.integers(0, 99), max_size=30))
def test_the_same_seed_gives_the_same_history(seed: int, f: Faults, numbers: list[int]) -> None:
    assert simulate(busy(seed, f, numbers)) == simulate(busy(seed, f, numbers))


def test_another_seed_gives_another_history() -> None:
    numbers = list(range(20))
    digests = {simulate(busy(seed, HARSH, numbers))[-1] for seed in range(10)}
    assert len(digests) == 10


@pytest.mark.reaches("NETWORK_HISTORY_EVENTS_MAX")
def test_the_history_keeps_the_last_events_and_a_digest_of_all() -> None:
    async def main(times: int) -> tuple[int, Event, str]:
        async with MemoryNetwork(Random(1)) as network:
            for _ in range(times):
                network.heal("a", "b")
            return len(network.history), network.history[-1], network.history_digest

    full = simulate(main(NETWORK_HISTORY_EVENTS_MAX))
    fuller = simulate(main(NETWORK_HISTORY_EVENTS_MAX + 1))
    assert full[0] == fuller[0] == NETWORK_HISTORY_EVENTS_MAX
    assert full[1] == fuller[1] == Event(0.0, "healed", "a", "b", 0, 0)
    assert full[2] != fuller[2]


# --- faults of a link ---


def arrived(faults: Faults, count: int, seed: int = 1) -> list[int]:
    """Send *count* messages over a link with *faults*; return what arrived in the end."""

    async def main() -> list[int]:
        ends = Ends()
        async with MemoryNetwork(Random(seed)) as network:
            network.set_faults(faults, "fr-1", "control")
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            for n in range(count):
                await stream.send(request(n))
            await stream.close()
            await asyncio.sleep(60)
        assert ends.ends == ["the peer closed the stream"]
        return ends.numbers

    return simulate(main())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(1, 2), st.integers(0, 60))
def test_delay_alone_keeps_every_message_and_its_place(
    seed: int, least_s: float, most_s: float, count: int
) -> None:
    slow = Faults(delay_min_s=least_s, delay_max_s=most_s)
    assert arrived(slow, count, seed) == list(range(count))


def test_each_fault_does_what_it_says_and_nothing_else() -> None:
    everything = list(range(1000))
    lost = arrived(Faults(loss=0.3), 1000)
    assert lost == sorted(set(lost))
    assert 600 < len(lost) < 800
    twice = arrived(Faults(duplicate=0.3), 1000)
    assert sorted(set(twice)) == everything
    assert 1200 < len(twice) < 1400
    mixed = arrived(Faults(reorder=0.3, delay_max_s=1), 1000)
    assert sorted(mixed) == everything
    assert mixed != everything
    assert arrived(Faults(loss=1), 10) == []
    assert arrived(Faults(duplicate=1), 3) == [0, 0, 1, 1, 2, 2]


def test_faults_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {"loss": 1.1},
        {"duplicate": -0.1},
        {"delay_min_s": 2.0, "delay_max_s": 1.0},
        {"reorder": 0.5},
    ):
        with pytest.raises(AssertionError):
            Faults(**wrong)


def test_a_message_takes_its_delay_and_a_dial_a_round_trip() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1), Faults(delay_min_s=1, delay_max_s=1)) as network:
            network.listen("control", echo)
            stream = await network.dial("fr-1", "control")
            assert now() == 2
            await stream.send(request(1))
            assert now() == 2
            await stream.receive()
            assert now() == 4

    simulate(main())


@pytest.mark.reaches("NETWORK_PIPE_MESSAGES_MAX")
def test_a_direction_holds_so_many_messages_and_no_more() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            network.partition("fr-1", "control")
            for n in range(NETWORK_PIPE_MESSAGES_MAX):
                await stream.send(request(n))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3600):
                    await stream.send(request(99))
            network.heal("fr-1", "control")
            await stream.send(request(NETWORK_PIPE_MESSAGES_MAX))
            await asyncio.sleep(1)
            assert ends.numbers == list(range(NETWORK_PIPE_MESSAGES_MAX + 1))

    simulate(main())


# --- dialling ---


@pytest.mark.reaches("NETWORK_STREAMS_MAX")
def test_a_network_holds_so_many_streams_and_no_more() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:
            network.listen("control", nothing)
            streams = [await network.dial("fr-1", "control") for _ in range(NETWORK_STREAMS_MAX)]
            with pytest.raises(StreamClosed) as end:
                await network.dial("fr-1", "control")
            assert end.value.code == Code.OVERLOADED
            await streams.pop().close()
            await asyncio.sleep(0.1)
            await network.dial("fr-1", "control")

    simulate(main())


def test_a_dial_to_nobody_is_refused_at_once() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:
            with pytest.raises(StreamClosed, match="cannot be reached"):
                await network.dial("fr-1", "control")
            assert now() == 0

    simulate(main())


@pytest.mark.reaches("NETWORK_DIAL_S")
@pytest.mark.parametrize("link", [("fr-1", "control"), ("control", "fr-1")])
def test_a_dial_into_a_partition_ends_after_its_wait(link: tuple[str, str]) -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:
            network.listen("control", nothing)
            network.partition(*link, one_way=True)
            with pytest.raises(StreamClosed, match="did not answer in time"):
                await network.dial("fr-1", "control")
            assert now() == NETWORK_DIAL_S
            network.heal(*link)
            await network.dial("fr-1", "control")

    simulate(main())


def test_a_name_listens_once() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:
            network.listen("control", nothing)
            with pytest.raises(AssertionError, match="listens already"):
                network.listen("control", nothing)

    simulate(main())


# --- partition, cut, crash ---


def test_a_partition_is_silent_and_what_was_sent_arrives_when_it_heals() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            await stream.send(request(1))
            network.partition("fr-1", "control")
            await stream.send(request(2))
            await stream.send(request(3))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(86_400):
                    await stream.receive()
            assert (ends.numbers, ends.ends) == ([], [])
            network.heal("control", "fr-1")
            await asyncio.sleep(1)
            assert (ends.numbers, ends.ends) == ([1, 2, 3], [])

    simulate(main())


def test_a_one_way_partition_lets_the_other_way_through() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1), SLOW) as network:
            got: list[int] = []

            async def handler(stream: Far) -> None:
                await stream.send(response(1))
                got.append(number(await stream.receive()))

            network.listen("control", handler)
            stream = await network.dial("fr-1", "control")
            network.partition("fr-1", "control", one_way=True)
            await stream.send(request(2))
            assert number(await stream.receive()) == 1
            await asyncio.sleep(60)
            assert got == []

    simulate(main())


def test_a_close_in_a_partition_is_heard_when_it_heals() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            network.partition("fr-1", "control")
            await stream.send(request(1))
            await stream.close()
            await asyncio.sleep(3600)
            assert ends.ends == []
            network.heal("fr-1", "control")
            await asyncio.sleep(1)
            assert (ends.numbers, ends.ends) == ([1], ["the peer closed the stream"])

    simulate(main())


def test_a_cut_ends_both_sides_and_loses_what_was_under_way() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            other = await network.dial("us-1", "control")
            await stream.send(request(1))
            await asyncio.sleep(1)
            await stream.send(request(2))
            network.cut("control", "fr-1")
            with pytest.raises(StreamClosed, match="the connection broke"):
                await stream.receive()
            with pytest.raises(StreamClosed, match="the connection broke"):
                await stream.send(request(3))
            await other.send(request(4))
            await asyncio.sleep(1)
            assert (ends.numbers, ends.ends) == ([1, 4], ["the connection broke"])

    simulate(main())


def test_a_crash_of_the_listener_cancels_its_handlers_and_is_heard() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            await asyncio.sleep(0.001)
            await stream.send(request(1))
            network.crash("control")
            with pytest.raises(StreamClosed, match="the connection broke"):
                await stream.receive()
            assert (ends.numbers, ends.ends) == ([], ["cancelled"])
            with pytest.raises(StreamClosed, match="cannot be reached"):
                await network.dial("fr-1", "control")
            network.listen("control", ends)
            await (await network.dial("fr-1", "control")).send(request(2))
            await asyncio.sleep(1)
            assert ends.numbers == [2]

    simulate(main())


def test_a_crash_of_the_dialler_ends_its_streams_and_loses_what_it_had_sent() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            stream = await network.dial("fr-1", "control")
            await stream.send(request(1))
            network.crash("fr-1")
            with pytest.raises(StreamClosed):
                await stream.send(request(2))
            await asyncio.sleep(1)
            assert (ends.numbers, ends.ends) == ([], ["the connection broke"])

    simulate(main())


def test_a_crash_behind_a_partition_is_not_heard() -> None:
    async def main() -> None:
        ends = Ends()
        async with MemoryNetwork(Random(1), SLOW) as network:
            network.listen("control", ends)
            await network.dial("fr-1", "control")
            network.partition("fr-1", "control")
            network.crash("fr-1")
            await asyncio.sleep(3600)
            assert ends.ends == []
            network.heal("fr-1", "control")
            await asyncio.sleep(1)
            assert ends.ends == ["the connection broke"]

    simulate(main())


def test_what_arrived_before_a_cut_may_still_be_received() -> None:
    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:

            async def handler(stream: Far) -> None:
                for n in range(3):
                    await stream.send(response(n))
                await nothing(stream)

            network.listen("control", handler)
            stream = await network.dial("fr-1", "control")
            await asyncio.sleep(1)
            network.cut("fr-1", "control")
            assert await received(stream) == [0, 1, 2]

    simulate(main())


# --- what the network owns ---


def test_the_end_of_a_network_cancels_its_handlers_and_ends_its_streams() -> None:
    async def main() -> None:
        cancelled: list[str] = []

        async def handler(stream: Far) -> None:
            await nothing(stream)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append("late")
                raise

        async with MemoryNetwork(Random(1)) as network:
            network.listen("control", handler)
            first = await network.dial("fr-1", "control")
            second = await network.dial("fr-1", "control")
            await first.close()
            await asyncio.sleep(1)
        assert now() < 10
        assert cancelled == ["late"]
        with pytest.raises(StreamClosed, match="the network is gone"):
            await second.receive()

    simulate(main())


def test_a_bug_in_a_handler_ends_the_test_that_has_it() -> None:
    async def handler(_: Far) -> None:
        raise LookupError("a bug")

    async def main() -> None:
        async with MemoryNetwork(Random(1)) as network:
            network.listen("control", handler)
            await network.dial("fr-1", "control")
            await asyncio.sleep(3600)

    with pytest.RaisesGroup(LookupError):
        simulate(main())


def test_no_message_is_shared_between_the_ends() -> None:
    async def main() -> None:
        got: list[Any] = []

        async def handler(stream: Far) -> None:
            got.extend([await stream.receive(), await stream.receive()])

        async with MemoryNetwork(Random(1), Faults(duplicate=1)) as network:
            network.listen("control", handler)
            stream = await network.dial("fr-1", "control")
            message = request(1)
            await stream.send(message)
            message.heartbeat.t0_ms = 2
            await asyncio.sleep(1)
        got[0].heartbeat.t0_ms = 3
        assert [number(one) for one in got] == [3, 1]

    simulate(main())
