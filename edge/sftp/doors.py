"""The SFTP door: who may connect, how one signs in, and how everybody leaves.

The rules: who is not signed in takes nothing from those who are; only algorithms that no known
attack on their record layer touches are offered (CVE-2023-48795); asyncssh's own log is shut, for
it has addresses and names in it (law 11); and a door that leaves lets everybody finish.
"""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Sequence
from types import MappingProxyType
from typing import Final, cast

import asyncssh
from asyncssh import (
    DisconnectError,
    SSHAcceptor,
    SSHKey,
    SSHReader,
    SSHServer,
    SSHServerChannel,
    SSHServerConnection,
    SSHServerSession,
    SSHWriter,
)
from asyncssh.constants import (
    DISC_BY_APPLICATION,
    DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
    DISC_SERVICE_NOT_AVAILABLE,
)

from edge.admission import Admit, Load, Refuse, Request, admit
from edge.ftp.addresses import plain_address
from edge.ftp.defence import Defence
from edge.sftp import refusals
from edge.sftp.bounds import Bounds
from edge.sftp.server import Desk, ViewMaker, WriteOnly
from edge.sftp.serving import Channel, Serving, as_session
from edge.sftp.view import SessionView
from edge.snapshot import CredentialKind
from zentransfer import log
from zentransfer.credential import Shown, parse_shown
from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialID
from zentransfer.limits import (
    FTP_KEEPALIVE_S,
    FTP_LAST_WORD_S,
    FTP_LOGIN_TRIES_MAX,
    LISTEN_BACKLOG,
    SFTP_PACKET_BYTES_MAX,
    SFTP_REPLIES_BYTES_MAX,
)

_KEX: Final = (
    *("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"),
    *("ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group16-sha512"),
    *("diffie-hellman-group14-sha256",),
)
# No chacha20-poly1305 and no CBC: where a client does not know strict key exchange, messages could
# be cut from the begin of these (Terrapin).  Strict key exchange itself is on by default.
_CIPHERS: Final = (
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
)
_MACS: Final = ("hmac-sha2-256", "hmac-sha2-512")  # not the EtM forms, for the same reason
_SIGNATURES: Final = ("ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512")
_WINDOW_BYTES: Final = 4 * SFTP_PACKET_BYTES_MAX
_KEEPALIVES_MAX: Final = 4
_LEAVING: Final = "Service restarting, reconnect"

_NO_LOAD: Final = Load(
    is_admitting=True,
    in_flight=0,
    in_flight_max=1,
    of_account=MappingProxyType({}),
    room_bytes=1 << 62,
    outbox_room_bytes=1 << 62,
)


