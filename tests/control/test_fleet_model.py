from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from control.fleet.model import (
    DesiredState,
    Effect,
    End,
    Fleet,
    Identity,
    NodeView,
    Notice,
    NoticeKind,
    Tell,
)
from control.fleet.place import StreamID
from control.fleet.states import SAYS, TABLE, Event, Observed, folded
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, NodeID, ProcessName, Region
from zentransfer.limits import (
    FLEET_CANDIDATES_MAX,
    FLEET_DISABLED_MAX_S,
    FLEET_DRAIN_MAX_S,
    FLEET_EPOCHS_KEPT,
    FLEET_KNOCKS_MAX,
    FLEET_KNOCKS_WINDOW_S,
    FLEET_LATE_S,
    FLEET_LOST_S,
    FLEET_NODES_MAX,
    FLEET_QUARANTINE_S,
    FLEET_RETRY_AFTER_S,
)

INGEST, DELIVERY = ProcessName("ingest-0"), ProcessName("delivery-0")
FR1 = NodeID("fr-1")
SERVING, DRAINED = Observed.SERVING, Observed.DRAINED


def process(node: str = "fr-1", name: str = "ingest-0", epoch: str = "a") -> Identity:
    return Identity(NodeID(node), ProcessName(name), EpochID(epoch))


def joined(fleet: Fleet, who: Identity, now_s: float = 0, said: Observed = SERVING) -> StreamID:
    """Let *who* connect and say its first heartbeat."""
    stream = fleet.hello(who, now_s)
    fleet.heartbeat(stream, said, now_s)
    return stream


def node(fleet: Fleet, name: str = "fr-1") -> NodeView:
    (found,) = (one for one in fleet.nodes() if one.node == name)
    return found


def notices(effects: list[Effect]) -> list[NoticeKind]:
    return [effect.kind for effect in effects if isinstance(effect, Notice)]


def ends(effects: list[Effect]) -> dict[StreamID, Code]:
    return {effect.stream: effect.code for effect in effects if isinstance(effect, End)}


def region(count: int, now_s: float = 0) -> tuple[Fleet, list[StreamID]]:
    """Return a fleet of *count* serving nodes in France, and their streams."""
    fleet = Fleet()
    return fleet, [joined(fleet, process(f"fr-{number + 1}"), now_s) for number in range(count)]


# --- the table ---


def test_every_state_knows_every_event() -> None:
    assert set(TABLE) == set(Observed)
    assert all(len(row) == len(Event) for row in TABLE.values())


@pytest.mark.parametrize("state", Observed)
@pytest.mark.parametrize("said", SAYS)
def test_a_heartbeat_is_believed_whatever_was_before(state: Observed, said: Observed) -> None:
    assert TABLE[state][SAYS[said]] is said


@pytest.mark.parametrize("state", sorted(set(Observed) - {Observed.LATE, Observed.LOST}))
def test_nothing_is_lost_before_it_was_late(state: Observed) -> None:
    assert TABLE[state][Event.SILENT_LOST] is not Observed.LOST


def test_a_drained_process_may_be_silent_for_ever() -> None:
    assert {TABLE[DRAINED][event] for event in (Event.SILENT_LATE, Event.SILENT_LOST)} == {DRAINED}


@given(st.lists(st.sampled_from(Observed), min_size=1))
def test_a_whole_is_drained_only_if_all_of_it_is(states: list[Observed]) -> None:
    assert (folded(states) is DRAINED) == (set(states) == {DRAINED})
    assert (folded(states) is SERVING) == (SERVING in states)


# --- one place: who holds it ---


def test_a_stream_takes_its_place_with_its_first_heartbeat() -> None:
    fleet = Fleet()
    stream = fleet.hello(process(), 0)
    assert not fleet.nodes()[0].processes
    assert fleet.heartbeat(stream, SERVING, 0) == []
    (seen,) = node(fleet).processes
    assert (seen.name, seen.epoch, seen.observed, seen.is_connected) == (
        INGEST,
        EpochID("a"),
        SERVING,
        True,
    )


