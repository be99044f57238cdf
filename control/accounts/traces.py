"""Traces that owners opened: lines of a camera's sessions, sealed, in memory, for minutes.

The rules: an owner sees lines of own credentials only; a node's word counts only for what is traced
now; nothing is ever written down (law 11), and with its time a trace is gone, lines and all.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID, NodeID, ProcessName
from zentransfer.limits import (
    TRACE_AGAIN_S,
    TRACE_LINES_MAX,
    TRACE_S,
    TRACES_MAX,
    TRACES_PER_ACCOUNT_MAX,
)

_TRACE_MS: Final = int(TRACE_S * 1000)
_AGAIN_MS: Final = int(TRACE_AGAIN_S * 1000)


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One line as a node told it, sealed to the account; *session* is a number of that process."""

    credential_id: CredentialID
    account_id: AccountID
    node: NodeID
    process: ProcessName
    session: int
    at_ms: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A line and its place among all lines of control's life."""

    number: int
    line: TraceLine


@dataclass(slots=True)
class _Open:
    account: AccountID
    until_ms: int
    lines: deque[Numbered] = field(default_factory=lambda: deque[Numbered](maxlen=TRACE_LINES_MAX))


class TraceBook:
    """The open traces; times are UTC milliseconds."""

    def __init__(self) -> None:
        self._open: dict[CredentialID, _Open] = {}
        self._newest = 0

    def open(self, owner: AccountID, credential: CredentialID, now_ms: int) -> int:
        """Trace *credential* of *owner* for TRACE_S from now; returns when that ends.

        One that is open goes on and keeps its lines, and its end if that would move by less than
        TRACE_AGAIN_S.  Raises ``Error``: QUOTA, OVERLOADED.
        """
        self.trim(now_ms)
        held = self._open.get(credential)
        if held is None:
            per_account = Counter(one.account for one in self._open.values())
            if per_account[owner] >= TRACES_PER_ACCOUNT_MAX:
                raise Error(Code.QUOTA, "the account traces enough credentials already")
            if len(self._open) >= TRACES_MAX:
                raise Error(Code.OVERLOADED, "too many are traced already", TRACE_S)
            held = self._open[credential] = _Open(owner, 0)
        until_ms = now_ms + _TRACE_MS
        if until_ms - held.until_ms >= _AGAIN_MS:
            held.until_ms = until_ms
        return held.until_ms

    def close(self, owner: AccountID, credential: CredentialID) -> bool:
        """End a trace of *owner* and forget its lines; returns whether there was one."""
        held = self._open.get(credential)
        if held is None or held.account != owner:
            return False
        del self._open[credential]
        return True

    def until_ms(self, owner: AccountID, credential: CredentialID, now_ms: int) -> int | None:
        """Return when the trace of *credential* ends, ``None`` if *owner* has none open."""
        held = self._open.get(credential)
        is_there = held is not None and held.account == owner and now_ms < held.until_ms
        return held.until_ms if held is not None and is_there else None

    def live(self, now_ms: int) -> dict[CredentialID, int]:
        """Return what is traced now, and for how many milliseconds more."""
        self.trim(now_ms)
        return {credential: one.until_ms - now_ms for credential, one in self._open.items()}

    def take(self, told: Iterable[TraceLine], now_ms: int) -> set[AccountID]:
        """Keep what a node told of open traces; returns the accounts that have new lines."""
        self.trim(now_ms)
        touched: set[AccountID] = set()
        for line in told:
            held = self._open.get(line.credential_id)
            if held is not None and held.account == line.account_id:
                self._newest += 1
                held.lines.append(Numbered(self._newest, line))
                touched.add(held.account)
        return touched

    def resumed(self, number: int) -> int:
        """Return behind which line who saw *number* last goes on: 0 after another life's line."""
        return number if number <= self._newest else 0

    def behind(self, owner: AccountID, credential: CredentialID, number: int) -> list[Numbered]:
        """Return the lines behind *number* of a trace of *owner*, the oldest first."""
        held = self._open.get(credential)
        if held is None or held.account != owner:
            return []
        return [one for one in held.lines if one.number > number]

    def trim(self, now_ms: int) -> None:
        """Forget every trace whose time is over; to be called as time passes."""
        for credential in [one for one, held in self._open.items() if now_ms >= held.until_ms]:
            del self._open[credential]


class TraceDesk:
    """Takes what nodes tell, by one clock, and wakes whoever watches."""

    def __init__(
        self, book: TraceBook, clock: Clock, notify: Callable[[Iterable[AccountID]], None]
    ) -> None:
        """Keep lines in *book*, and *notify* accounts that have new ones."""
        self._book = book
        self._clock = clock
        self._notify = notify

    def live(self) -> dict[CredentialID, int]:
        """Return what is traced now, and for how many milliseconds more."""
        return self._book.live(self._clock.now_ms())

    def take(self, told: Iterable[TraceLine]) -> None:
        """Keep what a node told of open traces."""
        self._notify(self._book.take(told, self._clock.now_ms()))
