"""A bucket of an S3-compatible store, over obstore.

The rules: the library's errors end here, as ``SinkError``, without a key or an address in them;
and what went wrong last is remembered, so that ``/readyz`` can say it without asking anybody.
"""

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from edge.sinks.base import SinkError
from edge.sinks.objects_bucket import Listed, Object, Taken, too_large

# Layering violation: what servers answer is known where destinations of this kind are.
from edge.workflow.destinations import s3_errors
from edge.workflow.destinations.base import Fault
from zentransfer.errors import Code
from zentransfer.limits import S3_REQUEST_S, S3_RETRIES, S3_RETRY_S

if TYPE_CHECKING:
    from obstore import PutMode, PutResult
    from obstore.store import S3Config, S3Credential

_DIAL_S: Final = 5.0  # seconds: a store in reach answers at once
_TAKEN: Final = (AlreadyExistsError, PreconditionError)
_NO_BUCKET: Final = "NoSuchBucket"


@dataclass(frozen=True, slots=True)
class Access:
    """Where a bucket is, and the key to it; ``endpoint`` is empty for Amazon's own."""

    bucket: str
    region: str
    key_id: str
    secret: str = field(repr=False)
    endpoint: str = ""
    prefix: str = ""


class S3Bucket:
    """A :class:`edge.sinks.objects_bucket.Bucket` on a server."""

    def __init__(
        self, access: Access, *, request_s: float = S3_REQUEST_S, retry_s: float = S3_RETRY_S
    ) -> None:
        """Reach the bucket; one request may take *request_s*, with all its repeats *retry_s*."""

        def credential() -> "S3Credential":
            # So nothing in the environment, and no metadata server, has a say.
            return {
                "access_key_id": access.key_id,
                "secret_access_key": access.secret,
                "token": None,
                "expires_at": None,
            }

        config: S3Config = {
            "region": access.region,
            "virtual_hosted_style_request": not access.endpoint,
        }
        if access.endpoint:
            config["endpoint"] = access.endpoint
        self._store = S3Store(
            access.bucket,
            prefix=access.prefix or None,
            config=config,
            credential_provider=credential,
            client_options={
                "allow_http": access.endpoint.startswith("http:"),
                "timeout": timedelta(seconds=request_s),
                "connect_timeout": timedelta(seconds=min(_DIAL_S, request_s)),
            },
            retry_config={
                "max_retries": S3_RETRIES,
                "retry_timeout": timedelta(seconds=retry_s),
            },
        )
        self._trouble = ""
        self.needs_help = False
        """Whether what went wrong last waits for somebody to mend it: a key, a right, a name."""

    def state(self) -> tuple[bool, str]:
        """Return whether the store did what it was asked last, and else what it said."""
        return not self._trouble, self._trouble or "the store answers"

    def begin(self, key: str, data: bytes) -> "Future[str]":
        """Begin to put a new object; see :class:`edge.sinks.objects_bucket.Bucket`."""
        told: Future[str] = asyncio.get_running_loop().create_future()
        putting = obstore.put_async(self._store, key, data, mode="create", use_multipart=False)
        # It is under way already, in the library's threads; this is only a name for its end.
        done: Future[PutResult] = asyncio.ensure_future(putting)  # noqa: TID251
        done.add_done_callback(partial(self._tell, told))
        told.add_done_callback(lambda _: done.cancel())
        return told

    async def put(self, key: str, data: bytes, tag: str | None) -> str:
        """Put an object; see :class:`edge.sinks.objects_bucket.Bucket`."""
        mode: Literal["create"] | PutMode = "create" if tag is None else {"e_tag": tag}
        try:
            done = await obstore.put_async(self._store, key, data, mode=mode, use_multipart=False)
        except s3_errors.FAILURES as error:
            raise self._failed(error) from error
        self._trouble = ""
        return done["e_tag"] or ""

    async def get(self, key: str, size_max: int, *, start: int = 0) -> Object | None:
        """Return what lies under *key*; see :class:`edge.sinks.objects_bucket.Bucket`."""
        options: obstore.GetOptions = {"range": {"offset": start}} if start else {}
        try:
            found = await obstore.get_async(self._store, key, options=options)
            size = found.meta["size"] - start
            if size > size_max:
                raise too_large()
            data = bytes(await found.bytes_async())
        except s3_errors.FAILURES as error:
            if isinstance(error, FileNotFoundError) and _NO_BUCKET not in str(error):
                self._trouble = ""
                return None
            raise self._failed(error) from error
        if len(data) != size:
            raise SinkError("the store answered in part", temporary=True)
        self._trouble = ""
        return Object(data, found.meta["e_tag"] or "")

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[Listed]:
        """Yield what is there; see :class:`edge.sinks.objects_bucket.Bucket`."""
        stream = obstore.list(  # pyright: ignore[reportUnknownMemberType] - Arrow's types, unused
            self._store, prefix, offset=after or None
        )
        try:
            async for page in stream:
                for meta in page:
                    put_ms = int(meta["last_modified"].timestamp() * 1_000)
                    yield Listed(meta["path"], meta["size"], put_ms)
        except s3_errors.FAILURES as error:
            raise self._failed(error) from error
        self._trouble = ""

    async def folders(self, prefix: str) -> list[str]:
        """Return the folders below *prefix*; see :class:`edge.sinks.objects_bucket.Bucket`."""
        try:
            found = await obstore.list_with_delimiter_async(  # pyright: ignore[reportUnknownMemberType]
                self._store, prefix
            )
        except s3_errors.FAILURES as error:
            raise self._failed(error) from error
        self._trouble = ""
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"]]

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; see :class:`edge.sinks.objects_bucket.Bucket`."""
        if not keys:
            return
        try:
            await obstore.delete_async(self._store, list(keys))
        except FileNotFoundError as error:
            if _NO_BUCKET in str(error):
                raise self._failed(error) from error
        except s3_errors.FAILURES as error:
            raise self._failed(error) from error

    def _tell(self, told: "Future[str]", done: "Future[PutResult]") -> None:
        if told.done() or done.cancelled():
            told.cancel()
            if not done.cancelled():
                done.exception()  # heard; nobody waits for it any more
            return
        failure = done.exception()
        if failure is None:
            self._trouble = ""
            told.set_result(done.result()["e_tag"] or "")
        elif isinstance(failure, s3_errors.FAILURES):
            told.set_exception(self._failed(failure))
        else:
            told.set_exception(failure)

    def _failed(self, error: Exception) -> SinkError | Taken:
        """Return what the library's *error* means; to be raised from it."""
        if isinstance(error, _TAKEN):
            self._trouble = ""
            return Taken()
        verdict = s3_errors.failed(error)
        is_full = verdict.code is Code.INSUFFICIENT_STORAGE
        code = verdict.code if is_full else Code.SINK_UNAVAILABLE
        self._trouble = verdict.detail
        self.needs_help = verdict.fault is not Fault.TEMPORARY
        return SinkError(verdict.detail, temporary=True, code=code)