def test_a_newer_start_supersedes_the_older_stream() -> None:
    fleet = Fleet()
    old = joined(fleet, process(epoch="a"))
    new = fleet.hello(process(epoch="b"), 1)
    assert ends(fleet.heartbeat(new, SERVING, 1)) == {old: Code.SUPERSEDED}
    assert ends(fleet.heartbeat(old, SERVING, 2)) == {old: Code.SUPERSEDED}  # it was under way
    assert node(fleet).processes[0].epoch == "b"


def test_a_reconnect_of_the_same_start_replaces_its_dead_stream() -> None:
    fleet = Fleet()
    old = joined(fleet, process(epoch="a"))
    new = fleet.hello(process(epoch="a"), 1)
    assert ends(fleet.heartbeat(new, SERVING, 1)) == {old: Code.SUPERSEDED}
    assert node(fleet).processes[0].is_connected


def test_a_late_hello_of_a_dead_process_cuts_off_nobody() -> None:
    fleet = Fleet()
    living = joined(fleet, process(epoch="b"))
    dead = fleet.hello(process(epoch="a"), 1)  # it was sent before the crash
    assert fleet.heartbeat(living, SERVING, 2) == []
    fleet.disconnected(dead)
    assert node(fleet).processes[0].epoch == "b"


def test_a_late_heartbeat_of_an_older_stream_cuts_off_nobody() -> None:
    fleet = Fleet()
    dead = fleet.hello(process(epoch="a"), 0)
    living = fleet.hello(process(epoch="b"), 1)
    assert ends(fleet.heartbeat(living, SERVING, 2)) == {dead: Code.SUPERSEDED}
    assert ends(fleet.heartbeat(dead, SERVING, 3)) == {dead: Code.SUPERSEDED}
    assert node(fleet).processes[0].epoch == "b"


def test_other_processes_of_the_node_are_left_alone() -> None:
    fleet = Fleet()
    joined(fleet, process(epoch="a"))
    joined(fleet, process(name="delivery-0", epoch="b"))
    assert ends(fleet.heartbeat(fleet.hello(process(epoch="c"), 1), SERVING, 1)).keys() == {1}
    assert all(seen.is_connected for seen in node(fleet).processes)


def test_who_asked_and_never_lived_is_forgotten() -> None:
    fleet = Fleet()
    fleet.disconnected(fleet.hello(process(), 0))
    assert fleet.nodes() == []
    fleet.disconnected(StreamID(99))  # twice, or never known


@pytest.mark.reaches("FLEET_CANDIDATES_MAX", "FLEET_RETRY_AFTER_S")
def test_only_so_many_streams_may_ask_for_a_place() -> None:
    fleet = Fleet()
    first, *_ = [fleet.hello(process(), 0) for _ in range(FLEET_CANDIDATES_MAX)]
    with pytest.raises(Error) as refused:
        fleet.hello(process(), 0)
    assert refused.value.code is Code.LOCKED
    assert refused.value.retry_after_s == FLEET_RETRY_AFTER_S
    fleet.disconnected(first)
    fleet.hello(process(), 0)


@pytest.mark.reaches("FLEET_NODES_MAX")
def test_a_fleet_takes_only_so_many_nodes() -> None:
    fleet, _ = region(FLEET_NODES_MAX)
    with pytest.raises(Error) as refused:
        fleet.hello(process("sg-1"), 0)
    assert refused.value.code is Code.OVERLOADED
    assert fleet.hello(process("fr-1"), 0)


# --- two living processes with one name ---


def knock(fleet: Fleet, now_s: float, epoch: str = "a") -> list[Effect]:
    return fleet.heartbeat(fleet.hello(process(epoch=epoch), now_s), SERVING, now_s)


def test_a_superseded_process_that_comes_back_is_sent_away() -> None:
    fleet = Fleet()
    joined(fleet, process(epoch="a"))
    holder = joined(fleet, process(epoch="b"))
    assert list(ends(knock(fleet, 10)).values()) == [Code.SUPERSEDED]
    assert fleet.heartbeat(holder, SERVING, 11) == []
    assert node(fleet).processes[0].epoch == "b"


