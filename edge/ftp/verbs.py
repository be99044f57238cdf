"""The verbs that need more than the session: signing in, data connections, and transfers.

The rules: 226 follows what is durable (law 2); a transfer that is not known to be whole is kept to
go on with or ends as a failed upload, never as a short file (law 4); what can be refused is refused
before 150; and whatever becomes of a transfer, its data connection is closed and its control
connection lives on.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from edge.admission import Admit, Load, Refuse, Request, admit
from edge.ftp import replies
from edge.ftp.bounds import Bounds
from edge.ftp.coming import Storing, Target
from edge.ftp.control import Control
from edge.ftp.data import DataChannel, NoDataConnection
from edge.ftp.defence import Defence
from edge.ftp.lines import Command
from edge.ftp.listing import listed
from edge.ftp.looking import LOOKS, looked_at
from edge.ftp.passive import NoDataPort, PassivePorts
from edge.ftp.paths import folder_at
from edge.ftp.replies import Reply, say
from edge.ftp.session import RULES, Session, is_whole
from edge.ftp.storing import Stores
from edge.resumable import Resumables
from edge.snapshot import CredentialKind
from zentransfer.clock import Clock
from zentransfer.credential import Shown
from zentransfer.errors import Code, Error

_NO_LOAD: Final = Load(
    is_admitting=True,
    in_flight=0,
    in_flight_max=1,
    of_account=MappingProxyType({}),
    room_bytes=1 << 62,
    outbox_room_bytes=1 << 62,
)
_SPEAKS_OF_PARTS: Final = frozenset(("SIZE", "MDTM", "MLST", "STAT", "RNFR", "MFMT", "MFF"))
"""The verbs that must know how much is held of a cut file."""

_ANSWERS: Final = {**RULES, **LOOKS}
_NAMES_MAX: Final = 1_000  # numbers tried by STOU

Verb = Callable[[Control, str], Awaitable[Iterable[Reply]]]
"""Does one command, given its argument; returns what is to be said, and may raise ``Error``."""


@dataclass(frozen=True, slots=True)
class _Transfer:
    """What belongs to one transfer, with its size in bytes if ALLO announced it."""

    control: Control
    data: DataChannel
    announced: int | None = None


def _unobserved(_: float) -> None:
    """Tell nobody."""


class Verbs:
    """What a door does at its clients' word."""

    def __init__(
        self,
        resumables: Resumables,
        passive: PassivePorts,
        clock: Clock,
        bounds: Bounds,
        say: Callable[[Control, Reply], Awaitable[None]],
    ) -> None:
        """Work for *resumables*; *say* says what must be said before a verb has done its work."""
        self.stores = Stores(resumables, clock)
        self.defence = Defence(os.urandom(32))
        self.observe: Callable[[float], None] = _unobserved
        """Hears how long each file took from its last byte to its 226, in seconds."""
        self._resumables = resumables
        self._passive = passive
        self._clock = clock
        self._bounds = bounds
        self._say = say
        self.signed_in = Counter[str]()
        """How many sessions of each address are signed in."""
        self._signed_in: dict[Session, tuple[Admit, str]] = {}

    def table(self) -> Mapping[str, Verb]:
        """Return every verb of the door, by its name in capitals."""
        ruled: dict[str, Verb] = {verb: partial(self._ruled, verb) for verb in RULES}
        looking = {verb: partial(self._look, verb) for verb in LOOKS}
        return (
            ruled
            | looking
            | {
                "PASS": self._pass,
                "PASV": self._pasv,
                "EPSV": self._epsv,
                "STOR": partial(self._stor, appends=False),
                "APPE": partial(self._stor, appends=True),
                "STOU": self._stou,
                "LIST": partial(self._list, "LIST"),
                "NLST": partial(self._list, "NLST"),
                "MLSD": partial(self._list, "MLSD"),
                "DELE": self._dele,
                "RNTO": self._rnto,
                "AVBL": self._avbl,
                "ABOR": self._abor,
                "QUIT": self._quit,
            }
        )

    def forget(self, session: Session) -> None:
        """Count *session* as signed in no more."""
        known = self._signed_in.pop(session, None)
        if known is not None:
            whose, address = known
            self.defence.left(whose.credential.id)
            self.signed_in[address] -= 1
            if not self.signed_in[address]:
                del self.signed_in[address]

    # -- signing in ------------------------------------------------------------------------------

    async def _pass(self, control: Control, password: str) -> Iterable[Reply]:
        session, now_s = control.session, asyncio.get_running_loop().time()
        shown = session.offered(password)
        self.forget(session)
        try:
            whose = self._asked(control, shown)
        except Error as error:
            reply = replies.not_signed_in(error)
            if reply.ends:
                return [reply]
            # Seconds of the bounds, made longer as the defence says.
            longer = self.defence.wrong(control.address, now_s)
            await asyncio.sleep(self._bounds.login_pause_s * longer)
            return [session.failed(reply)]
        assert shown is not None, "nobody is admitted without showing something"
        credential = whose.credential.id
        most = whose.account.limits.connections_max or self._bounds.per_credential_max
        if self.defence.sessions(credential) >= most:
            return [replies.TOO_MANY_SESSIONS]
        self.defence.right(control.address, now_s)
        self.defence.entered(credential)
        self._signed_in[session] = whose, control.address
        self.signed_in[control.address] += 1
        session.view = self.stores.views.of(credential)
        session.enters_any = self._bounds.enters_any
        return [session.signed_in(shown)]

    # -- data connections ------------------------------------------------------------------------

    async def _pasv(self, control: Control, _: str) -> Iterable[Reply]:
        if control.session.is_epsv_only or not control.is_v4:
            raise Error(Code.FAILED_PRECONDITION, "use EPSV")
        host = self._passive.nat.told(control.own_address)
        return [await self._reserved(control, partial(replies.passive, host))]

    async def _epsv(self, control: Control, argument: str) -> Iterable[Reply]:
        wanted = argument.strip().upper()
        if wanted == "ALL":
            control.session.is_epsv_only = True
            return [replies.PASSIVE_ALL]
        if wanted not in ("", "1" if control.is_v4 else "2"):
            return [replies.OTHER_FAMILY]
        return [await self._reserved(control, replies.extended_passive)]

    # -- transfers -------------------------------------------------------------------------------

    async def _stor(
        self, control: Control, path: str, *, appends: bool, opening: Reply = replies.OPENING
    ) -> Iterable[Reply]:
        session, reserved = control.session, control.take_reserved()
        announced, restart = session.take_announced(), session.take_restart()
        control.is_aborted, has_begun = False, False
        if reserved is None:
            return [replies.NO_DATA]
        try:
            request = self._request(control, session.shown)
            whose = self._asked(control, session.shown, announced)
            name, parts = session.file(path), session.path(path)
            sized = session.take_sized(parts)
            if appends and restart is None:  # its tail begins where SIZE said, and nowhere else
                restart = sized
            target = Target(whose, self.stores.views.of(whose.credential.id), parts, name)
            transfer = _Transfer(control, reserved.data, announced)
            # ALLO asks for room and promises nothing: so it is not the upload's length.
            async with self.stores.entered(request, target, restart, appends=appends) as storing:
                await self._say(control, opening)
                has_begun = True
                await self._watched(transfer, partial(self._receive, transfer, storing))
            said = [replies.STORED]
        except NoDataConnection as failure:
            said = [failure.said]
        except Error as error:
            said = [replies.refusal(error)]
            if error.code is Code.DRAINING and has_begun:
                said = [replies.CUT_BY_DRAIN, replies.LEAVING]
        finally:
            reserved.end()
        return [*said, replies.ABORTED] if control.is_aborted else said

    async def _stou(self, control: Control, argument: str) -> Iterable[Reply]:
        """Store under a name that no file has here (RFC 1123 section 4.1.2.9)."""
        session = control.session
        wanted = argument.strip() or "file"
        tries = (wanted, *(f"{wanted}.{number}" for number in range(1, _NAMES_MAX)))
        free = (each for each in tries if session.view.maybe(session.path(each)) is None)
        name = next(free, wanted)  # a version more, where all are taken
        opening = say(150, f"FILE: {name}")
        return await self._stor(control, name, appends=False, opening=opening)

    async def _list(self, verb: str, control: Control, argument: str) -> Iterable[Reply]:
        session, reserved = control.session, control.take_reserved()
        control.is_aborted = False
        if reserved is None:
            return [replies.NO_DATA]
        try:
            await self._learn(control)
            await self.stores.look(session.view)
            folder, entry = looked_at(session, argument, is_folder=verb == "MLSD")
            content = listed(verb, session.view, folder, entry)
            transfer = _Transfer(control, reserved.data, 0)
            await self._say(control, replies.OPENING)
            await self._watched(transfer, partial(self._send, transfer, content))
            said = [replies.LISTED]
        except NoDataConnection as failure:
            said = [failure.said]
        except Error as error:
            said = [replies.refusal(error)]
        finally:
            reserved.end()
        return [*said, replies.ABORTED] if control.is_aborted else said

    async def _abor(self, control: Control, _: str) -> Iterable[Reply]:
        control.drop_reserved()
        return [replies.NOT_ABORTED]

    async def _quit(self, _: Control, __: str) -> Iterable[Reply]:
        return [replies.GOODBYE]

    # -- files and folders -----------------------------------------------------------------------

    async def _ruled(self, verb: str, control: Control, argument: str) -> Iterable[Reply]:
        if verb == "USER":
            self.forget(control.session)
        return [RULES[verb](control.session, argument)]

    async def _look(self, verb: str, control: Control, argument: str) -> Iterable[Reply]:
        session = control.session
        if session.is_signed_in:
            await self._learn(control)
            if verb in _SPEAKS_OF_PARTS:
                path = argument.split(" ", 1)[-1] if verb in ("MFMT", "MFF") else argument
                where = folder_at(session.folder, path)
                request = self._request(control, session.shown)
                await self.stores.sure(request, session.view, where)
        return [LOOKS[verb](session, argument)]

    async def _dele(self, control: Control, path: str) -> Iterable[Reply]:
        await self._learn(control)
        session = control.session
        session.sized = None
        await self.stores.delete(session.view, session.path(path))
        return [replies.DELETED]

    async def _rnto(self, control: Control, path: str) -> Iterable[Reply]:
        session = control.session
        renaming, session.renaming = session.renaming, None
        if renaming is None:
            raise Error(Code.FAILED_PRECONDITION, "send RNFR first")
        whose = self._asked(control, session.shown)
        target = Target(whose, session.view, session.path(path), session.file(path))
        await self.stores.rename(target, renaming)
        return [replies.RENAMED]

    async def _avbl(self, control: Control, _: str) -> Iterable[Reply]:
        """Say how large a file may be (draft-peterson-streamlined-ftp-command-extensions)."""
        return [say(213, str(self._asked(control, control.session.shown).size_max))]

    # -- inside ----------------------------------------------------------------------------------

    def _request(self, control: Control, shown: Shown | None, length: int | None = None) -> Request:
        is_tls, now_ms = control.security.is_tls, self._clock.now_ms()
        return Request(shown, CredentialKind.FTP, length, is_tls=is_tls, now_ms=now_ms)

    def _asked(self, control: Control, shown: Shown | None, length: int | None = None) -> Admit:
        """Return what *shown* may do, were there room.

        Raises ``Error`` if it may not send a file of *length* bytes.
        """
        tools = self._resumables.intake.tools
        snapshot = tools.snapshots.current
        pepper = tools.pepper(frozenset() if snapshot is None else snapshot.pepper_kids)
        decided = admit(snapshot, pepper, self._request(control, shown, length), _NO_LOAD)
        if isinstance(decided, Refuse):
            raise decided.error()
        return decided

    async def _learn(self, control: Control) -> None:
        """Let the session see what was cut before, and all that others of its credential sent."""
        whose, _ = self._signed_in[control.session]
        await self.stores.learn(whose)
        control.session.view = self.stores.views.of(whose.credential.id)

    async def _reserved(self, control: Control, reply: Callable[[int], Reply]) -> Reply:
        """Expect the client at a new port; returns what *reply* makes of it."""
        control.drop_reserved()
        try:
            control.reserved = reserved = await self._passive.reserve(control.address)
        except NoDataPort:
            return replies.NO_PORT
        return reply(reserved.port)

    async def _watched(self, transfer: _Transfer, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work* while the control connection is heard; raises the ``Error`` of *work*."""
        control = transfer.control
        say_at_once = partial(self._say_at_once, control)
        failure: Error | None = None
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(control.watch(transfer.data, transfer.announced, say_at_once))
            try:
                await work()
            except Error as error:
                failure = error
            finally:
                watch.cancel()
        if failure is not None:
            raise failure

    async def _say_at_once(self, control: Control, command: Command) -> None:
        """Answer a command that does not wait for the end of the transfer."""
        try:
            reply = _ANSWERS[command.verb](control.session, command.argument)
        except Error as error:
            reply = replies.refusal(error)
        await self._say(control, reply)

    async def _receive(self, transfer: _Transfer, storing: Storing) -> None:
        """Take the file in; returns when it is durable, and raises ``Error`` if it never is."""
        data = transfer.data
        await data.connected(self._bounds.data_wait_s)
        await storing.receive(data, self._bounds.content)
        ended_s = asyncio.get_running_loop().time()
        if transfer.announced is None:
            # Who died ends the other connection too, within a round trip or so.
            await asyncio.sleep(transfer.control.farewell_s())
        is_alone, announced = transfer.control.is_alone, transfer.announced
        if not is_whole(data.received, announced, is_alone=is_alone, before=storing.before):
            raise Error(Code.PEER_GONE, "the file was cut")
        await self.stores.finish(storing)
        self.observe(asyncio.get_running_loop().time() - ended_s)

    async def _send(self, transfer: _Transfer, content: bytes) -> None:
        """Send a listing; returns when the client has it."""
        await transfer.data.connected(self._bounds.data_wait_s)
        if content:
            await transfer.data.send(content)
        await transfer.data.finish(self._bounds.reply_s)
