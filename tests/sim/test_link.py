import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from control.fleet.model import DesiredState as Wanted
from control.fleet.states import Observed as Seen
from control.rpc.fleet import Timing
from edge.link_state import Observed
from tests.support.fleet import CONTROL, World
from tests.support.sim import simulate
from zentransfer import ids
from zentransfer.errors import Error
from zentransfer.limits import (
    FLEET_CANDIDATES_MAX,
    FLEET_HELLO_S,
    FLEET_KNOCKS_MAX,
    FLEET_LOST_S,
    FLEET_QUARANTINE_S,
    LINK_LONG_WAIT_S,
    LINK_RETRY_MAX_S,
    LINK_SILENCE_S,
    LINK_WELCOME_S,
)
from zentransfer.network import NO_FAULTS, Faults

NAMES = [
    f"{node}/{process}"
    for node in ("us-1", "fr-1", "sg-1")
    for process in ("ingest-0", "delivery-0")
]

# What gRPC over the world looks like, and what is worse than any stream over TCP.
WORLD = Faults(delay_min_s=0.005, delay_max_s=0.3)
HARSH = Faults(loss=0.1, duplicate=0.1, reorder=0.2, delay_min_s=0.005, delay_max_s=2.0)

# The longest that a healed link may stay away: it notices that its stream is dead, waits its
# longest pause, dials into what may be its last failure, waits again, is welcomed.
HEALED_S = LINK_SILENCE_S + 2 * (LINK_RETRY_MAX_S + LINK_WELCOME_S)


def check(world: World) -> None:
    """Hold what must hold at every moment."""
    alive = Counter(world.live_streams())
    assert all(count == 1 for count in alive.values()), alive
    places = [place for node in world.fleet._nodes.values() for place in node.processes.values()]
    assert all(len(place.candidates) <= FLEET_CANDIDATES_MAX for place in places)
    assert len(world.service._sessions) == len(world.fleet._streams)
    for session in world.service._sessions.values():
        assert len(session._outbound) <= 64
    assert all(not one.task.done() for one in world.running.values())


async def step_for(world: World, seconds: float) -> None:
    """Let *seconds* pass, checking each of them."""
    for _ in range(round(seconds)):
        await asyncio.sleep(1)
        check(world)


async def until(holds: Callable[[], bool], within_s: float) -> float:
    """Return after how many seconds *holds* began to hold."""
    for waited_s in range(round(within_s) + 1):
        if holds():
            return waited_s
        await asyncio.sleep(1)
    raise AssertionError(f"not within {within_s} s")


def everybody_is_served(world: World) -> bool:
    serving = {name for name, seen in world.seen().items() if seen is Seen.SERVING}
    return serving == world.linked() == set(world.running)


# --- chaos: what may happen to a fleet, one thing at a time ---


def partition(world: World, chance: random.Random) -> None:
    world.network.partition(chance.choice(NAMES), CONTROL, one_way=False)


