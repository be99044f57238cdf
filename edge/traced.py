"""The lines of traced sessions, sealed and told to control as they come; kept nowhere.

The rule: what is lost with a stream is lost; a trace is for somebody who looks at it now.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from edge.facts import SealedName
from edge.ftp.trace import Line, Traceable, Traces
from edge.snapshot import CredentialKind, Snapshot
from zentransfer import sealed_line
from zentransfer.clock import Clock
from zentransfer.ids import AccountID, CredentialID, CredentialName
from zentransfer.limits import TRACE_LINES_PER_REPORT_MAX, TRACE_PAUSE_S, TRACE_S


@dataclass(frozen=True, slots=True)
class Told:
    """One line as it is told: sealed to its account's key."""

    credential: CredentialID
    account: AccountID
    session: int
    at_ms: int
    line: SealedName


class Tracing:
    """The traces of one process, on their way to control."""

    def __init__(self, snapshot: Callable[[], Snapshot | None], clock: Clock) -> None:
        """Know credentials and keys by *snapshot*."""
        self._snapshot = snapshot
        self._changed = asyncio.Event()
        self.traces = Traces(self._find, clock.now_ms, self._changed.set)

    def open(self, credential: CredentialID, lasts_s: float | None) -> None:
        """Trace *credential* for *lasts_s*, TRACE_S at most; raises ``Error(OVERLOADED)``."""
        lasts = TRACE_S if lasts_s is None else min(lasts_s, TRACE_S)
        self.traces.open(credential, int(lasts * 1000))

    async def watch(self, wake: Callable[[], None]) -> None:
        """Call *wake* whenever there is something to tell, with a pause in between, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            wake()
            await asyncio.sleep(TRACE_PAUSE_S)

    def maybe_report(self) -> list[Told]:
        """Return what is to be told now; nothing if there is nothing."""
        return [_told(one) for one in self.traces.take(TRACE_LINES_PER_REPORT_MAX)]

    def _find(self, name: str) -> Traceable | None:
        """Return the camera's credential that is signed in with as *name*."""
        snapshot = self._snapshot()
        found = None if snapshot is None else snapshot.names.get(CredentialName(name))
        if snapshot is None or found is None or found.kind is not CredentialKind.FTP:
            return None
        account = snapshot.maybe_account(found.account_id)
        if account is None:
            return None
        return Traceable(found.id, account.id, account.name_kid, account.name_key)


def _told(line: Line) -> Told:
    of = line.of
    sealed = sealed_line.seal(of.name_key, of.account, of.credential, line.text)
    return Told(
        of.credential, of.account, line.session, line.at_ms, SealedName(of.name_kid, sealed)
    )
