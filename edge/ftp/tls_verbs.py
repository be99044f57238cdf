"""The verbs of encryption, and REIN, which ends it.

The rule: what was said before encryption began counts for nothing after it.  A command that came
with AUTH, or behind it, was put there by somebody who reads along: such a client is cut off
(CVE-2011-0411).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from edge.ftp.control import Control, Gone
from edge.ftp.replies import GREETING, Reply
from edge.ftp.security import BEGIN, TOO_MANY
from edge.ftp.tls import Rules
from edge.ftp.verbs import Verb
from edge.snapshot_file import SnapshotFile


class TlsVerbs:
    """AUTH, PBSZ, PROT, CCC and REIN of one door."""

    def __init__(
        self,
        rules: Rules,
        snapshots: SnapshotFile,
        say: Callable[[Control, Reply], Awaitable[None]],
    ) -> None:
        """Do as *rules* has it for the credentials in *snapshots*; *say* says a reply at once."""
        self._rules = rules
        self._snapshots = snapshots
        self._say = say

    def table(self) -> Mapping[str, Verb]:
        """Return the verbs by their names in capitals."""
        return {
            "AUTH": self._auth,
            "PBSZ": self._pbsz,
            "PROT": self._prot,
            "CCC": self._ccc,
            "REIN": self._rein,
        }

    def maybe_refusal(self, control: Control, verb: str, argument: str) -> Reply | None:
        """Return what a command gets that would go in clear and must not."""
        shown = control.session.shown
        name = argument if verb == "USER" or shown is None else shown.name
        return self._rules.maybe_refusal(self._snapshots.current, control.security, verb, name)

    async def _auth(self, control: Control, argument: str) -> Iterable[Reply]:
        reply = control.security.auth(argument)
        if reply is not BEGIN:
            return [reply]
        if self._rules.is_full:
            return [TOO_MANY]
        await self._ask_for_silence(control)
        await self._say(control, BEGIN)
        control.renew()
        await control.secure()
        return []

    async def _pbsz(self, control: Control, argument: str) -> Iterable[Reply]:
        return [control.security.pbsz(argument)]

    async def _prot(self, control: Control, argument: str) -> Iterable[Reply]:
        shown = control.session.shown
        name = "" if shown is None else shown.name
        must = self._rules.must_be_private(self._snapshots.current, name)
        return [control.security.prot(argument, must_be_private=must)]

    async def _ccc(self, control: Control, _: str) -> Iterable[Reply]:
        return [control.security.ccc()]

    async def _rein(self, control: Control, _: str) -> Iterable[Reply]:
        """Begin anew: nobody is signed in, and TLS ends (RFC 4217 section 11)."""
        await self._ask_for_silence(control)
        await self._say(control, GREETING)
        control.renew()
        control.end_tls()
        return []

    async def _ask_for_silence(self, control: Control) -> None:
        if not await control.is_quiet():
            raise Gone
