"""What control wants of each node, and what it sees of it.  Pure.

The rule: intent (``desired``) is the operator's and observation (``observed``) is the node's word
or its silence; neither is ever derived from the other. Events go in, effects come out: the shell
ends streams, tells nodes and logs what the effects say. Times are seconds of one monotonic clock.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from control.fleet.place import Place, StreamID
from control.fleet.states import Observed, folded, is_said
from zentransfer.errors import Code, Error
from zentransfer.ids import EpochID, NodeID, ProcessName, Region, region_of
from zentransfer.limits import (
    FLEET_CANDIDATES_MAX,
    FLEET_DISABLED_MAX_S,
    FLEET_DRAIN_MAX_S,
    FLEET_NODES_MAX,
    FLEET_QUARANTINE_S,
    FLEET_RETRY_AFTER_S,
)


class DesiredState(StrEnum):
    """What an operator wants of a node."""

    ACTIVE = "active"
    DRAIN = "drain"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Desired:
    """The operator's intent; ``until_s`` ends a disablement and bounds a drain."""

    state: DesiredState
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One running process of one node; the epoch is random per start."""

    node: NodeID
    process: ProcessName
    epoch: EpochID


class NoticeKind(StrEnum):
    """What a person may want to know; the words of the log."""

    LATE = "late"
    LOST = "lost"
    BACK = "back"
    HELD = "held"
    QUARANTINED = "quarantined"
    RELEASED = "released"
    ENABLED = "enabled"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened: to a process, to a node (no process), or to a region (no node)."""

    kind: NoticeKind
    region: Region
    node: NodeID | None = None
    process: ProcessName | None = None


