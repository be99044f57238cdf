"""The life of one SFTP session in its channel, over asyncssh's handler of requests.

The rules: the end of a channel closes no file (asyncssh would close each as if its client had);
only requests that are in the table are done, one after another; and what a client sends, and what
it leaves unread, is bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Final, Protocol, cast

from asyncssh import Error as SshError
from asyncssh import SSHReader, SSHServerChannel, SSHServerSession, SSHWriter
from asyncssh.constants import (
    FXP_CLOSE,
    FXP_FSETSTAT,
    FXP_FSTAT,
    FXP_LSTAT,
    FXP_MKDIR,
    FXP_OPEN,
    FXP_OPENDIR,
    FXP_READ,
    FXP_READDIR,
    FXP_REALPATH,
    FXP_REMOVE,
    FXP_RENAME,
    FXP_RMDIR,
    FXP_SETSTAT,
    FXP_STAT,
    FXP_WRITE,
)
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.sftp import (
    MIN_SFTP_VERSION,
    SFTPBadMessage,
    SFTPLimits,
    SFTPServerHandler,
)
from asyncssh.stream import SSHServerStreamSession

from edge.sftp.server import WriteOnly, refused
from zentransfer import log
from zentransfer.errors import Code, Error
from zentransfer.limits import SFTP_HANDLES_MAX, SFTP_PACKET_BYTES_MAX

_HEAD_BYTES: Final = 1_024  # of a write request beside its data: type, ids, handle, offset
_RENAME: Final = b"posix-rename@openssh.com"
_LIMITS: Final = b"limits@openssh.com"
_DONE: Final = (
    *(FXP_OPEN, FXP_CLOSE, FXP_READ, FXP_WRITE, FXP_LSTAT, FXP_FSTAT, FXP_SETSTAT, FXP_FSETSTAT),
    *(FXP_OPENDIR, FXP_READDIR, FXP_REMOVE, FXP_MKDIR, FXP_RMDIR, FXP_REALPATH, FXP_STAT),
    *(FXP_RENAME, _RENAME),
)

# Ours is made from it.
_BASE: Final = SFTPServerHandler._packet_handlers  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
_Process = Callable[["SFTPServerHandler", SSHPacket], Awaitable[Any]]


class Life(Protocol):
    """What a session needs of its connection."""

    async def answering(self, work: Awaitable[None], server: WriteOnly) -> None:
        """Do *work* on one request, which ends no earlier than there is room for its answer."""
        ...

    def heard(self) -> None:
        """Take note that the client said something."""
        ...


def _said(kind: int | bytes) -> Callable[[Any, SSHPacket], Coroutine[Any, Any, Any]]:
    """Return what does requests of *kind*, with our errors said as SFTP has it."""
    process: _Process | None = _BASE[kind]
    assert process is not None, "the library knows all of our table"

    @wraps(process)
    async def done(handler: SFTPServerHandler, packet: SSHPacket) -> object:
        try:
            return await process(handler, packet)
        except Error as error:
            raise refused(error) from None
        except (SshError, PacketDecodeError):
            raise
        except Exception as fault:  # noqa: BLE001 - a fault in one request stops no other
            log.error("sftp.failed", fault)
            raise refused(Error(Code.INTERNAL)) from None

    return done


async def _limits(_: SFTPServerHandler, packet: SSHPacket) -> SFTPLimits:
    """Say how large requests may be; clients then send the largest."""
    packet.check_end()
    most = SFTP_PACKET_BYTES_MAX
    return SFTPLimits(most, most - _HEAD_BYTES, most - _HEAD_BYTES, SFTP_HANDLES_MAX)


class Serving(SFTPServerHandler):
    """One session: asyncssh's reading and writing of packets, over our server of requests."""

    _extensions = [(_RENAME, b"1"), (_LIMITS, b"1")]  # noqa: RUF012 - as of the base
    _packet_handlers = {  # noqa: RUF012 - as of the base
        **{kind: _said(kind) for kind in _DONE},
        _LIMITS: _limits,
    }

    def __init__(
        self,
        server: WriteOnly,
        reader: SSHReader[bytes],
        writer: SSHWriter[bytes],
        life: Life,
    ) -> None:
        """Serve what comes from *reader*."""
        super().__init__(server, reader, writer, MIN_SFTP_VERSION)
        self._ours = server
        self._life = life
        server.has_handle = self._has_handle

    async def run(self) -> None:
        """Serve to the end of the channel, and until each file has its end; raises nothing."""
        try:
            async with asyncio.TaskGroup() as group:
                self._ours.group = group
                try:
                    await super().run()
                except EOFError:
                    pass  # before its first request
                finally:
                    self._ours.cut()
        except Exception as fault:  # noqa: BLE001 - a fault in one session stops no other
            log.error("sftp.failed", fault)

    async def recv_packet(self) -> SSHPacket:
        """Return the next request; raises ``EOFError``, ``SFTPBadMessage`` for one too long."""
        assert self._reader is not None
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        if length > SFTP_PACKET_BYTES_MAX:
            raise SFTPBadMessage("The request is too long")
        self._life.heard()
        return SSHPacket(await self._reader.readexactly(length))

    def _get_next_handle(self) -> bytes:
        if not self._has_handle():
            raise Error(Code.RATE_LIMITED, "close a file first")
        return super()._get_next_handle()

    def _has_handle(self) -> bool:
        return len(self._file_handles) + len(self._dir_handles) < SFTP_HANDLES_MAX

    async def _process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        work = super()._process_packet(pkttype, pktid, packet)
        await self._life.answering(work, self._ours)
        if self._writer is not None:
            await self._writer.drain()

    async def _cleanup(self, exc: Exception | None) -> None:
        self._ours.cut()
        self._file_handles.clear()  # or the base would close them
        await super()._cleanup(exc)


class Channel(SSHServerStreamSession[bytes]):
    """A channel in which nothing but SFTP can be asked for."""

    def __init__(
        self, serve: Callable[["SSHServerChannel[bytes]", SSHReader[bytes], SSHWriter[bytes]], None]
    ) -> None:
        """Let *serve* begin when the client asked for SFTP."""
        super().__init__(None)  # pyright: ignore[reportUnknownMemberType] - of text or bytes
        self._serve = serve

    def subsystem_requested(self, subsystem: str) -> bool:
        """Say whether it is SFTP."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Begin to serve."""
        channel = cast("SSHServerChannel[bytes]", self._chan)
        self._serve(channel, SSHReader(self, channel), SSHWriter(self, channel))

    def exception_received(self, exc: Exception) -> None:
        """Ignore a break, a signal and a new size of a screen: they are no end of anything."""


def as_session(channel: Channel) -> "SSHServerSession[bytes]":
    """Return *channel* as the library asks for it."""
    return channel