@pytest.mark.reaches("FLEET_KNOCKS_MAX", "FLEET_QUARANTINE_S")
def test_one_that_keeps_coming_back_means_a_clone_and_quarantines_the_node() -> None:
    fleet = Fleet()
    joined(fleet, process(epoch="a"))
    holder = joined(fleet, process(epoch="b"))
    other = joined(fleet, process(name="delivery-0"))
    for number in range(1, FLEET_KNOCKS_MAX):
        assert not notices(knock(fleet, number))
    effects = knock(fleet, FLEET_KNOCKS_MAX)
    assert notices(effects) == [NoticeKind.QUARANTINED]
    assert ends(effects).keys() >= {holder, other}
    assert set(ends(effects).values()) == {Code.FORBIDDEN}
    assert node(fleet).is_quarantined
    assert not node(fleet).is_routable
    with pytest.raises(Error) as refused:
        fleet.hello(process(epoch="c"), 10)
    assert refused.value.code is Code.FORBIDDEN
    until_s = FLEET_KNOCKS_MAX + FLEET_QUARANTINE_S
    assert NoticeKind.RELEASED not in notices(fleet.tick(until_s - 0.1))
    assert NoticeKind.RELEASED in notices(fleet.tick(until_s))
    assert not knock(fleet, until_s, epoch="b")[1:]


def test_a_person_ends_a_quarantine_and_whoever_lives_may_come() -> None:
    fleet = Fleet()
    joined(fleet, process(epoch="a"))
    joined(fleet, process(epoch="b"))
    for number in range(FLEET_KNOCKS_MAX):
        knock(fleet, number)
    assert notices(fleet.activate(FR1)) == [NoticeKind.RELEASED]
    assert not ends(knock(fleet, 10, epoch="a"))
    assert node(fleet).processes[0].epoch == "a"


@pytest.mark.reaches("FLEET_KNOCKS_WINDOW_S")
def test_rare_returns_do_not_count_together() -> None:
    fleet = Fleet()
    joined(fleet, process(epoch="a"))
    joined(fleet, process(epoch="b"))
    for number in range(10):
        every_s = FLEET_KNOCKS_WINDOW_S / (FLEET_KNOCKS_MAX - 1) + 1
        assert not notices(knock(fleet, number * every_s))


def test_a_crash_loop_is_no_clone() -> None:
    fleet = Fleet()
    for number in range(50):
        assert not notices(knock(fleet, number, epoch=f"start {number}"))


@pytest.mark.reaches("FLEET_EPOCHS_KEPT")
def test_so_many_earlier_starts_are_remembered() -> None:
    fleet = Fleet()
    for number in range(FLEET_EPOCHS_KEPT + 2):
        knock(fleet, 0, epoch=f"start {number}")
    knock(fleet, 0, epoch="start 1")
    assert node(fleet).processes[0].epoch == f"start {FLEET_EPOCHS_KEPT + 1}"
    knock(fleet, 0, epoch="start 0")  # forgotten, so it takes the place
    assert node(fleet).processes[0].epoch == "start 0"


# --- silence ---


@pytest.mark.reaches("FLEET_LATE_S", "FLEET_LOST_S")
def test_a_silent_node_is_late_then_lost_then_back() -> None:
    fleet, streams = region(3)
    for now_s in (FLEET_LATE_S - 0.1, FLEET_LATE_S, FLEET_LOST_S - 0.1):
        for stream in streams[1:]:
            fleet.heartbeat(stream, SERVING, now_s)
        late = now_s >= FLEET_LATE_S
        fleet.tick(now_s)
        assert node(fleet).observed is (Observed.LATE if late else SERVING)
        assert node(fleet).is_routable
    effects = fleet.tick(FLEET_LOST_S)
    assert effects == [Notice(NoticeKind.LOST, Region.FR, FR1, INGEST)]
    assert node(fleet).observed is Observed.LOST
    assert not node(fleet).is_routable
    assert notices(fleet.heartbeat(streams[0], SERVING, 100)) == [NoticeKind.BACK]
    assert node(fleet).is_routable


def test_a_broken_stream_alone_changes_nothing() -> None:
    fleet, streams = region(1)
    fleet.disconnected(streams[0])
    fleet.tick(FLEET_LATE_S - 1)
    assert node(fleet).observed is SERVING
    assert not node(fleet).processes[0].is_connected


