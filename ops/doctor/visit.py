"""One visit to a server, step by step, as a camera makes it.

The rules: nothing here raises for what a server does; a data connection goes to the server itself,
wherever it would send us; and only ``--upload`` leaves anything there.
"""

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from typing import Final

from ops.doctor.answers import is_begun, is_good, maybe_date_ms, maybe_mdtm_ms, maybe_place
from ops.doctor.line import Line, dialled
from ops.doctor.secured import Resuming, old_body, secured
from ops.doctor.security import is_trusted
from ops.doctor.seen import (
    Heard,
    Lost,
    Mode,
    Names,
    Passive,
    Said,
    Secured,
    Seen,
    Stored,
    Wanted,
)
from zentransfer.clock import Clock
from zentransfer.limits import DOCTOR_ADDRESSES_MAX, DOCTOR_ANSWER_S, DOCTOR_LINE_BYTES_MAX

CONTENT: Final = b"ZenTransfer doctor: a test file. It may be deleted.\r\n"
_GREETS: Final = 220
_GO_ON: Final = 331
_SECURE: Final = 234


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a camera would sign in with."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Trust:
    """A context that checks the chain of a certificate, and one that checks nothing."""

    checking: Resuming
    blind: Resuming


class Visit:
    """One visit; to be made once."""

    def __init__(
        self,
        wanted: Wanted,
        sign_in: SignIn | None,
        trust: Trust,
        clock: Clock,
        random: Random,
        patience_s: float = DOCTOR_ANSWER_S,
    ) -> None:
        """Wait *patience_s* for each answer; *random* names the test file."""
        self._sign_in = sign_in
        self._trust = trust
        self._clock = clock
        self._random = random
        self._patience_s = patience_s
        self._seen = Seen(wanted, clock.now_ms())
        self._stack = AsyncExitStack()

    async def made(self) -> Seen:
        """Make the visit, and return all that was seen."""
        async with self._stack:
            self._seen.names = names = await _names(self._seen.wanted.host)
            line = await self._reached([*names.v4, *names.v6])
            if line is not None:
                self._seen.server_ms = await self._http_ms(line.peer)
                await self._talked(line)
        return self._seen

    # -- to the server ---------------------------------------------------------------------------

    async def _dialled(self, address: str, port: int) -> Line | None:
        _, line = await dialled(address, port, self._patience_s)
        if line is not None:
            self._stack.push_async_callback(line.close)
        return line

    async def _reached(self, addresses: list[str]) -> Line | None:
        """Dial all *addresses* at once; return the line to the first that answers."""
        wanted = self._seen.wanted
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(dialled(address, wanted.port, self._patience_s))
                for address in addresses[:DOCTOR_ADDRESSES_MAX]
            ]
        lines: list[Line] = []
        for task in tasks:
            dial, line = task.result()
            self._seen.dials.append(dial)
            if line is not None:
                lines.append(line)
                self._stack.push_async_callback(line.close)
        for other in lines[1:]:
            await other.close()
        return lines[0] if lines else None

    async def _http_ms(self, address: str) -> int | None:
        port = self._seen.wanted.http_port
        line = await self._dialled(address, port) if port else None
        if line is None:
            return None
        host = self._seen.wanted.host
        request = f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        head = await line.exchanged(request, DOCTOR_LINE_BYTES_MAX)
        return maybe_date_ms(head) if isinstance(head, bytes) else None

    # -- the conversation ------------------------------------------------------------------------

    async def _talked(self, first: Line) -> None:
        seen = self._seen
        line = await self._secured(first)
        is_greeted = isinstance(seen.greeting, Said) and seen.greeting.code == _GREETS
        if line is None or not is_greeted or (seen.tls is not None and seen.tls.lost):
            return
        if seen.tls is not None:
            if seen.tls.version != "TLSv1.2":
                seen.old_body = await self._as_old_body(line.peer)
            await line.ask("PBSZ 0")
            seen.protected = await line.ask("PROT P")
        if not await self._signed_in(line):
            return
        for verb in ("PASV", "EPSV") if ":" not in line.peer else ("EPSV",):
            seen.passives.append(await self._passive(line, verb))
        if seen.wanted.uploads:
            seen.stored = await self._stored(line)
        if seen.wanted.idle_s:
            await asyncio.sleep(seen.wanted.idle_s)
            seen.idle = await line.ask("NOOP")
        await line.ask("QUIT")

    async def _begun(self, line: Line, context: Resuming) -> Secured | None:
        """Hear the greeting, and begin TLS where it is wanted and offered."""
        seen, host = self._seen, self._seen.wanted.host
        if seen.wanted.is_implicit:
            tls = await secured(line, context, host)
            if tls.lost is None:
                seen.greeting = await line.heard()
            return tls
        seen.greeting = await line.heard()
        if not is_good(seen.greeting) or seen.wanted.mode is Mode.NONE:
            return None
        seen.auth = await line.ask("AUTH TLS")
        is_offered = isinstance(seen.auth, Said) and seen.auth.code == _SECURE
        return await secured(line, context, host) if is_offered else None

    async def _secured(self, line: Line) -> Line | None:
        """Begin as the camera would; where the certificate is refused, again without a look."""
        seen = self._seen
        seen.tls = await self._begun(line, self._trust.checking)
        if seen.tls is None or not (refused := seen.tls.verify_code):
            return line
        await line.close()
        assert seen.reached is not None, "a line stood"
        again = await self._dialled(seen.reached.address, seen.reached.port)
        if again is None:
            return None
        tls = await self._begun(again, self._trust.blind)
        seen.tls = None if tls is None else replace(tls, verify_code=refused)
        return again

    async def _as_old_body(self, address: str) -> Secured | None:
        line = await self._dialled(address, self._seen.wanted.port)
        if line is None:
            return None
        try:
            if not self._seen.wanted.is_implicit:
                if not is_good(await line.heard()):
                    return None
                if not isinstance(await line.ask("AUTH TLS"), Said):
                    return None
            return await secured(line, old_body(), self._seen.wanted.host)
        finally:
            await line.close()

    async def _signed_in(self, line: Line) -> bool:
        seen = self._seen
        if self._sign_in is None:
            return False
        seen.password_withheld = not self._may_show(line)
        if seen.password_withheld:
            return False
        line.hide(self._sign_in.password)
        seen.user = await line.ask(f"USER {self._sign_in.user}")
        if isinstance(seen.user, Said) and seen.user.code == _GO_ON:
            seen.password = await line.ask(f"PASS {self._sign_in.password}")
        return is_good(seen.user if seen.password is None else seen.password)

    def _may_show(self, line: Line) -> bool:
        """Say whether the password may be sent: not where a stranger could be reading it."""
        seen = self._seen
        if seen.tls is None:
            return seen.wanted.mode is Mode.NONE or (
                seen.wanted.mode is Mode.AUTO and ip_address(line.peer).is_loopback
            )
        is_sure = is_trusted(seen.tls, seen.wanted.host, seen.now_ms)
        return is_sure or seen.wanted.is_insecure

    # -- data ------------------------------------------------------------------------------------

    async def _passive(self, line: Line, verb: str) -> Passive:
        """Ask for a data port and bring a list over it."""
        answer = await line.ask(verb)
        place = maybe_place(answer)
        if place is None:
            return Passive(verb, answer)
        host, port = place
        dial, data = await dialled(line.peer, port, self._patience_s)
        found = Passive(verb, answer, host, dial)
        if data is None:
            return found
        try:
            opening = await line.ask("LIST")
            if not is_begun(opening):
                return replace(found, opening=opening)
            tls = await self._protected(line, data)
            handshake = "" if tls is None or tls.lost is None else tls.alert or str(tls.lost)
            if not handshake:
                await data.read_all()
            await data.close()
            return replace(
                found,
                opening=opening,
                handshake=handshake,
                is_resumed=tls is not None and tls.is_resumed,
                ending=await line.heard(),
            )
        finally:
            await data.close()

    async def _protected(self, line: Line, data: Line) -> Secured | None:
        """Begin TLS on *data* if that was agreed, going on with that of *line*."""
        if not is_good(self._seen.protected) or line.tls is None or self._seen.tls is None:
            return None
        context = self._trust.blind if self._seen.tls.verify_code else self._trust.checking
        context.resumed = line.tls.session
        return await secured(data, context, self._seen.wanted.host)

    async def _stored(self, line: Line) -> Stored:
        """Send the test file, as a camera does."""
        name = f"zentransfer-doctor-{self._random.randrange(16**8):08x}.txt"
        worked = [one.verb for one in self._seen.passives if is_good(one.ending)]
        answer = await line.ask(worked[0] if worked else "EPSV")
        place = maybe_place(answer)
        data = None if place is None else await self._dialled(line.peer, place[1])
        if data is None:
            return Stored(len(CONTENT), Lost.UNREACHABLE if place else answer, 0)
        ending, seconds = await self._sent(line, data, name)
        if not is_good(ending):
            return Stored(len(CONTENT), ending, seconds)
        size, time = await line.ask(f"SIZE {name}"), await line.ask(f"MDTM {name}")
        now_ms = self._clock.now_ms()
        if self._seen.server_ms is None and (told_ms := maybe_mdtm_ms(time)) is not None:
            self._seen.server_ms = told_ms - (now_ms - self._seen.now_ms)
        return Stored(len(CONTENT), ending, seconds, size, time)

    async def _sent(self, line: Line, data: Line, name: str) -> tuple[Heard, float]:
        """Return the last reply to the test file, and how long after its end it came."""
        opening = await line.ask(f"STOR {name}")
        if not is_begun(opening):
            return opening, 0.0
        tls = await self._protected(line, data)
        if tls is None or tls.lost is None:
            await data.send_all(CONTENT)
        await data.close()
        loop = asyncio.get_running_loop()
        ended_s = loop.time()
        return await line.heard(), loop.time() - ended_s


async def _names(host: str) -> Names:
    """Look *host* up as a camera does, by the resolver of this network."""
    try:
        address = ip_address(host)
    except ValueError:
        v4, is_down4 = await _addresses(host, socket.AF_INET)
        v6, is_down6 = await _addresses(host, socket.AF_INET6)
        is_down = not v4 and not v6 and (is_down4 or is_down6)
        return Names(v4, v6, is_resolver_down=is_down)
    given = [str(address)]
    return Names((), given, True) if address.version == 6 else Names(given, (), True)  # noqa: PLR2004


async def _addresses(host: str, family: socket.AddressFamily) -> tuple[list[str], bool]:
    """Return the addresses of *host* in *family*, and whether the resolver did not know now."""
    loop = asyncio.get_running_loop()
    try:
        looking = loop.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
        async with asyncio.timeout(DOCTOR_ANSWER_S):
            found = await looking
    except socket.gaierror as failed:
        return [], failed.errno == socket.EAI_AGAIN
    except (TimeoutError, UnicodeError) as failed:
        return [], isinstance(failed, TimeoutError)
    return list(dict.fromkeys(str(one[4][0]) for one in found)), False
