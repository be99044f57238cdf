"""What sessions of a traced credential say: a ring of lines in memory, for its owner.  Pure.

The rules: nobody is traced whose owner did not ask, and nobody for longer than was asked; no secret
is ever in a line, also not one that was typed where it does not belong; and a line goes to nothing
but this ring (law 11), which forgets the oldest when nobody takes them.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID
from zentransfer.limits import (
    TRACE_LINE_BYTES_MAX,
    TRACE_LINES_BEFORE_MAX,
    TRACE_LINES_WAITING_MAX,
    TRACES_MAX,
)

_MASK: Final = "****"
_SAYS_WHO: Final = "USER"
SHOWN: Final = frozenset(
    {
        *("USER", "OPTS", "CLNT", "TYPE", "MODE", "STRU", "ALLO", "REST", "STOR", "STOU", "APPE"),
        *("RETR", "LIST", "NLST", "MLSD", "MLST", "SIZE", "MDTM", "MFMT", "MFF", "EPSV", "CWD"),
        *("MKD", "RMD", "XCWD", "XMKD", "XRMD", "DELE", "RNFR", "RNTO", "AUTH", "PBSZ", "PROT"),
    }
)
"""Whose argument is shown; of every other verb nobody knows what was typed behind it."""

_VERB: Final = re.compile("[A-Za-z]{3,4}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Traceable:
    """A credential that may be traced, and the key (raw X25519) that its lines are sealed to."""

    credential: CredentialID
    account: AccountID
    name_kid: str
    name_key: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a *session*; said at UTC milliseconds, with ``>`` by the client, ``<`` by us."""

    of: Traceable
    session: int
    at_ms: int
    text: str


class Traces:
    """The open traces of one process, and the lines that wait to be taken."""

    def __init__(
        self,
        find: Callable[[str], Traceable | None],
        now_ms: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        """Know credentials by *find*, given what was said with USER; call *changed* for lines."""
        self.find = find
        self.now_ms = now_ms
        self._changed = changed
        self._until_ms: dict[CredentialID, int] = {}
        self._waiting = deque[Line](maxlen=TRACE_LINES_WAITING_MAX)
        self._sessions = count(1)

    @property
    def are_open(self) -> bool:
        """Say whether anybody is traced; quick where nobody is."""
        if self._until_ms:
            self._expire()
        return bool(self._until_ms)

    def open(self, credential: CredentialID, lasts_ms: int) -> None:
        """Trace *credential* for *lasts_ms* from now; raises ``Error(OVERLOADED)``."""
        self._expire()
        if credential not in self._until_ms and len(self._until_ms) >= TRACES_MAX:
            raise Error(Code.OVERLOADED, "too many are traced")
        self._until_ms[credential] = self.now_ms() + lasts_ms
        self._expire()

    def is_traced(self, credential: CredentialID) -> bool:
        """Say whether *credential* is traced now."""
        return self.now_ms() < self._until_ms.get(credential, 0)

    def ear(self) -> "Ear":
        """Return what hears a new session."""
        return Ear(self, next(self._sessions))

    def add(self, lines: Sequence[Line]) -> None:
        """Keep *lines*, and forget the oldest of those that nobody has taken."""
        self._waiting.extend(lines)
        self._changed()

    def take(self, most: int) -> list[Line]:
        """Return up to *most* lines, the oldest first, and forget them."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _expire(self) -> None:
        now_ms = self.now_ms()
        self._until_ms = {one: until for one, until in self._until_ms.items() if now_ms < until}


class Ear:
    """What hears one session; deaf while nobody is traced."""

    def __init__(self, traces: Traces, session: int) -> None:
        self._traces = traces
        self._session = session
        self._of: Traceable | None = None
        # What it said before USER, such as AUTH: it belongs to whoever it turns out to be.
        self._before = deque[tuple[int, str]](maxlen=TRACE_LINES_BEFORE_MAX)

    def heard(self, verb: str, argument: str) -> None:
        """Hear a command of the client."""
        is_who = verb.upper() == _SAYS_WHO
        if is_who:  # noted also while nobody is traced: a trace may open in the middle
            self._of = self._traces.find(argument)
        if not self._traces.are_open:
            return
        if is_who and self._of is None:  # a stranger's name may be anything, a password too
            self._before.clear()
            argument = _MASK
        self._keep("> " + masked(verb, argument))

    def said(self, code: int, lines: Sequence[str]) -> None:
        """Hear a reply of ours."""
        if self._traces.are_open:
            self._keep(f"< {code} {plain(' / '.join(lines))}")

    def _keep(self, text: str) -> None:
        now_ms, of = self._traces.now_ms(), self._of
        if of is None:
            self._before.append((now_ms, text))
            return
        said = [*self._before, (now_ms, text)]
        self._before.clear()
        if self._traces.is_traced(of.credential):
            self._traces.add([Line(of, self._session, at_ms, one) for at_ms, one in said])


def masked(verb: str, argument: str) -> str:
    """Return a command without anything that may be secret, or an address."""
    if _VERB.fullmatch(verb) is None:
        return "(what is no command)"
    name = verb.upper()
    if not argument:
        return name
    return f"{name} {plain(argument)}" if name in SHOWN else f"{name} {_MASK}"


def plain(text: str) -> str:
    """Return *text* as one printable line of TRACE_LINE_BYTES_MAX bytes at most."""
    shown = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return shown.encode()[: TRACE_LINE_BYTES_MAX - 16].decode(errors="ignore")
