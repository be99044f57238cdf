"""The FTP door: aioftp's server with our dispatcher and our verbs.

The rules: one command at a time; who is not signed in takes nothing from those who are; a fault in
one session stops no other; and a door that leaves lets everybody finish what they are at.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import cast

from aioftp import Connection, Server, StreamIO

from edge.ftp import replies
from edge.ftp.bounds import Bounds
from edge.ftp.control import Control, Gone, Wire, prepare
from edge.ftp.defence import Defence
from edge.ftp.lines import TOO_LONG, Command
from edge.ftp.passive import PassivePorts
from edge.ftp.replies import Reply
from edge.ftp.security import Policy
from edge.ftp.session import NOT_FTP, OPEN_TO_ALL
from edge.ftp.tls import CLEAR, Entrance, Rules
from edge.ftp.tls_verbs import TlsVerbs
from edge.ftp.trace import Traces
from edge.ftp.verbs import Verb, Verbs
from edge.resumable import Resumables
from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_GHOSTS_LOOK_S, FTP_LAST_WORD_S, FTP_LINE_BYTES_MAX


class FtpDoor(Server):
    """All sessions of one process.

    Of aioftp it keeps the server's life, its table of commands and the form of its replies; none of
    its own verbs is in the table, so nothing goes through its paths and files.
    """

    def __init__(
        self,
        resumables: Resumables,
        passive: PassivePorts,
        clock: Clock,
        bounds: Bounds,
        policy: Policy | None = None,
    ) -> None:
        """Serve for *resumables*, with data connections at *passive*, for which this door answers.

        *policy* says what is asked of TLS.
        """
        super().__init__()
        intake = resumables.intake
        self._intake = intake
        self._passive = passive
        self._bounds = bounds
        self._sessions: dict[Control, asyncio.Task[None]] = {}
        self._of_address = Counter[str]()
        self._traces: Traces | None = None
        self._is_leaving = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._listening: list[asyncio.Server] = []
        self._rules = Rules(policy)
        self._tls = TlsVerbs(self._rules, intake.tools.snapshots, self._say)
        self._verbs = Verbs(resumables, passive, clock, bounds, self._say)
        verbs = {**self._verbs.table(), **self._tls.table()}
        self.commands_mapping = {name: _command(verb) for name, verb in verbs.items()}

    def trace(self, traces: Traces) -> None:
        """Let *traces* hear every session that begins from now on."""
        self._traces = traces

    @property
    def defence(self) -> Defence:
        """What it knows of wrong passwords and of who is signed in, to be shared with SFTP."""
        return self._verbs.defence

    @property
    def sessions(self) -> int:
        """Return how many clients are connected."""
        return len(self._sessions)

    def observe(self, hear: Callable[[float], None]) -> None:
        """Tell *hear* how long each file took from its last byte to its 226, in seconds."""
        self._verbs.observe = hear

    async def tend(self) -> None:
        """Forget what clients may look at no more, for ever."""
        while True:
            await asyncio.sleep(FTP_GHOSTS_LOOK_S)
            self._verbs.stores.prune()

    async def serve(self, listener: socket.socket, entrance: Entrance = CLEAR) -> None:
        """Begin to take clients at *listener*, which the door owns from now on."""
        prepare(listener)
        dispatcher = partial(self.dispatcher, entrance=entrance)
        server = await asyncio.start_server(dispatcher, sock=listener, limit=FTP_LINE_BYTES_MAX)
        self._listening.append(server)

    async def shut(self) -> None:
        """Take no more clients; idempotent."""
        for server in self._listening:
            server.close()

    async def leave(self) -> None:
        """Take no more clients, send idle ones away, and the others after what they are at."""
        self._is_leaving = True
        await self.shut()
        for control in self._sessions:
            control.hurry()

    async def close(self) -> None:
        """End everything; who is about to hear the last word gets a moment for it."""
        await self.leave()
        self._passive.close()
        try:
            async with asyncio.timeout(FTP_LAST_WORD_S):
                await self._is_empty.wait()
        except TimeoutError:
            for task in self._sessions.values():
                task.cancel()
            await self._is_empty.wait()

    async def dispatcher(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        entrance: Entrance = CLEAR,
    ) -> None:
        """Be the session of one client, from its connection at *entrance* to its end."""
        try:
            control = Control(reader, writer, entrance, self._rules)
            try:
                await self._lived(control)
            except Gone:
                raise
            except Exception as fault:  # noqa: BLE001 - a fault in one session stops no other
                log.error("ftp.failed", fault)
                await self._say(control, replies.FAULT)
            finally:
                control.close()
        except Gone:
            pass
        finally:
            writer.close()

    async def write_line(self, stream: StreamIO, line: str) -> None:
        """Write one line, other bytes than UTF-8 as they came; raises ``Gone``."""
        writer = stream.writer
        if writer.is_closing():
            raise Gone
        # aioftp's kind of stream; those of this door are all ours.
        cast("Wire", stream).put(line.encode(errors="surrogateescape") + b"\r\n")
        if not writer.transport.get_write_buffer_size() and not writer.is_closing():
            return  # the kernel has it: nearly always
        try:
            async with asyncio.timeout(self._bounds.reply_s):
                await writer.drain()
        except OSError:  # TimeoutError too: who takes no replies is as good as gone
            raise Gone from None

    # -- a session -------------------------------------------------------------------------------

    async def _lived(self, control: Control) -> None:
        full = self._full(control.address)
        if full is not None and control.is_implicit:
            return  # it would hear nothing before a handshake, which costs more than it may
        if full is not None:
            await self._say(control, full)
            return
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._sessions[control] = task
        control.ear = None if self._traces is None else self._traces.ear()
        self._of_address[control.address] += 1
        self._is_empty.clear()
        try:
            if control.is_implicit:
                await control.secure()
            await self._say(control, replies.GREETING)
            while not control.is_over:
                await self._turn(control)
        finally:
            control.drop_reserved()
            self._verbs.forget(control.session)
            del self._sessions[control]
            self._of_address[control.address] -= 1
            if not self._of_address[control.address]:
                del self._of_address[control.address]
            if not self._sessions:
                self._is_empty.set()

    def _full(self, address: str) -> Reply | None:
        if self._is_leaving or not self._intake.tools.is_admitting():
            return replies.LEAVING
        if self._verbs.defence.is_shut(address, asyncio.get_running_loop().time()):
            return replies.SHUT_OUT
        if not self._intake.has_room():
            return replies.NO_ROOM
        bounds, signed_in = self._bounds, self._verbs.signed_in
        here, known = self._of_address[address], signed_in[address]
        is_full = (
            len(self._sessions) >= bounds.sessions_max
            or len(self._sessions) - signed_in.total() >= bounds.strangers_max
            or here >= bounds.per_address_max
            or here - known >= bounds.strangers_per_address_max
        )
        return replies.FULL if is_full else None

    async def _turn(self, control: Control) -> None:
        """Hear one command and answer it."""
        if self._is_leaving:
            await self._say(control, replies.LEAVING)
            return
        try:
            command = await control.next(self._deadline_s(control))
        except TimeoutError:
            await self._say(control, replies.LEAVING if self._is_leaving else replies.LATE)
            return
        for reply in await self._answered(control, command):
            await self._say(control, reply)
        await asyncio.sleep(0)  # who sends many commands at once has no more than its turns

    def _deadline_s(self, control: Control) -> float:
        if not control.session.is_signed_in:
            return control.begun_s + self._bounds.login_s
        return asyncio.get_running_loop().time() + self._bounds.idle_s

    async def _answered(self, control: Control, command: Command) -> Iterable[Reply]:
        """Do what *command* says; returns what is to be said to it."""
        session = control.session
        if control.ear is not None:
            control.ear.heard(command.verb, command.argument)
        if command.verb in NOT_FTP:
            raise Gone
        handler = self.commands_mapping.get(command.verb)
        if handler is None:
            unknown = replies.refusal(Error(Code.METHOD_NOT_ALLOWED))
            reply = session.faulty(replies.TOO_LONG if command == TOO_LONG else unknown)
            return [reply or replies.NO_CLIENT]
        session.understood()
        if command.verb != "RNTO":  # which comes right after its RNFR or not at all
            session.renaming = None
        if not session.is_signed_in and command.verb not in OPEN_TO_ALL:
            return [replies.SIGN_IN]
        refused = self._tls.maybe_refusal(control, command.verb, command.argument)
        if refused is not None:
            return [refused]
        try:
            # aioftp gives each handler its own kind of connection; ours is in it.
            verb = cast("Verb", handler)
            return await verb(control, command.argument)
        except Error as error:
            return [replies.refusal(error)]

    async def _say(self, control: Control, reply: Reply) -> None:
        control.is_over = control.is_over or reply.ends
        if control.ear is not None:
            control.ear.said(reply.code, reply.lines)
        # It is made for several lines, as its own replies show, and annotated for one.
        lines = cast("str", reply.lines)
        await self.write_response(control.stream, str(reply.code), lines, len(lines) > 1)


def _command(verb: Verb) -> Callable[[Connection, str], Awaitable[bool]]:
    """Return *verb* in the form of aioftp's table, from where our dispatcher takes it."""
    return cast("Callable[[Connection, str], Awaitable[bool]]", verb)
