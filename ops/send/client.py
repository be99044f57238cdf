"""HTTP as ``send`` needs it: tus to a node, questions to control; every wait has an end.

The rule: what went wrong is one of two, a refusal that says so (``Refused``) or nothing that makes
sense (``Lost``); after the latter, what was asked may have happened.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from ops.send import nearby, tus
from ops.send.content import Content, Unreadable
from ops.send.nearby import Nearby
from ops.send.tus import Answer, Created, Lost, Standing
from zentransfer.limits import (
    SEND_ANSWER_BYTES_MAX,
    SEND_ANSWER_S,
    SEND_CONNECT_S,
    SEND_STALL_S,
    SEND_WRITE_BYTES,
)

_OK: Final = 200
_NOT_FOUND: Final = 404
_LAB_HEADER: Final = "ZT-Lab-Client"


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: in which nothing leaves, for an answer, and for a connection."""

    stall_s: float = SEND_STALL_S
    answer_s: float = SEND_ANSWER_S
    connect_s: float = SEND_CONNECT_S


class Client:
    """Requests that show *token*; made inside a running loop, closed by :meth:`close`.

    *lab_client* is an address that a lab believes us to be at.
    """

    def __init__(self, token: str, waits: Waits, lab_client: str | None = None) -> None:
        self._waits = waits
        self._lab = {} if lab_client is None else {_LAB_HEADER: lab_client}
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=waits.connect_s),
            connector=aiohttp.TCPConnector(limit=0),  # bounded by the files at once
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    # -- control, or any node ----------------------------------------------------------------

    async def route(self, at: str) -> Nearby:
        """Return the regions in order as the base URL *at* says; raises ``Lost``, ``Refused``."""
        answer = await self._answer("GET", f"{at}{nearby.PATH}", self._lab)
        if answer.status != _OK:
            raise tus.refusal(answer)
        try:
            return nearby.understood(answer.body, is_protected=at.startswith("https:"))
        except nearby.Unusable as exc:
            raise Lost(str(exc)) from exc

    async def upload(self, control: str, upload: str) -> dict[str, object] | None:
        """Return what control says of an upload, ``None`` if it has not heard of it.

        Raises ``Lost``, ``Refused``.
        """
        answer = await self._answer("GET", f"{control}/api/v1/uploads/{upload}", {})
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise tus.refusal(answer)
        try:
            document = json.loads(answer.body)
        except ValueError as exc:
            raise Lost("control's answer is not understood") from exc
        if not isinstance(document, dict):
            raise Lost("control's answer is not understood")
        return cast("dict[str, object]", document)

    async def labels(self, control: str) -> dict[str, str]:
        """Return what the account calls its destinations, by their ids; empty if that is not told.

        Of an account with many only those of the first page.
        """
        with suppress(Lost, ValueError, TypeError, KeyError):
            answer = await self._answer("GET", f"{control}/api/v1/destinations", {})
            if answer.status == _OK:
                found = json.loads(answer.body)["items"]
                return {str(one["id"]): str(one["label"]) for one in found}
        return {}

    # -- tus ---------------------------------------------------------------------------------

    async def create(self, door: str, name: str, size: int) -> Created:
        """Create an upload at the base URL *door*; raises ``Lost``, ``Refused``."""
        at = door + tus.COLLECTION
        return tus.created(await self._answer("POST", at, tus.creating(name, size)), at)

    async def look(self, url: str) -> Standing:
        """Return where an upload stands; raises ``Lost``, ``Refused``."""
        return tus.found(await self._answer("HEAD", url, tus.asking()))

    async def terminate(self, url: str) -> None:
        """End an upload; raises ``Lost``, ``Refused``."""
        tus.terminated(await self._answer("DELETE", url, tus.asking()))

    async def append(
        self, url: str, content: Content, span: tuple[int, int], moved: Callable[[int], None]
    ) -> int:
        """Send the bytes of the *span* and return the durable offset.

        *moved* is told up to where bytes were given away, before they are.  Raises ``Lost``,
        ``Refused``, and ``Unreadable`` if the file cannot be sent.
        """
        headers = tus.appending(*span, content.size)
        body = _Body(content, span, self._waits, moved)
        if span[0] == span[1]:  # an empty body is not written, and this makes the upload whole
            moved(span[1])
        try:
            async with _unanswered(self._waits.stall_s) as patience:
                body.patience = patience
                async with self._session.patch(
                    url, data=body, headers=headers, allow_redirects=False
                ) as got:
                    return tus.appended(await _read(got))
        except Lost:
            if body.failure is not None:
                raise body.failure from None
            raise
        finally:
            body.is_over = True

    async def _answer(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        async with (
            _unanswered(self._waits.answer_s),
            self._session.request(method, url, headers=headers, allow_redirects=False) as got,
        ):
            return await _read(got)


class _Body(aiohttp.Payload):
    """A span of a file as the body of a request; each piece that leaves re-arms the wait."""

    _autoclose = True  # the file is its owner's to close

    def __init__(
        self, content: Content, span: tuple[int, int], waits: Waits, moved: Callable[[int], None]
    ) -> None:
        super().__init__(content)
        self._content = content
        self._span = span
        self._waits = waits
        self._moved = moved
        self._size = span[1] - span[0]
        self.patience: asyncio.Timeout | None = None
        self.failure: Unreadable | None = None
        self.is_over = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file that is sent is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        offset, end = self._span
        while offset < end:
            try:
                block = await self._content.read(offset, end)
            except Unreadable as exc:
                self.failure = exc
                raise
            for begin in range(0, len(block), SEND_WRITE_BYTES):
                piece = block[begin : begin + SEND_WRITE_BYTES]
                if self.is_over:  # the request is, and nobody may take this for a part of it
                    raise ConnectionResetError
                self._wait(self._waits.stall_s)
                self._moved(offset + begin + len(piece))
                await writer.write(piece)
            offset += len(block)
        self._wait(self._waits.answer_s)

    def _wait(self, seconds: float) -> None:
        if self.patience is not None:
            with suppress(RuntimeError):  # the request ended before its body did
                self.patience.reschedule(asyncio.get_running_loop().time() + seconds)


async def _read(got: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    with suppress(aiohttp.ClientPayloadError):  # the status is what counts
        async for piece in got.content.iter_any():
            body += piece
            if len(body) > SEND_ANSWER_BYTES_MAX:
                got.close()
                raise Lost("the answer is too long")
    return Answer(got.status, got.headers, bytes(body))


@asynccontextmanager
async def _unanswered(seconds: float) -> AsyncGenerator[asyncio.Timeout]:
    """Turn every trouble of a line inside into ``Lost``, silence of *seconds* too."""
    try:
        async with asyncio.timeout(seconds) as patience:
            yield patience
    except TimeoutError as exc:
        raise Lost("the line is silent") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise Lost("the name of the node is not known") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        raise Lost("the certificate of the node is not trusted") from exc
    except aiohttp.ClientConnectorError as exc:
        raise Lost(f"no connection ({exc.os_error.strerror or 'refused'})") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise Lost("the connection broke") from exc


def is_url(text: str) -> bool:
    """Say whether *text* is the base URL of a server of ours."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query


def is_private(url: str) -> bool:
    """Say whether what is sent to *url* stays between us and it: by TLS, or on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or host in ("localhost", "::1") or host.startswith("127.")