def test_a_control_that_was_stopped_reads_before_it_judges() -> None:
    fleet, streams = region(3)
    fleet.tick(10_000)
    assert {one.observed for one in fleet.nodes()} == {Observed.LATE}
    for stream in streams:
        fleet.heartbeat(stream, SERVING, 10_000)
    assert notices(fleet.tick(10_001)) == []
    assert {one.observed for one in fleet.nodes()} == {SERVING}


def silence(fleet: Fleet, from_s: float = 0) -> list[NoticeKind]:
    """Let everybody be silent long enough to be lost."""
    fleet.tick(from_s + FLEET_LATE_S)
    return notices(fleet.tick(from_s + FLEET_LOST_S)) + notices(fleet.tick(from_s + 10_000))


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_a_silent_region_is_control_s_own_fault_first(count: int) -> None:
    fleet, _ = region(count)
    assert silence(fleet) == [NoticeKind.HELD]
    assert all(one.observed is Observed.LATE and one.is_routable for one in fleet.nodes())


def test_half_of_a_region_may_be_lost_and_no_more() -> None:
    fleet, streams = region(4)
    for now_s in (FLEET_LATE_S, FLEET_LOST_S):
        for stream in streams[2:]:
            fleet.heartbeat(stream, SERVING, now_s)
        fleet.tick(now_s)
    assert Counter(one.observed for one in fleet.nodes()) == {Observed.LOST: 2, SERVING: 2}
    assert silence(fleet, FLEET_LOST_S) == [NoticeKind.HELD]
    assert Counter(one.observed for one in fleet.nodes()) == {Observed.LOST: 2, Observed.LATE: 2}


def test_a_region_is_judged_alone() -> None:
    fleet, streams = region(3)
    joined(fleet, process("sg-1"))
    fleet.tick(FLEET_LATE_S)
    for stream in streams[1:]:
        fleet.heartbeat(stream, SERVING, FLEET_LATE_S)
    effects = fleet.tick(FLEET_LOST_S)
    assert {effect for effect in effects if notices([effect]) != [NoticeKind.LATE]} == {
        Notice(NoticeKind.HELD, Region.SG),
        Notice(NoticeKind.LOST, Region.FR, FR1, INGEST),
    }


def test_drained_nodes_may_be_powered_off_and_count_for_nothing() -> None:
    fleet, streams = region(4)
    for stream in streams[2:]:
        fleet.heartbeat(stream, DRAINED, 1)
    assert silence(fleet) == [NoticeKind.HELD]  # two of the two that serve
    assert Counter(one.observed for one in fleet.nodes()) == {DRAINED: 2, Observed.LATE: 2}


def test_a_node_lives_by_its_ingest() -> None:
    fleet = Fleet()
    for number in (1, 2, 3):
        joined(fleet, process(f"fr-{number}", "delivery-0"))
    ingest = [joined(fleet, process(f"fr-{number}")) for number in (1, 2, 3)]
    fleet.tick(FLEET_LATE_S)
    for stream in ingest:
        fleet.heartbeat(stream, SERVING, FLEET_LOST_S)
    assert (
        notices(fleet.tick(FLEET_LOST_S)) == [NoticeKind.LOST] * 3
    )  # every delivery, and nothing is held
    assert all(one.observed is SERVING and one.is_routable for one in fleet.nodes())


def test_a_node_with_one_of_two_ingests_serves() -> None:
    fleet = Fleet()
    joined(fleet, process(name="ingest-0"))
    other = joined(fleet, process(name="ingest-1"))
    for now_s in (FLEET_LATE_S, FLEET_LOST_S):
        fleet.heartbeat(other, SERVING, now_s)
        fleet.tick(now_s)
    assert node(fleet).observed is SERVING
    assert node(fleet).is_routable


def test_a_node_is_drained_when_its_delivery_is_too() -> None:
    fleet = Fleet()
    ingest, delivery = joined(fleet, process()), joined(fleet, process(name="delivery-0"))
    fleet.heartbeat(ingest, DRAINED, 1)
    assert node(fleet).observed is Observed.DRAINING
    fleet.heartbeat(delivery, DRAINED, 1)
    assert node(fleet).observed is DRAINED