@dataclass(frozen=True, slots=True)
class End:
    """End *stream* with this code and detail; it is out of the fleet already."""

    stream: StreamID
    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the process behind *stream* what is desired now."""

    stream: StreamID
    desired: Desired


Effect = Notice | End | Tell


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A process as it looks now; ``heard_s`` is when its last heartbeat came."""

    name: ProcessName
    epoch: EpochID
    observed: Observed
    heard_s: float
    is_connected: bool


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as it looks now; ``is_routable`` says whether clients may be sent to it."""

    node: NodeID
    region: Region
    desired: Desired
    observed: Observed
    is_quarantined: bool
    is_routable: bool
    processes: tuple[ProcessView, ...]


@dataclass(slots=True)
class _Node:
    name: NodeID
    region: Region
    desired: Desired = Desired(DesiredState.ACTIVE)
    quarantined_until_s: float | None = None
    processes: dict[ProcessName, Place] = field(default_factory=dict[ProcessName, Place])

    def known(self) -> Iterator[tuple[ProcessName, Place]]:
        """Yield the processes that ever held their place."""
        return ((name, one) for name, one in self.processes.items() if one.epoch is not None)

    def observed(self) -> Observed:
        """Return what the node is: as live as its ingest, drained only as a whole."""
        ingest = folded(one.observed for name, one in self.known() if _is_ingest(name))
        is_all_drained = all(one.observed is Observed.DRAINED for _, one in self.known())
        return Observed.DRAINING if ingest is Observed.DRAINED and not is_all_drained else ingest

    def observed_after_silence(self, now_s: float) -> Observed:
        """Return what the node would be if silence alone decided."""
        return folded(one.after_silence(now_s) for name, one in self.known() if _is_ingest(name))

    def serves(self) -> bool:
        """Whether an ingest process said that it serves, and is not given up yet."""
        return any(
            one.said is Observed.SERVING and one.observed in _REACHED
            for name, one in self.known()
            if _is_ingest(name)
        )


# Late is not given up: clients are still sent to a node that served when it was last heard.
_REACHED: Final = (Observed.SERVING, Observed.LATE)

_UNDRAINED: Final = (Observed.JOINING, Observed.SERVING)


def _is_ingest(name: ProcessName) -> bool:
    return name.startswith("ingest-")


class Fleet:
    """Every node that ever connected: who holds which place, what it is, what is wanted of it."""

    def __init__(self) -> None:
        self._nodes: dict[NodeID, _Node] = {}
        self._streams: dict[StreamID, tuple[_Node, ProcessName]] = {}
        self._last_stream = 0
        self._held: set[Region] = set()

    def hello(self, identity: Identity, now_s: float) -> StreamID:
        """Let a new stream ask for its place; it takes it with its first heartbeat, not before.

        As in TCP's three-way handshake (RFC 9293 section 3.5): a hello that was long on its way may
        come from a process that is dead by now, and must not cut off the living one.
        Raises ``Error``: ``FORBIDDEN`` in quarantine; ``OVERLOADED``, ``LOCKED`` at a limit.
        """
        node = self._entered(identity.node)
        if node.quarantined_until_s is not None and now_s < node.quarantined_until_s:
            raise Error(Code.FORBIDDEN, _QUARANTINE_DETAIL)
        place = node.processes.setdefault(identity.process, Place())
        if len(place.candidates) >= FLEET_CANDIDATES_MAX:
            raise Error(Code.LOCKED, "too many streams ask for this place", FLEET_RETRY_AFTER_S)
        self._last_stream += 1
        stream = StreamID(self._last_stream)
        place.candidates[stream] = identity.epoch
        self._streams[stream] = (node, identity.process)
        return stream

    def heartbeat(self, stream: StreamID, said: Observed, now_s: float) -> list[Effect]:
        """Take what a process *said* of itself; the first time, give its place to *stream*."""
        assert is_said(said), "late and lost are never a node's own words"
        if stream not in self._streams:  # it was ended while this was on its way
            return [End(stream, Code.SUPERSEDED, _SUPERSEDED_DETAIL)]
        node, name = self._streams[stream]
        place = node.processes[name]
        effects: list[Effect] = []
        if place.candidates.get(stream) in place.past:
            return self._knocked(node, place, stream, now_s)
        if stream in place.candidates:
            ended = place.older_than(stream)
            place.took_over(stream)
            self._forget(ended)
            effects += [End(old, Code.SUPERSEDED, _SUPERSEDED_DETAIL) for old in ended]
        if place.heard(said, now_s):
            effects.append(Notice(NoticeKind.BACK, node.region, node.name, name))
        if node.desired.state is DesiredState.DRAIN and said in _UNDRAINED:
            effects.append(Tell(stream, node.desired))  # it was told, and could not, or forgot
        return effects

    def disconnected(self, stream: StreamID) -> None:
        """Forget *stream*, which is over; idempotent."""
        self._forget([stream])

    def desired(self, node: NodeID) -> Desired:
        """Return what is wanted of *node*; active when nobody said anything."""
        entry = self._nodes.get(node)
        return entry.desired if entry else Desired(DesiredState.ACTIVE)

    def activate(self, node: NodeID) -> list[Effect]:
        """End a drain, a disablement or a quarantine; raises ``Error(NOT_FOUND)``."""
        entry = self._existing(node)
        for place in entry.processes.values():
            place.past.clear()  # somebody has seen to it: whoever lives now may have the place
        return [*self._wanted(entry, Desired(DesiredState.ACTIVE)), *self._released(entry)]

    def drain(self, node: NodeID, within_s: float, now_s: float) -> list[Effect]:
        """Let *node* admit nothing new and finish; it stays so until it is made active.

        Raises ``Error``: ``NOT_FOUND``, or ``INVALID`` for a time out of its limits.
        """
        _require_duration(within_s, FLEET_DRAIN_MAX_S)
        return self._wanted(self._existing(node), Desired(DesiredState.DRAIN, now_s + within_s))

    def disable(self, node: NodeID, for_s: float, now_s: float) -> list[Effect]:
        """Send nobody to *node* for a while; afterwards it is active again, with a notice.

        Raises ``Error``: ``NOT_FOUND``, or ``INVALID`` for a time out of its limits.
        """
        _require_duration(for_s, FLEET_DISABLED_MAX_S)
        return self._wanted(self._existing(node), Desired(DesiredState.DISABLED, now_s + for_s))

    def tick(self, now_s: float) -> list[Effect]:
        """Let time pass: end what has an end, and judge silences region by region."""
        effects: list[Effect] = []
        regions: dict[Region, list[_Node]] = {}
        for node in self._nodes.values():
            regions.setdefault(node.region, []).append(node)
            desired, until_s = node.desired, node.quarantined_until_s
            if desired.state is DesiredState.DISABLED and now_s >= (desired.until_s or 0):
                effects += self._wanted(node, Desired(DesiredState.ACTIVE))
                effects.append(Notice(NoticeKind.ENABLED, node.region, node.name))
            if until_s is not None and now_s >= until_s:
                effects += self._released(node)
        for region, nodes in regions.items():
            effects += self._silences(region, nodes, now_s)
        return effects

    def nodes(self) -> list[NodeView]:
        """Return every node as it looks now."""
        return [_view(node) for node in self._nodes.values()]

    def _silences(self, region: Region, nodes: list[_Node], now_s: float) -> Iterator[Effect]:
        """Mark who is late and lost; never more than half of a region lost at control's own word.

        When most of a region falls silent at once, the likelier fault is control's own network:
        what would pass the half stays late, and somebody is told. So the only node of a region is
        never lost: an operator disables it, or geo's own measurements pass it by.
        """
        now = {node.name: node.observed() for node in nodes if any(node.known())}
        gone = {
            node.name
            for node in nodes
            if now.get(node.name, Observed.LOST) is not Observed.LOST
            and node.observed_after_silence(now_s) is Observed.LOST
        }
        lost = sum(state is Observed.LOST for state in now.values())
        alive_or_lost = sum(state is not Observed.DRAINED for state in now.values())
        is_held = bool(gone) and 2 * (lost + len(gone)) > alive_or_lost
        if is_held and region not in self._held:
            yield Notice(NoticeKind.HELD, region)
        (self._held.add if is_held else self._held.discard)(region)
        for node in nodes:
            yield from _silenced(node, now_s, spared=is_held and node.name in gone)

    def _entered(self, name: NodeID) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            if len(self._nodes) >= FLEET_NODES_MAX:
                raise Error(Code.OVERLOADED, "the fleet is full", FLEET_RETRY_AFTER_S)
            node = self._nodes[name] = _Node(name, region_of(name))
        return node

    def _existing(self, name: NodeID) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            raise Error(Code.NOT_FOUND, "no such node has ever connected")
        return node

    def _wanted(self, node: _Node, desired: Desired) -> list[Effect]:
        node.desired = desired  # candidates too: their welcome may have said otherwise
        return [Tell(stream, desired) for stream in self._streams_of(node)]

    def _streams_of(self, node: _Node) -> list[StreamID]:
        return [stream for stream, (owner, _) in self._streams.items() if owner is node]

    def _knocked(self, node: _Node, place: Place, stream: StreamID, now_s: float) -> list[Effect]:
        """Send away a process that was superseded; it never cuts off the one that took over."""
        if not place.knocked(now_s):
            self._forget([stream])
            return [End(stream, Code.SUPERSEDED, _SUPERSEDED_DETAIL)]
        place.knocks_s.clear()
        node.quarantined_until_s = now_s + FLEET_QUARANTINE_S
        streams = self._streams_of(node)
        self._forget(streams)
        ends = [End(stream, Code.FORBIDDEN, _QUARANTINE_DETAIL) for stream in streams]
        return [*ends, Notice(NoticeKind.QUARANTINED, node.region, node.name)]

    def _released(self, node: _Node) -> list[Effect]:
        if node.quarantined_until_s is None:
            return []
        node.quarantined_until_s = None
        return [Notice(NoticeKind.RELEASED, node.region, node.name)]

    def _forget(self, streams: Iterable[StreamID]) -> None:
        for stream in streams:
            if stream not in self._streams:
                continue
            node, name = self._streams.pop(stream)
            node.processes[name].leave(stream)
            if node.processes[name].is_empty():  # it asked, and never proved that it lives
                del node.processes[name]
            if not node.processes:
                del self._nodes[node.name]


_SUPERSEDED_DETAIL: Final = "a newer stream of this process took over"
_QUARANTINE_DETAIL: Final = (
    "two processes take turns with the name of this node: stop one, then make the node active"
)


def _silenced(node: _Node, now_s: float, *, spared: bool) -> Iterator[Effect]:
    for name, place in node.known():
        observed = place.after_silence(now_s)
        if observed is place.observed or (spared and observed is Observed.LOST):
            continue
        place.observed = observed
        kind = NoticeKind.LOST if observed is Observed.LOST else NoticeKind.LATE
        yield Notice(kind, node.region, node.name, name)


def _view(node: _Node) -> NodeView:
    is_quarantined = node.quarantined_until_s is not None
    return NodeView(
        node=node.name,
        region=node.region,
        desired=node.desired,
        observed=node.observed(),
        is_quarantined=is_quarantined,
        is_routable=(
            node.serves() and node.desired.state is DesiredState.ACTIVE and not is_quarantined
        ),
        processes=tuple(
            ProcessView(name, one.epoch or EpochID(""), one.observed, one.heard_s, bool(one.stream))
            for name, one in node.known()
        ),
    )


def _require_duration(seconds: float, most_s: float) -> None:
    if not 0 < seconds <= most_s:
        raise Error(Code.INVALID, f"give a time above 0 and up to {most_s:g} seconds")
