"""What the link to control says, hears and decides, in our own words.  Pure.

The rule: control may be away for a day (law 5). So nothing here is an error: every end of a stream
has a pause after it, and every pause and every memory has a limit.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from zentransfer.errors import Code
from zentransfer.ids import CommandID, EpochID, NodeID, ProcessName
from zentransfer.limits import (
    LINK_COMMANDS_KEPT,
    LINK_ECHOES_KEPT,
    LINK_LONG_WAIT_S,
    LINK_RESET_S,
    LINK_RETRY_FIRST_S,
    LINK_RETRY_MAX_S,
)

if TYPE_CHECKING:
    from random import Random

# Dialling soon again cannot help: another process has our name, or somebody must act first.
_FOR_LONG: Final = frozenset(
    {
        Code.SUPERSEDED,
        Code.VERSION_MISMATCH,
        Code.FORBIDDEN,
        Code.UNAUTHENTICATED,
        Code.MISDIRECTED,
        Code.INVALID,
    }
)


class Observed(StrEnum):
    """What a process says of itself in its heartbeats."""

    JOINING = "joining"
    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"


class DesiredState(StrEnum):
    """What the operator wants of the node."""

    ACTIVE = "active"
    DRAIN = "drain"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Desired:
    """What the operator wants; ``remaining_s`` bounds a drain and ends a disablement."""

    state: DesiredState
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who dials: the node and its process, one run of it, the machine's run, the program."""

    node: NodeID
    process: ProcessName
    epoch: EpochID
    boot_id: str
    build: str


@dataclass(frozen=True, slots=True)
class Status:
    """What a heartbeat carries: the process's state, load, outbox and snapshot.

    ``utilisation`` is the used share of the scarcest resource, from 0 to 1.
    """

    observed: Observed
    utilisation: float = 0.0
    uploads_in_flight: int = 0
    outbox_lag: int = 0
    outbox_age_ms: int = 0
    snapshot_version: int = 0


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A public key that control may seal to: raw X25519, named by its ``kid``."""

    kid: str
    key: bytes


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key that verifies what a region signs: raw Ed25519, named by its ``kid``."""

    kid: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds when it says hello: its snapshot's digest, its outbox's beginning.

    And the keys that its region opens destinations' secrets with and signs tickets with.  The
    defaults say that it has none of it.
    """

    snapshot_digest: bytes = b""
    outbox_epoch: str = ""
    outbox_first: int = 0
    destination_key: SealingKey | None = None
    ticket_key: VerifyingKey | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an outbox: its epoch and the sequence of a fact."""

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a welcome says: the agreed version, the pause between heartbeats, what is desired.

    ``credit`` is how many batches of facts may be in flight, ``resume_from`` the first fact that
    control lacks; control that takes no facts gives neither.
    """

    version: int
    heartbeat_s: float
    desired: Desired
    credit: int = 0
    resume_from: Position | None = None


@dataclass(frozen=True, slots=True)
class Acked:
    """Control has committed every fact up to ``upto``; ``again_from`` is set where it saw a gap."""

    upto: Position
    again_from: int | None = None


@dataclass(frozen=True, slots=True)
class Echo:
    """The answer to a heartbeat: our clock when that left, control's when it came and went out."""

    t0_ms: int
    t1_ms: int
    t2_ms: int


class Verb(StrEnum):
    """What a command asks to do to one thing."""

    RETRY = "retry"
    CANCEL = "cancel"
    ERASE = "erase"
    TRACE = "trace"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for: to retry a delivery, cancel an upload, erase an account, by id.

    Or to trace a credential for ``lasts_s``.
    """

    verb: Verb
    subject: str
    lasts_s: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A command: what is desired of the process, or what it is asked to do.

    Both are ``None`` for one that this release does not know.
    """

    command: CommandID
    desired: Desired | None
    asked: Asked | None = None


def is_for_long(code: str | None) -> bool:
    """Whether a stream that ended with *code* will end so again until a person acts."""
    return code in _FOR_LONG


class Pace:
    """How long to wait before the next dial: full jitter, so that a fleet never dials as one.

    Mass reconnects are how fleets fail; drawing from the whole range keeps them apart (Amazon
    Builders' Library, "Timeouts, retries, and backoff with jitter").
    """

    def __init__(self, random: "Random") -> None:
        self._random = random
        self._ceiling_s = LINK_RETRY_FIRST_S

    def next_wait_s(self, code: str | None, lived_s: float, retry_after_s: float | None) -> float:
        """Return the pause, in seconds, after a stream that ended with *code* and lived *lived_s*.

        Control's *retry_after_s* comes on top, up to the long wait.
        """
        if lived_s >= LINK_RESET_S:
            self._ceiling_s = LINK_RETRY_FIRST_S
        if is_for_long(code):
            return self._random.uniform(LINK_LONG_WAIT_S / 2, LINK_LONG_WAIT_S)
        asked_s = min(retry_after_s or 0.0, LINK_LONG_WAIT_S)
        wait_s = asked_s + self._random.uniform(0, self._ceiling_s)
        self._ceiling_s = min(self._ceiling_s * 2, LINK_RETRY_MAX_S)
        return wait_s


@dataclass(frozen=True, slots=True)
class Offset:
    """Control's clock minus ours, and the round trip that it was measured with, both in ms.

    The true offset is within half of the round trip, to the millisecond.
    """

    offset_ms: int
    round_trip_ms: int


class ClockOffset:
    """How far our clock is from control's, by the best of the last echoes (RFC 5905 section 10)."""

    def __init__(self) -> None:
        self._last: deque[Offset] = deque(maxlen=LINK_ECHOES_KEPT)

    def echoed(self, echo: Echo, t3_ms: int) -> None:
        """Take one echo, which came when our clock said t3.

        An echo that took less than no time saw a clock being set, and is dropped.
        """
        round_trip_ms = (t3_ms - echo.t0_ms) - (echo.t2_ms - echo.t1_ms)
        if round_trip_ms < 0 or echo.t2_ms < echo.t1_ms:
            return
        offset_ms = ((echo.t1_ms - echo.t0_ms) + (echo.t2_ms - t3_ms)) // 2
        self._last.append(Offset(offset_ms, round_trip_ms))

    def best(self) -> Offset | None:
        """Return the measure with the shortest round trip, the newest of equals."""
        return min(reversed(self._last), key=lambda one: one.round_trip_ms, default=None)


class CommandEnd(StrEnum):
    """How a command ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class Commands:
    """The commands that are over, so that a repeated one is answered and not done again."""

    def __init__(self) -> None:
        self._ended: dict[CommandID, CommandEnd] = {}

    def ended(self, command: CommandID, end: CommandEnd) -> None:
        """Remember how *command* ended; a failed one may be tried again, so it is not kept."""
        if end is CommandEnd.FAILED:
            return
        self._ended[command] = end
        if len(self._ended) > LINK_COMMANDS_KEPT:
            del self._ended[next(iter(self._ended))]

    def end_of(self, command: CommandID) -> CommandEnd | None:
        """Return how *command* ended, or ``None`` if it is new or long past."""
        return self._ended.get(command)