class SftpDoor:
    """All connections of one process."""

    def __init__(
        self,
        desk: Desk,
        keys: Sequence[SSHKey],
        bounds: Bounds,
        view_of: ViewMaker | None = None,
        defence: Defence | None = None,
    ) -> None:
        """Take files at *desk*, known to clients by *keys*; *view_of* says what they are shown.

        *defence* is that of the FTP door, whose clients have the same names and passwords.
        """
        asyncssh.set_log_level(logging.CRITICAL + 1)
        self.desk = desk
        self.bounds = bounds
        self.view_of: ViewMaker = view_of or (lambda _: SessionView(desk.clock.now_ms))
        self.defence = defence or Defence(os.urandom(32))
        self.is_leaving = False
        self._keys = keys
        self._visitors = dict[Visitor, None]()
        self._of_address = Counter[str]()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._acceptor: SSHAcceptor | None = None

    @property
    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._visitors)

    async def serve(self, listener: socket.socket) -> None:
        """Begin to take clients at *listener*, which the door owns from now on."""
        self._acceptor = await asyncssh.listen(
            sock=listener,
            backlog=LISTEN_BACKLOG,
            config=None,
            server_factory=lambda: Visitor(self),
            server_host_keys=list(self._keys),
            server_version="ZenTransfer",
            encoding=None,
            gss_host=None,
            host_based_auth=False,
            public_key_auth=False,
            kbdint_auth=False,
            allow_pty=False,
            line_editor=False,
            agent_forwarding=False,
            kex_algs=_KEX,
            encryption_algs=_CIPHERS,
            mac_algs=_MACS,
            compression_algs=("none",),
            signature_algs=_SIGNATURES,
            login_timeout=self.bounds.login_s,
            keepalive_interval=FTP_KEEPALIVE_S,
            keepalive_count_max=_KEEPALIVES_MAX,
            window=_WINDOW_BYTES,
        )

    async def shut(self) -> None:
        """Take no more clients."""
        if self._acceptor is not None:
            self._acceptor.close()

    async def leave(self) -> None:
        """Take no more clients, send idle ones away, and the others after what they are at."""
        self.is_leaving = True
        await self.shut()
        for visitor in list(self._visitors):
            visitor.hurry()

    async def close(self) -> None:
        """End everything; who is about to hear the last word gets a moment for it."""
        await self.leave()
        try:
            async with asyncio.timeout(FTP_LAST_WORD_S):
                await self._is_empty.wait()
        except TimeoutError:
            for visitor in list(self._visitors):
                visitor.abort()
            await self._is_empty.wait()

    def has_room_for(self, visitor: "Visitor") -> bool:
        """Say whether *visitor* may stay, who is not signed in yet."""
        bounds, now_s = self.bounds, asyncio.get_running_loop().time()
        strangers = [each.address for each in self._visitors if not each.is_signed_in]
        return not (
            self.is_leaving
            or not self.desk.resumables.intake.tools.is_admitting()
            or len(self._visitors) >= bounds.connections_max
            or len(strangers) >= bounds.handshakes_max
            or strangers.count(visitor.address) >= bounds.handshakes_per_address_max
            or self.defence.is_shut(visitor.address, now_s)
            or self._of_address[visitor.address] >= bounds.per_address_max
        )

    def entered(self, visitor: "Visitor") -> None:
        """Count *visitor*."""
        self._visitors[visitor] = None
        self._of_address[visitor.address] += 1
        self._is_empty.clear()

    def left(self, visitor: "Visitor") -> None:
        """Count *visitor* no more, if it was; its files may be ending still."""
        if visitor not in self._visitors:
            return
        del self._visitors[visitor]
        self._of_address[visitor.address] -= 1
        if not self._of_address[visitor.address]:
            del self._of_address[visitor.address]
        if not self._visitors:
            self._is_empty.set()

    def asked(self, shown: Shown | None) -> Admit:
        """Return what *shown* may do, were there room; raises ``Error`` if it may send no file."""
        tools = self.desk.resumables.intake.tools
        snapshot = tools.snapshots.current
        pepper = tools.pepper(frozenset() if snapshot is None else snapshot.pepper_kids)
        now_ms = self.desk.clock.now_ms()
        request = Request(shown, CredentialKind.FTP, None, is_tls=True, now_ms=now_ms)
        decided = admit(snapshot, pepper, request, _NO_LOAD)
        if isinstance(decided, Refuse):
            raise decided.error()
        return decided

    def must_have_place(self, whose: Admit) -> None:
        """Refuse one more of the sessions by FTP and SFTP of *whose*; ``Error(RATE_LIMITED)``."""
        most = whose.account.limits.connections_max
        if most and self.defence.sessions(whose.credential.id) >= most:
            raise Error(Code.RATE_LIMITED, "there are too many connections with this credential")


