"""The verbs that need more than the session: signing in, data connections, and transfers.

The rules: 226 follows what is durable (law 2); a transfer that is not known to be whole ends as a
failed upload, never as a short file (law 4); what can be refused is refused before 150; and
whatever becomes of a transfer, its data connection is closed and its control connection lives on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from edge.admission import Load, Refuse, Request, admit
from edge.facts import Door
from edge.ftp import replies
from edge.ftp.bounds import Bounds
from edge.ftp.control import Control
from edge.ftp.data import DataChannel, NoDataConnection
from edge.ftp.lines import Command
from edge.ftp.passive import NoDataPort, PassivePorts
from edge.ftp.replies import Reply
from edge.ftp.session import RULES, is_whole
from edge.incoming import Incoming
from edge.intake import Intake, Taking
from edge.snapshot import CredentialKind
from zentransfer.clock import Clock
from zentransfer.credential import Shown
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_FAREWELL_S

DIALECT: Final = "ftp"
"""Such an upload is not continued yet: what a crash cuts is aborted."""

_NO_LOAD: Final = Load(
    is_admitting=True,
    in_flight=0,
    in_flight_max=1,
    of_account=MappingProxyType({}),
    room_bytes=1 << 62,
    outbox_room_bytes=1 << 62,
)

Verb = Callable[[Control, str], Awaitable[Iterable[Reply]]]
"""Does one command, given its argument; returns what is to be said, and may raise ``Error``."""


@dataclass(frozen=True, slots=True)
class _Transfer:
    """What belongs to one transfer, with its size in bytes if ALLO announced it."""

    control: Control
    data: DataChannel
    announced: int | None = None


class Verbs:
    """What a door does at its clients' word."""

    def __init__(
        self,
        intake: Intake,
        passive: PassivePorts,
        clock: Clock,
        bounds: Bounds,
        say: Callable[[Control, Reply], Awaitable[None]],
    ) -> None:
        """Work for *intake*; *say* says what must be said before a verb has done its work."""
        self._intake = intake
        self._passive = passive
        self._clock = clock
        self._bounds = bounds
        self._say = say

    def table(self) -> Mapping[str, Verb]:
        """Return every verb of the door, by its name in capitals."""
        ruled: dict[str, Verb] = {verb: partial(_ruled, verb) for verb in RULES}
        return ruled | {
            "PASS": self._pass,
            "PASV": self._pasv,
            "EPSV": self._epsv,
            "STOR": self._stor,
            "LIST": self._list,
            "NLST": self._list,
            "ABOR": self._abor,
            "QUIT": self._quit,
        }

    async def _pass(self, control: Control, password: str) -> Iterable[Reply]:
        session = control.session
        shown = session.offered(password)
        try:
            self._ask(shown)
        except Error as error:
            reply = replies.not_signed_in(error)
            if reply.ends:
                return [reply]
            await asyncio.sleep(self._bounds.login_pause_s)
            return [session.failed(reply)]
        assert shown is not None, "nobody is admitted without showing something"
        return [session.signed_in(shown)]

    async def _pasv(self, control: Control, _: str) -> Iterable[Reply]:
        if control.session.is_epsv_only or not control.is_v4:
            raise Error(Code.FAILED_PRECONDITION, "use EPSV")
        host = self._passive.public_host or control.own_address
        return [await self._reserved(control, partial(replies.passive, host))]

    async def _epsv(self, control: Control, argument: str) -> Iterable[Reply]:
        wanted = argument.strip().upper()
        if wanted == "ALL":
            control.session.is_epsv_only = True
            return [replies.PASSIVE_ALL]
        if wanted not in ("", "1" if control.is_v4 else "2"):
            return [replies.OTHER_FAMILY]
        return [await self._reserved(control, replies.extended_passive)]

    async def _stor(self, control: Control, path: str) -> Iterable[Reply]:
        session, reserved = control.session, control.take_reserved()
        announced = session.take_announced()
        if reserved is None:
            return [replies.NO_DATA]
        try:
            incoming = Incoming(name=session.file(path), door=Door.FTP, dialect=DIALECT)
            if announced is not None:
                self._ask(session.shown, announced)
            # ALLO asks for room and promises nothing: so it is not the upload's length.
            taking = self._intake.take(self._request(session.shown))
            transfer = _Transfer(control, reserved.data, announced)
            await self._say(control, replies.OPENING)
            return await self._transferred(
                transfer, partial(self._receive, transfer, taking, incoming)
            )
        finally:
            reserved.end()

    async def _list(self, control: Control, _: str) -> Iterable[Reply]:
        reserved = control.take_reserved()
        if reserved is None:
            return [replies.NO_DATA]
        try:
            transfer = _Transfer(control, reserved.data)
            await self._say(control, replies.OPENING)
            return await self._transferred(transfer, partial(self._send_nothing, transfer))
        finally:
            reserved.end()

    async def _abor(self, control: Control, _: str) -> Iterable[Reply]:
        control.drop_reserved()
        return [replies.NOT_ABORTED]

    async def _quit(self, _: Control, __: str) -> Iterable[Reply]:
        return [replies.GOODBYE]

    # -- inside ----------------------------------------------------------------------------------

    def _request(self, shown: Shown | None, length: int | None = None) -> Request:
        now_ms = self._clock.now_ms()
        return Request(shown, CredentialKind.FTP, length, is_tls=False, now_ms=now_ms)

    def _ask(self, shown: Shown | None, length: int | None = None) -> None:
        """Raise ``Error`` if *shown* may not send a file of *length* bytes, were there room."""
        tools = self._intake.tools
        snapshot = tools.snapshots.current
        pepper = tools.pepper(frozenset() if snapshot is None else snapshot.pepper_kids)
        decided = admit(snapshot, pepper, self._request(shown, length), _NO_LOAD)
        if isinstance(decided, Refuse):
            raise decided.error()

    async def _reserved(self, control: Control, reply: Callable[[int], Reply]) -> Reply:
        """Expect the client at a new port; returns what *reply* makes of it."""
        control.drop_reserved()
        try:
            control.reserved = await self._passive.reserve(control.address)
        except NoDataPort:
            return replies.NO_PORT
        return reply(control.reserved.port)

    async def _transferred(
        self, transfer: _Transfer, work: Callable[[], Awaitable[Reply]]
    ) -> Iterable[Reply]:
        """Do *work* while the control connection is heard; returns what is to be said then."""
        control = transfer.control
        control.is_aborted = False
        say_at_once = partial(self._say_at_once, control)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(control.watch(transfer.data, transfer.announced, say_at_once))
            try:
                reply = await work()
            except NoDataConnection:
                reply = replies.NO_DATA
            except Error as error:
                reply = replies.refusal(error)
            finally:
                watch.cancel()
        return [reply, replies.ABORTED] if control.is_aborted else [reply]

    async def _say_at_once(self, control: Control, command: Command) -> None:
        await self._say(control, RULES[command.verb](control.session, command.argument))

    async def _receive(self, transfer: _Transfer, taking: Taking, incoming: Incoming) -> Reply:
        """Take the file in; returns when it is durable, and raises ``Error`` if it never is."""
        data = transfer.data
        async with taking:
            await data.connected(self._bounds.data_wait_s)
            await taking.begin(incoming)
            await taking.receive(data, self._bounds.content)
            if transfer.announced is None:
                await asyncio.sleep(FTP_FAREWELL_S)  # who died ends the other connection too
            is_alone = transfer.control.is_alone
            if not is_whole(data.received, transfer.announced, is_alone=is_alone):
                raise Error(Code.PEER_GONE, "the file was cut")
            await taking.commit()
        return replies.STORED

    async def _send_nothing(self, transfer: _Transfer) -> Reply:
        """List what is here for a client: nothing, since files are only passing through."""
        await transfer.data.connected(self._bounds.data_wait_s)
        transfer.data.close()
        return replies.LISTED


async def _ruled(verb: str, control: Control, argument: str) -> Iterable[Reply]:
    return [RULES[verb](control.session, argument)]
