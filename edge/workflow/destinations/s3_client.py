"""A bucket's few verbs, over a library that dials through the guard's proxy.

The rule: the library's errors end here, as ``DestinationError``; and an upload in parts that does
not end well is given up at the server, where it would be kept, hidden, and paid for.  A process
that is killed gives up nothing: what it leaves, only the bucket's own rule for incomplete uploads
removes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from edge.guard import Blocked, Unreachable
from edge.guard_proxy import Proxy
from edge.workflow.destinations import s3_errors
from edge.workflow.destinations.base import DestinationError, Fault
from edge.workflow.destinations.s3_place import Bucket
from zentransfer.errors import Code
from zentransfer.limits import (
    S3_ABORT_S,
    S3_PARTS_IN_FLIGHT,
    S3_REQUEST_S,
    S3_RETRIES,
    S3_RETRY_S,
)
from zentransfer.sealed_secret import S3Secret

if TYPE_CHECKING:
    from obstore import PutResult
    from obstore.store import S3Credential

DIGEST: Final = "zt-sha256"  # names of our metadata, behind the server's own "x-amz-meta-"
DELIVERY: Final = "zt-delivery"


class Taken(Exception):
    """Something has the key already."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under a key: ``digest`` (hexadecimal) and ``delivery`` as we left them there."""

    size: int
    digest: str
    delivery: str


class Feed:
    """Parts on their way into the library, which asks for them from a task of its own."""

    def __init__(self, parts: AsyncIterator[bytearray]) -> None:
        """Give what *parts* gives; ``failure`` is what it raised."""
        self._parts = parts
        self.failure: Exception | None = None
        self._asking: asyncio.Task[object] | None = None
        self._is_cut = False

    def __aiter__(self) -> "Feed":
        return self

    async def __anext__(self) -> bytearray:
        """Return the next part; raises what the source raises, :class:`Cut` once it is cut."""
        if self._is_cut:
            raise Cut
        self._asking = asyncio.current_task()
        try:
            return await anext(self._parts)
        except asyncio.CancelledError:
            # To the library a cancellation is no error, and so no reason to give up the upload.
            raise Cut from None
        except StopAsyncIteration:
            raise
        except Exception as failure:
            self.failure = failure
            raise
        finally:
            self._asking = None

    def cut(self) -> None:
        """Let nothing more come out, and whoever waits for a part wait no more."""
        self._is_cut = True
        if self._asking is not None:
            self._asking.cancel()


class Cut(Exception):
    """The content was cut off on our side."""