# --- intent ---


def test_a_drain_is_told_to_every_process_and_stays() -> None:
    fleet = Fleet()
    streams = {joined(fleet, process()), joined(fleet, process(name="delivery-0"))}
    effects = fleet.drain(FR1, 60, 100)
    assert {(one.stream, one.desired) for one in effects if isinstance(one, Tell)} == {
        (stream, fleet.desired(FR1)) for stream in streams
    }
    assert fleet.desired(FR1).until_s == 160
    assert not node(fleet).is_routable
    fleet.tick(10_000)
    assert fleet.desired(FR1).state is DesiredState.DRAIN


def test_who_serves_in_a_drain_is_told_again_until_it_drains() -> None:
    fleet = Fleet()
    stream = joined(fleet, process())
    fleet.drain(FR1, 60, 0)
    assert fleet.heartbeat(stream, SERVING, 10) == [Tell(stream, fleet.desired(FR1))]
    assert fleet.heartbeat(stream, Observed.DRAINING, 20) == []
    assert fleet.heartbeat(stream, DRAINED, 30) == []


def test_who_only_asks_for_its_place_is_told_too() -> None:
    fleet = Fleet()
    joined(fleet, process())
    asking = fleet.hello(process(), 0)  # and its welcome said something else
    told = {effect.stream for effect in fleet.activate(FR1) if isinstance(effect, Tell)}
    assert asking in told


@pytest.mark.reaches("FLEET_DISABLED_MAX_S")
def test_a_disablement_always_ends_and_says_so() -> None:
    fleet, (stream,) = region(1)
    with pytest.raises(Error) as refused:
        fleet.disable(FR1, FLEET_DISABLED_MAX_S + 1, 0)
    assert refused.value.code is Code.INVALID
    fleet.disable(FR1, FLEET_DISABLED_MAX_S, 0)
    fleet.heartbeat(stream, SERVING, FLEET_DISABLED_MAX_S - 1)
    assert fleet.tick(FLEET_DISABLED_MAX_S - 1) == []
    assert not node(fleet).is_routable
    effects = fleet.tick(FLEET_DISABLED_MAX_S)
    assert notices(effects) == [NoticeKind.ENABLED]
    assert Tell(stream, fleet.desired(FR1)) in effects
    assert node(fleet).is_routable


@pytest.mark.reaches("FLEET_DRAIN_MAX_S")
@pytest.mark.parametrize("within_s", [-1, 0, FLEET_DRAIN_MAX_S + 1, float("nan")])
def test_a_drain_has_a_time_within_its_limits(within_s: float) -> None:
    fleet, _ = region(1)
    with pytest.raises(Error) as refused:
        fleet.drain(FR1, within_s, 0)
    assert refused.value.code is Code.INVALID
    fleet.drain(FR1, FLEET_DRAIN_MAX_S, 0)


def test_nothing_can_be_wanted_of_a_node_that_never_came() -> None:
    fleet = Fleet()
    verbs: list[Callable[[], list[Effect]]] = [
        lambda: fleet.activate(FR1),
        lambda: fleet.drain(FR1, 1, 0),
        lambda: fleet.disable(FR1, 1, 0),
    ]
    for wanted in verbs:
        with pytest.raises(Error) as refused:
            wanted()
        assert refused.value.code is Code.NOT_FOUND
    assert fleet.desired(FR1).state is DesiredState.ACTIVE


def test_what_is_wanted_and_what_is_seen_never_mix() -> None:
    fleet, (stream,) = region(1)
    fleet.drain(FR1, 60, 0)
    assert node(fleet).observed is SERVING
    fleet.activate(FR1)
    fleet.heartbeat(stream, DRAINED, 1)
    assert node(fleet).desired.state is DesiredState.ACTIVE


# --- any history ---


