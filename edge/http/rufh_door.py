"""The HTTP door's handlers for resumable uploads of the IETF's dialect.

The rule: a handler translates and decides nothing; and an address is told only when the upload is
durable, an offset only when its bytes are.
"""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from aiohttp import web

from edge.capability import Capabilities
from edge.checks import Check
from edge.http import cors, rufh, tus
from edge.http.exchange import ask_for_body, at_host, hang_up, is_there, response, wanted
from edge.http.interim import Interim, interim_of
from edge.http.problem import Answer
from edge.http.rufh import Append, Limits, Refused, Standing, Version
from edge.pace import Patience
from edge.resumable import Resumables
from edge.resuming import Resuming, Wanted
from edge.upload import OffsetMismatch
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, UploadID
from zentransfer.limits import UNFINISHED_S, UPLOAD_BYTES_MAX

_STRETCH_MAX: Final = 2.0
_NEVER_WAS: Final = UploadID("up_" + "a" * 26)


@dataclass(slots=True)
class _Talk:
    """One request, how its client speaks, and what a refusal of it would tell."""

    request: web.Request
    spoken: Version
    interim: Interim
    refused: Refused


class RufhDoor:
    """What one listener does for this dialect: on its collection, and where names are given."""

    def __init__(
        self,
        resumables: Resumables,
        capabilities: Capabilities,
        patience: Patience,
        clock: Clock,
        random: Random,
        *,
        has_interim: bool = True,
    ) -> None:
        """Send 104 only if *has_interim*: some fronts take it for the final response."""
        self._resumables = resumables
        self._capabilities = capabilities
        self._patience = patience
        self._clock = clock
        self._random = random
        self._has_interim = has_interim

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Begin an upload, and take as much of it as comes, or say why not."""
        return await self._served(request, "", rufh.COLLECTION_VERBS)

    async def serve(self, request: web.Request, shown: str) -> web.StreamResponse:
        """Do what is asked for the upload whose capability *shown* is, or say why not."""
        return await self._served(request, shown, rufh.UPLOAD_VERBS)

    async def options(
        self, request: web.Request, verbs: tuple[str, ...], *, is_shared: bool
    ) -> web.StreamResponse:
        """Tell what this place takes by *verbs*, and within which limits.

        *is_shared* says that tus is spoken here too.
        """
        limits = self._limits(self._maybe_asker(request))
        other: Mapping[str, str] = tus.options(self._size_max(None)).headers if is_shared else {}
        answer = rufh.options(limits, {**other, "Allow": ", ".join(verbs)})
        return response(request, answer, cors.headers_for(request.headers, verbs))

    # -- one request -----------------------------------------------------------------------------

    async def _served(
        self, request: web.Request, shown: str, verbs: tuple[str, ...]
    ) -> web.StreamResponse:
        spoken = rufh.version(request.headers)
        interim = interim_of(request, rufh.interim(spoken) if self._has_interim else None)
        is_append = bool(shown) and request.method == "PATCH"
        refused = Refused(spoken, self._limits(None), is_append=is_append)
        talk = _Talk(request, spoken, interim, refused)
        more = cors.headers_for(request.headers, verbs)
        try:
            answer = await self._answer(talk, shown)
        except Error as error:
            answer = self._refusal(talk, error)
            if error.code is Code.METHOD_NOT_ALLOWED:  # RFC 9110 section 15.5.6
                more["Allow"] = ", ".join(verbs)
            if error.code is Code.SUPERSEDED:
                hang_up(request)
        finally:
            interim.end()
        return response(request, answer, more)

    def _refusal(self, talk: _Talk, error: Error) -> Answer:
        if error.code in (Code.TOO_LARGE, Code.SIZE_EXCEEDED):
            limits = self._limits(self._maybe_asker(talk.request))
            talk.refused = replace(talk.refused, limits=limits)
        return rufh.refusal(error, talk.refused, self._random.uniform(1.0, _STRETCH_MAX))

    async def _answer(self, talk: _Talk, shown: str) -> Answer:
        match talk.request.method, bool(shown):
            case "POST" | "PUT" | "PATCH", False:
                return await self._create(talk)
            case "HEAD" | "GET", True:
                return await self._look(talk, shown)
            case "PATCH", True:
                return await self._append(talk, shown)
            case "DELETE", True:
                return await self._cancel(talk, shown)
            case _:
                raise Error(Code.METHOD_NOT_ALLOWED)

    async def _create(self, talk: _Talk) -> Answer:
        request, count = talk.request, _count(talk.request)
        creation = rufh.creation(request.raw_path, request.headers, count)
        length = creation.incoming.length
        tus.check_fits(0, count, length)
        asked = wanted(request, count if length is None else length, self._clock.now_ms())
        async with self._resumables.create(asked) as taking:
            upload = await taking.begin(creation.incoming)
            host, scheme = at_host(request)
            address = tus.location(self._capabilities.of(upload), host, scheme)
            if talk.interim.is_on:
                await taking.keep()  # an address that is told is kept
                limited = rufh.limited(self._limits(taking.account), talk.spoken)
                talk.interim.send({"Location": address, **limited})
            await self._receive(talk, taking, creation.check)
            if creation.is_last:
                return await self._completed(talk, taking, address)
            await taking.keep()
            limits = self._limits(taking.account)
            return rufh.created(_standing(taking), limits, talk.spoken, address)

    async def _look(self, talk: _Talk, shown: str) -> Answer:
        asked = wanted(talk.request, None, self._clock.now_ms())
        upload = Wanted(self._upload(shown), rufh.DIALECT)
        async with self._resumables.attach(asked, upload) as taking:
            limits = replace(self._limits(taking.account), age_s=self._age_s(taking))
            return rufh.found(_standing(taking), limits, talk.spoken)

    async def _append(self, talk: _Talk, shown: str) -> Answer:
        request, count = talk.request, _count(talk.request)
        append = rufh.append(request.headers, count, talk.spoken)
        talk.refused = replace(talk.refused, provided=append.offset)
        asked = wanted(request, count, self._clock.now_ms())
        upload = Wanted(
            self._upload(shown),
            rufh.DIALECT,
            adds=True,
            is_checked=append.check is not None,
            is_there=lambda: is_there(request),
        )
        async with self._resumables.attach(asked, upload) as taking:
            if _is_whole(taking):
                return await self._repeated(talk, taking, append)
            taking.expect(append.offset)
            await _agree(taking, append, count)
            await self._receive(talk, taking, append.check)
            if append.is_last:
                return await self._completed(talk, taking)
            await taking.keep()
            return rufh.appended(_standing(taking), self._limits(taking.account), talk.spoken)

    async def _cancel(self, talk: _Talk, shown: str) -> Answer:
        asked = wanted(talk.request, None, self._clock.now_ms())
        upload = Wanted(self._upload(shown), rufh.DIALECT, claims=False)
        async with self._resumables.attach(asked, upload) as taking:
            await taking.terminate()
            return rufh.cancelled()

    # -- content and its end ---------------------------------------------------------------------

    async def _receive(self, talk: _Talk, taking: Resuming, check: Check | None) -> None:
        """Take the content; one that is longer than was announced ends the upload."""
        before = taking.offset
        source = await ask_for_body(talk.request)
        tells = talk.interim.is_on and talk.spoken.has_progress
        watching = talk.interim.watching(lambda: taking.offset) if tells else nullcontext()
        try:
            with watching:
                await taking.receive(source, self._patience, check)
        except Error as error:
            if error.code is Code.SIZE_EXCEEDED:
                await taking.fail(error.code)
            if error.code is Code.CHECKSUM_MISMATCH:
                talk.refused = replace(talk.refused, offset=before)
            raise

    async def _completed(self, talk: _Talk, taking: Resuming, address: str | None = None) -> Answer:
        if taking.length is not None and not taking.is_complete:
            raise Error(Code.INCONSISTENT_LENGTH)
        outcome = await taking.commit()
        digest = taking.digest() or outcome.digest
        return rufh.completed(outcome, digest, talk.spoken, address)

    async def _repeated(self, talk: _Talk, taking: Resuming, append: Append) -> Answer:
        """Answer once more to the append that completed the upload, if it is that one."""
        talk.refused = replace(talk.refused, is_whole=True)
        count = _count(talk.request)
        if count is None:
            count = await self._counted(talk.request)
        if not append.is_last or append.offset + count != taking.offset:
            raise OffsetMismatch(taking.offset)
        return await self._completed(talk, taking)

    async def _counted(self, request: web.Request) -> int:
        """Return how many bytes of content come, which are dropped; raises ``Error(TIMEOUT)``."""
        source, count = await ask_for_body(request), 0
        try:
            async with asyncio.timeout(self._patience.window_s):
                while part := await source.readany():
                    count += len(part)
        except TimeoutError:
            raise Error(Code.TIMEOUT) from None
        return count

    # -- what is told ----------------------------------------------------------------------------

    def _upload(self, shown: str) -> UploadID:
        """Return the upload that *shown* stands for; for nobody's one that never was.

        So who asks is asked first, and a stranger does not learn which addresses are well formed.
        """
        try:
            return self._capabilities.upload(shown)
        except Error:
            return _NEVER_WAS

    def _maybe_asker(self, request: web.Request) -> AccountID | None:
        """Return whose limits are asked for; ``None``: whoever may come, as in a preflight."""
        if "Authorization" not in request.headers:
            return None
        try:
            asked = wanted(request, None, self._clock.now_ms())
            admitted = self._resumables.intake.admitted_again(asked, adds=False, spared=None)
        except Error:
            return None
        return admitted.account.id

    def _limits(self, account: AccountID | None) -> Limits:
        return Limits(self._size_max(account), int(UNFINISHED_S))

    def _size_max(self, account: AccountID | None) -> int:
        """Return the largest upload in bytes that *account* may send, or anybody for ``None``."""
        snapshot = self._resumables.intake.tools.snapshots.current
        if snapshot is None:
            return UPLOAD_BYTES_MAX
        entry = None if account is None else snapshot.maybe_account(account)
        own = None if entry is None else entry.limits.upload_bytes_max
        return own or snapshot.knob("upload_bytes_max", UPLOAD_BYTES_MAX)

    def _age_s(self, taking: Resuming) -> int | None:
        """Return for how many seconds it will be there if no byte comes; ``None`` if whole."""
        expires_ms = taking.expires_ms
        return None if expires_ms is None else max(0, (expires_ms - self._clock.now_ms()) // 1000)


def _count(request: web.Request) -> int | None:
    """Return how many bytes of content come; ``None`` if only their end will tell."""
    if request.content_length is not None:
        return request.content_length
    return None if "Transfer-Encoding" in request.headers else 0


def _is_whole(taking: Resuming) -> bool:
    """Say whether the upload was completed: only such a one never expires.

    That all announced bytes came is not enough: the sender has to say so.
    """
    return taking.expires_ms is None


def _standing(taking: Resuming) -> Standing:
    return Standing(taking.upload, taking.offset, taking.length, _is_whole(taking))


async def _agree(taking: Resuming, append: Append, count: int | None) -> None:
    """Hold what the append says of the length against what is known; raises ``Error``."""
    if append.length is not None:
        await taking.announce(append.length)
    try:
        tus.check_fits(append.offset, count, taking.length)
    except Error as error:
        await taking.fail(error.code)
        raise