class Client:
    """One bucket and the key to it."""

    def __init__(self, where: Bucket, secret: S3Secret, proxy: Proxy) -> None:
        """Reach the bucket *where*, signing with *secret*, through *proxy*."""
        self._where = where
        self._secret = secret
        self._proxy = proxy
        self._store: S3Store | None = None
        self._is_conditional = True

    async def ready(self) -> None:
        """Return when the server may be dialled; raises ``DestinationError`` if it may not."""
        where = self._where
        try:
            await self._proxy.check(where.host, where.port)
        except Blocked as blocked:
            raise DestinationError(Code.FORBIDDEN, str(blocked), Fault.DESTINATION) from blocked
        except Unreachable as unreachable:
            raise DestinationError(
                Code.UNAVAILABLE, str(unreachable), Fault.TEMPORARY
            ) from unreachable
        if self._store is None:
            self._store = self._made(await self._proxy.url(where.host, where.port))

    def forget(self) -> None:
        """Let go of connections, as soon as nothing uses them; idempotent."""
        self._store = None

    async def maybe_found(self, key: str) -> Found | None:
        """Return what lies under *key*; ``None`` for nothing.  Raises ``DestinationError``."""
        try:
            found = await obstore.get_async(self._ready, key, options={"head": True})
        except FileNotFoundError:  # or no bucket: the first thing that is put there tells
            return None
        except s3_errors.FAILURES as error:
            raise s3_errors.failed(error) from error
        ours = found.attributes
        return Found(found.meta["size"], ours.get(DIGEST, ""), ours.get(DELIVERY, ""))

    async def read_digest(self, key: str) -> bytes:
        """Return the SHA-256 of all of what lies under *key*, read back."""
        running = sha256()
        try:
            answer = await obstore.get_async(self._ready, key)
            async for part in answer.stream():
                running.update(part)
        except s3_errors.FAILURES as error:
            raise s3_errors.failed(error) from error
        return running.digest()

    async def put(self, key: str, content: bytearray, marks: dict[str, str], *, over: bool) -> str:
        """Put an object in one request; returns its tag.

        Never *over* another one, if the server knows conditions.  Raises :class:`Taken`.
        """
        is_new = self._is_conditional and not over
        mode: Literal["create", "overwrite"] = "create" if is_new else "overwrite"
        try:
            done = await obstore.put_async(
                self._ready, key, content, mode=mode, attributes=dict(marks), use_multipart=False
            )
        except AlreadyExistsError as taken:
            raise Taken from taken
        except s3_errors.FAILURES as error:
            if is_new and s3_errors.status(error) == s3_errors.NOT_IMPLEMENTED:
                self._is_conditional = False  # then what was seen a moment ago must do
                return await self.put(key, content, marks, over=True)
            raise s3_errors.failed(error) from error
        return _tag(done)

    async def put_parts(
        self, key: str, parts: AsyncIterator[bytearray], part_bytes: int, marks: dict[str, str]
    ) -> str:
        """Put an object in parts, as they come; returns its tag.

        Raises what *parts* raises; then, and when it is cancelled, nothing is there or left.
        """
        feed = Feed(parts)
        putting = obstore.put_async(
            self._ready,
            key,
            feed,
            attributes=dict(marks),
            use_multipart=True,
            chunk_size=part_bytes,
            max_concurrency=S3_PARTS_IN_FLIGHT,
        )
        # It is under way already, in the library's threads; this is only a name for its end.
        done: asyncio.Future[PutResult] = asyncio.ensure_future(putting)  # noqa: TID251
        try:
            return _tag(await asyncio.shield(done))
        except asyncio.CancelledError:
            feed.cut()
            await _ended(done)
            raise
        except Exception as error:
            if feed.failure is not None:
                raise feed.failure from None  # it is ours, and not the server's
            if isinstance(error, s3_errors.FAILURES):
                raise s3_errors.failed(error) from error
            raise

    async def remove(self, key: str) -> None:
        """Remove what lies under *key*, if we may."""
        with suppress(*s3_errors.FAILURES):
            await obstore.delete_async(self._ready, key)

    @property
    def _ready(self) -> S3Store:
        assert self._store is not None, "a client is used after ready()"
        return self._store

    def _made(self, proxy_url: str) -> S3Store:
        where, secret = self._where, self._secret

        def credential() -> "S3Credential":
            # So nothing in the environment, and no metadata server, has a say.
            return {
                "access_key_id": secret.access_key_id,
                "secret_access_key": secret.secret_access_key,
                "token": None,
                "expires_at": None,
            }

        return S3Store(
            where.name,
            endpoint=where.endpoint,
            region=where.region,
            virtual_hosted_style_request=False,
            credential_provider=credential,
            client_options={
                "allow_http": where.is_clear,
                "proxy_url": proxy_url,
                "timeout": timedelta(seconds=S3_REQUEST_S),
                "connect_timeout": timedelta(seconds=S3_REQUEST_S / 2),
            },
            retry_config={
                "max_retries": S3_RETRIES,
                "retry_timeout": timedelta(seconds=S3_RETRY_S),
            },
        )


async def _ended(putting: "asyncio.Future[PutResult]") -> None:
    """Wait until an upload that was cut has been given up at the server, but not for long."""
    try:
        with suppress(Exception):
            async with asyncio.timeout(S3_ABORT_S):
                await asyncio.shield(putting)
    finally:
        putting.cancel()


def _tag(done: "PutResult") -> str:
    return (done["e_tag"] or "").strip('"')