class AnyHistory(RuleBasedStateMachine):
    """Processes of three nodes come, speak, fall silent and are cloned, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.now_s = 0.0
        self.open: dict[StreamID, Identity] = {}
        self.heard_s: dict[tuple[NodeID, ProcessName], float] = {}
        self.over: set[Identity] = set()

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, End):
                assert self.open.pop(effect.stream, None) is not None
            elif isinstance(effect, Tell):
                assert effect.stream in self.open

    def expect(self, refused: Error, *codes: Code) -> None:
        assert refused.code in codes

    @initialize(count=st.integers(1, 3))
    def start(self, count: int) -> None:
        for number in range(count):
            self.connect(f"fr-{number + 1}", "ingest-0", "a")

    @rule(
        name=st.sampled_from(["fr-1", "fr-2", "fr-3"]),
        place=st.sampled_from(["ingest-0", "ingest-1", "delivery-0"]),
        epoch=st.sampled_from("abc"),
    )
    def connect(self, name: str, place: str, epoch: str) -> None:
        who = process(name, place, epoch)
        try:
            self.open[self.fleet.hello(who, self.now_s)] = who
        except Error as refused:
            self.expect(refused, Code.LOCKED, Code.FORBIDDEN)

    @rule(data=st.data(), said=st.sampled_from(sorted(SAYS)))
    def beat(self, data: st.DataObject, said: Observed) -> None:
        if not self.open:
            return
        stream = data.draw(st.sampled_from(sorted(self.open)))
        who = self.open[stream]
        before = self.holder(who.node, who.process)
        self.take(self.fleet.heartbeat(stream, said, self.now_s))
        if stream not in self.open:
            assert self.holder(who.node, who.process) == before
            return
        self.heard_s[who.node, who.process] = self.now_s
        assert who not in self.over
        if before not in (None, who.epoch):
            self.over.add(process(who.node, who.process, str(before)))

    def holder(self, name: NodeID, place: ProcessName) -> EpochID | None:
        places = (seen for one in self.fleet.nodes() if one.node == name for seen in one.processes)
        return next((seen.epoch for seen in places if seen.name == place), None)

    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        if self.open:
            stream = data.draw(st.sampled_from(sorted(self.open)))
            del self.open[stream]
            self.fleet.disconnected(stream)

    @rule(name=st.sampled_from(["fr-1", "fr-2"]), what=st.sampled_from(["drain", "disable", "-"]))
    def want(self, name: str, what: str) -> None:
        target = NodeID(name)
        try:
            if what == "drain":
                self.take(self.fleet.drain(target, 60, self.now_s))
            elif what == "disable":
                self.take(self.fleet.disable(target, 60, self.now_s))
            else:
                self.take(self.fleet.activate(target))
                self.over = {one for one in self.over if one.node != target}
        except Error as refused:
            self.expect(refused, Code.NOT_FOUND)
            assert name not in {one.node for one in self.fleet.nodes()}

    @rule(passed_s=st.sampled_from([1.0, 10.0, 29.0, 31.0, 61.0, 4000.0]))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s
        before = {one.node for one in self.fleet.nodes() if one.observed is Observed.LOST}
        effects = self.fleet.tick(self.now_s)
        self.take(effects)
        after = {one.node for one in self.fleet.nodes() if one.observed is Observed.LOST}
        alive = [one for one in self.fleet.nodes() if one.processes and one.observed is not DRAINED]
        if after - before:
            assert 2 * len(after) <= len(alive)
        for one in effects:
            if isinstance(one, Notice) and one.node and one.process:
                silent_s = self.now_s - self.heard_s[one.node, one.process]
                least_s = FLEET_LOST_S if one.kind is NoticeKind.LOST else FLEET_LATE_S
                assert silent_s >= least_s
        for view in self.fleet.nodes():
            if view.desired.state is DesiredState.DISABLED:
                assert self.now_s < (view.desired.until_s or 0)

    @invariant()
    def a_place_has_one_stream_at_most(self) -> None:
        assert set(self.fleet._streams) == set(self.open)
        for entry in self.fleet._nodes.values():
            for place in entry.processes.values():
                assert len(place.candidates) <= FLEET_CANDIDATES_MAX
                assert place.stream not in place.candidates
                assert place.epoch not in place.past


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyHistory = AnyHistory.TestCase
