"""Buckets: where their server is, what objects are called there, how large their parts are.  Pure.

The rule: what control wrote down is taken apart once; a key is made of checked names only, so no
two names make one key and none leaves its prefix.
"""

from dataclasses import dataclass
from hashlib import md5
from typing import Final
from urllib.parse import urlsplit

from edge.workflow.destinations.naming import RemoteName, checked_name, numbered
from zentransfer.errors import Code, Error
from zentransfer.limits import S3_KEY_BYTES_MAX, S3_PART_BYTES, S3_PARTS_MAX

_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket on a server; ``prefix`` is empty or ends in ``/``; ``region`` is the server's."""

    endpoint: str
    host: str
    port: int
    region: str
    name: str
    prefix: str

    @property
    def is_clear(self) -> bool:
        """Whether the server is spoken to without TLS: in the laboratory only."""
        return self.endpoint.startswith("http:")


def bucket(address: str, endpoint: str, region: str) -> Bucket:
    """Return the bucket at *address* (``s3://name/prefix``); raises ``Error(INVALID)``."""
    scheme, _, rest = address.partition("://")
    name, _, prefix = rest.partition("/")
    try:
        parts = urlsplit(endpoint)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as wrong:
        raise Error(Code.INVALID, "the endpoint is no address of a server") from wrong
    if scheme != "s3" or not name or not parts.hostname or not region:
        raise Error(Code.INVALID, "the address is not that of a bucket")
    below = "".join(f"{checked_name(each)}/" for each in prefix.split("/") if each)
    return Bucket(endpoint, parts.hostname, port, region, name, below)


def key(where: Bucket, name: RemoteName, number: int) -> str:
    """Return the key of *name* under its *number*; raises ``Error(INVALID)`` if it can be none."""
    folder = "".join(f"{checked_name(each)}/" for each in name.folder)
    found = where.prefix + folder + numbered(checked_name(name.name), number)
    if len(found.encode()) > S3_KEY_BYTES_MAX:
        raise Error(Code.INVALID, "the name is too long for a bucket, with its folders")
    return found


def part_bytes(size: int) -> int:
    """Return how large each part but the last is of an object of *size* bytes."""
    return max(S3_PART_BYTES, -(-size // S3_PARTS_MAX))


class ETag:
    """What a server calls an object that was sent in these parts, if it hashes them as S3 does.

    Only servers that encrypt by keys of their own, or are none of Amazon's kind, say otherwise.
    """

    def __init__(self) -> None:
        """Begin with an empty part."""
        self._part = md5(usedforsecurity=False)
        self._parts = bytearray()
        self._count = 0

    def update(self, data: memoryview) -> None:
        """Count *data* into the part."""
        self._part.update(data)

    def end_part(self) -> None:
        """End the part, and begin the next one."""
        self._parts += self._part.digest()
        self._part = md5(usedforsecurity=False)
        self._count += 1

    def whole(self) -> str:
        """Return the tag of an object that is sent in one request: the part that is not ended."""
        return self._part.hexdigest()

    def joined(self) -> str:
        """Return the tag of an object that is put together of the parts that ended."""
        return f"{md5(self._parts, usedforsecurity=False).hexdigest()}-{self._count}"