class Visitor(SSHServer):
    """One connection, from its acceptance to the end of its last session."""

    def __init__(self, door: SftpDoor) -> None:
        self.address = ""
        self._door = door
        self._credential: CredentialID | None = None
        self._connection: SSHServerConnection | None = None
        self._shown: Shown | None = None
        self._tries = 0
        self._sessions = dict[WriteOnly, None]()
        self._at_work = 0
        self._heard_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_signed_in(self) -> bool:
        """Say whether a right password was given."""
        return self._shown is not None

    # -- asyncssh's side -------------------------------------------------------------------------

    def connection_made(self, conn: SSHServerConnection) -> None:
        """Come in, or be turned away at once."""
        self._connection = conn
        end = cast("tuple[str, int] | None", conn.get_extra_info("peername"))
        self.address = plain_address(end[0]) if end else ""
        if not end or not self._door.has_room_for(self):
            conn.abort()
            return
        self._door.entered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave, when the last session has."""
        if exc is not None and not isinstance(exc, asyncssh.Error | OSError):
            log.error("sftp.failed", exc)  # of our side: the library keeps it to itself
        self._connection = None
        if self._credential is not None:
            self._door.defence.left(self._credential)
            self._credential = None
        if self._timer is not None:
            self._timer.cancel()
        if not self._sessions:
            self._door.left(self)

    def begin_auth(self, username: str) -> bool:
        """Ask everybody for a password."""
        return True

    def password_auth_supported(self) -> bool:
        """Take passwords."""
        return True

    def change_password(self, username: str, old_password: str, new_password: str) -> bool:
        """Refuse it: secrets are made by us."""
        return False

    async def validate_password(self, username: str, password: str) -> bool:
        """Say whether it is right; raises ``DisconnectError`` where trying again is no use now."""
        try:
            shown = parse_shown(username, password)
        except Error:
            shown = None
        defence, now_s = self._door.defence, asyncio.get_running_loop().time()
        try:
            whose = self._door.asked(shown)
            self._door.must_have_place(whose)
        except Error as error:
            refusal = error
        else:
            defence.right(self.address, now_s)
            self._entered(whose)
            self._shown = shown
            return True
        if refusal.reply.temporary:
            raise DisconnectError(DISC_SERVICE_NOT_AVAILABLE, refusals.text(refusal))
        self._tries += 1
        if refusal.code is not Code.UNAUTHENTICATED and self._connection is not None:
            self._connection.send_auth_banner(refusals.text(refusal) + "\n")
        longer = defence.wrong(self.address, now_s)
        await asyncio.sleep(self._door.bounds.login_pause_s * longer)
        if self._tries >= FTP_LOGIN_TRIES_MAX:
            words = "Too many wrong passwords; check the camera's profile"
            raise DisconnectError(DISC_NO_MORE_AUTH_METHODS_AVAILABLE, words)
        return False

    def auth_completed(self) -> None:
        """Begin to look at the time."""
        self.heard()
        self._look()

    def session_requested(self) -> "SSHServerSession[bytes] | bool":
        """Let a channel be opened, if there are not too many."""
        if self._door.is_leaving or len(self._sessions) >= self._door.bounds.channels_max:
            return False
        return as_session(Channel(self._serve))

    # -- a session's side ------------------------------------------------------------------------

    async def answering(self, work: Awaitable[None], server: WriteOnly) -> None:
        """Do *work* on one request; then leave, if the door does and nothing is under way."""
        self._at_work += 1
        try:
            await work
        finally:
            self._at_work -= 1
        self.heard()
        if self._unread_bytes() > SFTP_REPLIES_BYTES_MAX:
            self.abort()
        elif self._door.is_leaving and not server.is_open:
            self.hurry()

    def heard(self) -> None:
        """Take note that the client said something."""
        self._heard_s = asyncio.get_running_loop().time()

    def hurry(self) -> None:
        """End the connection with the last word, unless something is under way."""
        if not any(server.is_open for server in self._sessions):
            self._end(_LEAVING)

    def abort(self) -> None:
        """End the connection at once."""
        if self._connection is not None:
            self._connection.abort()

    # -- inside ----------------------------------------------------------------------------------

    def _entered(self, whose: Admit) -> None:
        """Count as signed in until the connection is lost."""
        if self._connection is not None and self._credential is None:
            self._credential = whose.credential.id
            self._door.defence.entered(self._credential)

    def _serve(
        self,
        channel: "SSHServerChannel[bytes]",
        reader: SSHReader[bytes],
        writer: SSHWriter[bytes],
    ) -> None:
        assert self._connection is not None, "a channel has a connection"
        assert self._shown is not None, "nobody opens a channel before"
        server = WriteOnly(channel, self._door.desk, self._shown, self._door.view_of(self._shown))
        self._sessions[server] = None
        serving = Serving(server, reader, writer, self)
        self._connection.create_task(self._served(server, serving))

    async def _served(self, server: WriteOnly, serving: Serving) -> None:
        try:
            await serving.run()
        finally:
            del self._sessions[server]
            if self._connection is None and not self._sessions:
                self._door.left(self)

    def _look(self) -> None:
        """End the connection if nothing was heard for long; else look again in time."""
        loop = asyncio.get_running_loop()
        if self._at_work:
            self.heard()
        until_s = self._heard_s + self._door.bounds.idle_s
        if loop.time() >= until_s:
            self._end("Idle for too long; connect again")
        else:
            self._timer = loop.call_at(until_s, self._look)

    def _end(self, words: str) -> None:
        if self._connection is not None:
            self._connection.disconnect(DISC_BY_APPLICATION, words)

    def _unread_bytes(self) -> int:
        """Return what waits for the client to take it.

        Layering violation: asyncssh writes on whatever the transport holds, and shows it nobody.
        """
        connection = self._connection
        if connection is None:
            return 0
        transport = connection._transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return 0 if transport is None else transport.get_write_buffer_size()