def lose_one_way(world: World, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    link = (name, CONTROL) if chance.random() < 0.5 else (CONTROL, name)
    world.network.partition(*link, one_way=True)


def heal(world: World, chance: random.Random) -> None:
    world.network.heal(chance.choice(NAMES), CONTROL)


def cut(world: World, chance: random.Random) -> None:
    world.network.cut(chance.choice(NAMES), CONTROL)


def crash(world: World, chance: random.Random) -> None:
    if world.running:
        world.crash(chance.choice(sorted(world.running)))


def start(world: World, _: random.Random) -> None:
    for name in NAMES:
        if name not in world.running:
            world.start(name)


def turn_control(world: World, _: random.Random) -> None:
    world.crash_control() if world.is_control_up else world.start_control()


def drain_or_activate(world: World, chance: random.Random) -> None:
    node, fleet = ids.node(chance.choice(NAMES).split("/")[0]), world.fleet
    now_s = asyncio.get_running_loop().time()
    with suppress(Error):  # a control that was started anew has not seen the node yet
        effects = fleet.activate(node) if chance.random() < 0.5 else fleet.drain(node, 600, now_s)
        world.service.apply(effects)


CHAOS = [partition, lose_one_way, heal, heal, cut, crash, start, turn_control, drain_or_activate]


async def play(seed: int, faults: Faults) -> tuple[str, dict[str, Seen]]:
    """Play some minutes of trouble, heal all of it, and return the history and who is served."""
    chance = random.Random(seed + 2)
    async with World(seed, faults).live() as world:
        start(world, chance)
        await step_for(world, 30)
        for _ in range(40):
            chance.choice(CHAOS)(world, chance)
            await step_for(world, chance.randint(0, 20))
        for name in NAMES:
            world.network.heal(name, CONTROL)
            world.network.set_faults(NO_FAULTS, name, CONTROL)
            world.network.set_faults(NO_FAULTS, CONTROL, name)
        start(world, chance)
        if not world.is_control_up:
            world.start_control()
        for node in world.fleet.nodes():
            world.service.apply(world.fleet.activate(node.node))
        await until(lambda: everybody_is_served(world), HEALED_S)
        await step_for(world, FLEET_LOST_S)  # and what is left of dead streams is gone
        assert everybody_is_served(world)
        assert len(world.fleet._streams) == len(NAMES)
        return world.network.history_digest, world.seen()


@pytest.mark.parametrize("faults", [WORLD, HARSH], ids=["world", "harsh"])
def test_whatever_happened_a_healed_fleet_is_linked_again(seed: int, faults: Faults) -> None:
    simulate(play(seed, faults))


def test_the_same_seed_has_the_same_history(seed: int) -> None:
    assert simulate(play(seed, WORLD)) == simulate(play(seed, WORLD))


def test_control_away_for_a_day_costs_nothing_and_everybody_comes_back(seed: int) -> None:
    async def main() -> None:
        async with World(seed, WORLD, Timing(tick_s=10)).live() as world:
            for name in NAMES[:2]:
                world.start(name)
            await until(lambda: everybody_is_served(world), LINK_WELCOME_S)
            tasks = len(asyncio.all_tasks())
            for name in NAMES[:2]:
                world.network.partition(name, CONTROL)
            await asyncio.sleep(86_400)
            check(world)
            assert world.linked() == set()
            assert world.seen() == {}
            assert len(asyncio.all_tasks()) <= tasks
            assert len(world.network._streams) == 0
            for one in world.running.values():
                # A dial into silence takes the patience for a welcome; a pause is 30 s on average.
                assert len(one.dials_s) < 1.2 * 86_400 / (LINK_WELCOME_S + LINK_RETRY_MAX_S / 2)
                assert one.link.state() == (False, "not linked: control was silent for too long")
            for name in NAMES[:2]:
                world.network.heal(name, CONTROL)
            await until(lambda: everybody_is_served(world), LINK_RETRY_MAX_S + LINK_WELCOME_S)

    simulate(main())


def test_the_clock_s_offset_is_right_within_half_a_round_trip(seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        async with World(seed, Faults(delay_min_s=0.001, delay_max_s=1.5)).live() as world:
            for name in NAMES:
                world.start(name, skew_ms=chance.randint(-90_000, 90_000))
            await asyncio.sleep(180)
            for one in world.running.values():
                offset = one.link.offset()
                assert offset is not None
                error_ms = abs(offset.offset_ms - -one.clock.skew_ms)
                assert error_ms <= offset.round_trip_ms / 2 + 1  # clocks count whole milliseconds

    simulate(main())


AWAY_S = 300


async def watched_dials(world: World, count: int) -> list[float]:
    for number in range(count):
        region = ("us", "fr", "sg")[number % 3]
        world.start(f"{region}-{number // 3 + 1}/ingest-0")
    await until(lambda: everybody_is_served(world), LINK_WELCOME_S)
    for one in world.running.values():
        one.dials_s.clear()
    world.crash_control()
    await asyncio.sleep(AWAY_S)
    world.start_control()
    back_s = asyncio.get_running_loop().time()
    await until(lambda: everybody_is_served(world), LINK_RETRY_MAX_S + LINK_WELCOME_S)
    return sorted(at_s - back_s for one in world.running.values() for at_s in one.dials_s)


@pytest.mark.reaches("LINK_RETRY_MAX_S")
@pytest.mark.reaches("LINK_RETRY_FIRST_S")
def test_five_hundred_nodes_do_not_storm_a_control_that_comes_back() -> None:
    async def main() -> list[float]:
        async with World(0, WORLD).live() as world:
            return await watched_dials(world, 500)

    dials_s = simulate(main())
    # At the longest pause a node dials every 30 s on average; the first minute doubles up to there.
    assert len(dials_s) < 500 * (10 + 1.2 * AWAY_S / (LINK_RETRY_MAX_S / 2))
    a_second = Counter(int(at_s) for at_s in dials_s if at_s > -AWAY_S / 2)
    assert max(a_second.values()) < 3 * 500 / (LINK_RETRY_MAX_S / 2)


def test_a_superseded_process_never_cuts_off_the_one_that_took_over(seed: int) -> None:
    async def main() -> None:
        async with World(seed, WORLD).live() as world:
            old = world.start("fr-1/ingest-0")
            await step_for(world, 100)
            new = world.start("fr-1/ingest-0")
            await step_for(world, 20)
            assert not old.link.state()[0]
            while len(old.dials_s) < FLEET_KNOCKS_MAX:  # the first dial was no knock
                await step_for(world, 1)
                assert new.link.state()[0]
                assert world.seen() == {"fr-1/ingest-0": Seen.SERVING}
            assert len(new.dials_s) == 1

    simulate(main())


def test_a_cloned_disk_is_quarantined_and_a_person_ends_it(seed: int) -> None:
    async def main() -> None:
        async with World(seed, WORLD).live() as world:
            clone = world.start("fr-1/ingest-0")
            await step_for(world, 100)
            new = world.start("fr-1/ingest-0")
            world.start("fr-1/delivery-0")
            within_s = (FLEET_KNOCKS_MAX + 1) * (LINK_LONG_WAIT_S + LINK_WELCOME_S)
            await until(lambda: world.fleet.nodes()[0].is_quarantined, within_s)
            await step_for(world, 5)
            assert world.seen() == {}
            assert not world.fleet.nodes()[0].is_routable
            clone.task.cancel()
            world.service.apply(world.fleet.activate(world.fleet.nodes()[0].node))
            await until(lambda: everybody_is_served(world), LINK_LONG_WAIT_S + LINK_WELCOME_S)
            await step_for(world, FLEET_QUARANTINE_S)
            assert new.link.state()[0]
            assert world.fleet.nodes()[0].is_routable

    simulate(main())


def test_a_drain_reaches_a_node_that_was_away_when_it_was_ordered(seed: int) -> None:
    async def main() -> None:
        async with World(seed, WORLD).live() as world:
            for name in ("fr-1/ingest-0", "fr-1/delivery-0", "fr-2/ingest-0"):
                world.start(name)
            await until(lambda: everybody_is_served(world), LINK_WELCOME_S)
            for name in world.running:
                world.network.partition(name, CONTROL)
            await step_for(world, 100)
            node = next(one.node for one in world.fleet.nodes() if one.node == "fr-1")
            now_s = asyncio.get_running_loop().time()
            world.service.apply(world.fleet.drain(node, 600, now_s))
            await step_for(world, 100)
            assert world.running["fr-1/ingest-0"].owner.observed is Observed.SERVING
            for name in world.running:
                world.network.heal(name, CONTROL)
            await until(lambda: len(world.seen()) == 3, HEALED_S)
            await step_for(world, FLEET_HELLO_S)
            assert world.fleet.desired(node).state is Wanted.DRAIN
            assert world.seen() == {
                "fr-1/ingest-0": Seen.DRAINING,
                "fr-1/delivery-0": Seen.DRAINING,
                "fr-2/ingest-0": Seen.SERVING,
            }
            told = world.running["fr-1/ingest-0"].owner.told[-1]
            assert told.remaining_s is not None
            assert told.remaining_s < 500  # what is left of it, not what it was

    simulate(main())
