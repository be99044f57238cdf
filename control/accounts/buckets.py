"""Addresses of buckets and of the servers that hold them, as owners may give them.  Pure.

The rule: an address is taken apart once and kept in one form, and what could lead into our own
networks is refused here in clear words; at the socket, every node judges again.
"""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from zentransfer.errors import Code, Error
from zentransfer.limits import (
    DESTINATION_ADDRESS_CHARS_MAX,
    DESTINATION_ENDPOINT_CHARS_MAX,
    DESTINATION_SECRET_CHARS_MAX,
)
from zentransfer.reachable import is_public, maybe_literal
from zentransfer.sealed_secret import S3Secret

STORE_REGION: Final = "us-east-1"  # what S3's own tools assume, and what most servers ignore
# Amazon's rules for general purpose buckets.
_BUCKET: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STORE_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# RFC 1123 section 2.1, and the underscore that is seen in practice.
_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_-]{1,63})*")


def bucket_address(text: str) -> str:
    """Return *text* (``s3://bucket/prefix``) in its one form; raises ``Error(INVALID)``."""
    if not 0 < len(text) <= DESTINATION_ADDRESS_CHARS_MAX or not text.isprintable():
        raise _invalid("the address is empty, too long or not printable")
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() != "s3":
        raise _invalid("the address of a bucket is s3://bucket or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _invalid("that is not the name of a bucket; see the provider's page")
    names = [name for name in prefix.split("/") if name]
    if {".", ".."} & set(names):
        raise _invalid("a prefix has no '.' and no '..' in it")
    return "/".join([f"s3://{bucket}", *names])


def store_region(text: str | None) -> str:
    """Return the provider's word for the bucket's place; raises ``Error(INVALID)``."""
    found = text or STORE_REGION
    if not _STORE_REGION.fullmatch(found):
        raise _invalid("that is not a region of a provider, such as eu-west-3 or auto")
    return found


def endpoint(text: str | None, region: str, *, is_lab: bool) -> str:
    """Return the server (scheme, host, port); without *text*, Amazon's of *region*.

    Raises ``Error(INVALID)``.  In the laboratory (*is_lab*) it may be any machine, also in clear.
    """
    if not text:
        end = ".cn" if region.startswith("cn-") else ""
        return f"https://s3.{region}.amazonaws.com{end}"
    parts = _parts(text)
    if parts.scheme != "https" and not (is_lab and parts.scheme == "http"):
        raise _invalid("the endpoint is an address that begins with https://")
    if parts.username is not None or parts.password is not None:
        raise _invalid("an endpoint holds no user and no password; give the key apart")
    if parts.path not in ("", "/") or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise _invalid("an endpoint is a server alone; bucket and prefix are in the address")
    host = (parts.hostname or "").lower()
    if not is_lab and not _may_be_public(host):
        raise _invalid("the endpoint is in a private network, which we do not deliver to")
    if maybe_literal(host) is None and not _NAME.fullmatch(host):
        raise _invalid("that is not the name of a server")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{parts.port}" if parts.port else "")


def secret(access_key_id: str | None, secret_access_key: str | None) -> S3Secret:
    """Return the key that somebody gave for a bucket; raises ``Error(INVALID)``."""
    if not access_key_id or not secret_access_key:
        raise _invalid("give access_key_id and secret_access_key: we sign with them")
    for each in (access_key_id, secret_access_key):
        if len(each) > DESTINATION_SECRET_CHARS_MAX or not re.fullmatch(r"[!-~]+", each):
            raise _invalid("a key has printable ASCII characters and no spaces")
    return S3Secret(access_key_id, secret_access_key)


def _parts(text: str) -> SplitResult:
    if len(text) > DESTINATION_ENDPOINT_CHARS_MAX or not re.fullmatch(r"[!-~]+", text):
        raise _invalid("the endpoint is too long, or not in ASCII")
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for what is none
    except ValueError as wrong:
        raise _invalid("the endpoint is not an address such as https://s3.example.com") from wrong
    return parts


def _may_be_public(host: str) -> bool:
    """Say whether *host* may be a public server; only its addresses tell, where it is a name."""
    literal = maybe_literal(host)
    if literal is not None:
        return is_public(literal)
    return "." in host and not host.endswith((".localhost", ".local", ".internal", ".arpa"))


def _invalid(detail: str) -> Error:
    return Error(Code.INVALID, detail)
