"""TLS at our own listeners: one certificate, replaced while connections go on.

The rules: TLS 1.2 or newer, forward secret, but at a listener for old bodies that was asked for by
name; a new certificate serves the next handshake without a
restart; and one that does not load leaves the old one in force and is told in ``/readyz``.
"""

import asyncio
import ssl
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from pydantic import Field, model_validator

from zentransfer import log
from zentransfer.clock import Clock
from zentransfer.limits import TLS_LOOK_S
from zentransfer.service import CannotStart
from zentransfer.settings import Group

_SOON_MS: Final = 7 * 86_400_000

_State = tuple[tuple[int, int, int], ...]


class Age(StrEnum):
    """Whom a context serves, by the suites of TLS 1.2 and before; those of 1.3 are all good."""

    MODERN = "ECDHE+AESGCM:ECDHE+CHACHA20"
    """Browsers and programs of today."""
    CAMERA = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
    """Bodies that know no AEAD; still forward secret."""
    LEGACY = "ECDHE+AESGCM:ECDHE+AES:RSA+AESGCM:RSA+AES:@SECLEVEL=0"
    """TLS 1.0 and 1.1 too, whose SHA-1 OpenSSL 3 holds back above level 0; no RC4, DES, export."""


class Tls(Group):
    """The certificate of a node's doors; without one they speak clear text."""

    certificate_file: Path | None = Field(
        default=None, description="PEM file: the certificate, then its intermediate ones"
    )
    key_file: Path | None = Field(
        default=None, description="PEM file: its private key, not encrypted"
    )

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together; set both or none")
        return self


class Certificate:
    """A certificate and its key in two files, and the contexts that serve them."""

    def __init__(self, certificate: Path, key: Path, clock: Clock) -> None:
        """Read both files; raises :class:`CannotStart` when no server can be made of them."""
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._contexts: list[ssl.SSLContext] = []
        self._trouble = ""
        self._state: _State = ()
        self._until_ms = 0
        try:
            self._state = self._look()
            self._load(_context())
        except (OSError, ValueError) as wrong:
            raise CannotStart(
                f"The TLS certificate {certificate} cannot be used: {_reason(wrong)}.",
                "Give PEM files: the certificate with its chain, and its key without a password.",
            ) from wrong

    def context(self, *protocols: str, age: Age = Age.MODERN) -> ssl.SSLContext:
        """Return a server's context that offers *protocols* (ALPN), and is kept up to date."""
        context = _context(age)
        context.set_alpn_protocols(protocols)
        self._load(context)
        self._contexts.append(context)
        return context

    def check(self) -> tuple[bool, str]:
        """Say, for ``/readyz``, whether clients can trust it, and until when."""
        left_ms = self._until_ms - self._clock.now_ms()
        if left_ms <= 0:
            return False, "the TLS certificate has expired"
        if self._trouble:
            return False, self._trouble
        until = datetime.fromtimestamp(self._until_ms / 1000, UTC)
        return left_ms > _SOON_MS, f"TLS certificate good until {until:%Y-%m-%d}"

    def reload(self) -> bool:
        """Serve what lies in the files now, if that changed; returns whether it did."""
        try:
            state = self._look()
            if state == self._state:
                return False
            self._state = state  # what does not load is looked at again when it changes again
            self._load(_context())  # by itself first: half a change would serve nobody
            for context in self._contexts:
                self._load(context)
        except (OSError, ValueError) as wrong:
            self._trouble = f"the new TLS certificate is not used: {_reason(wrong)}"
            log.error("tls.refused", wrong)
            return False
        self._trouble = ""
        log.fact("tls.reloaded")
        return True

    async def watch(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(TLS_LOOK_S)
            self.reload()

    def _look(self) -> _State:
        found = [path.stat() for path in (self._certificate, self._key)]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._certificate, self._key, password=_no_password)
        leaf = x509.load_pem_x509_certificates(self._certificate.read_bytes())[0]
        self._until_ms = int(leaf.not_valid_after_utc.timestamp() * 1000)


def _context(age: Age = Age.MODERN) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if age is Age.LEGACY:
        # Which is 1.0: Python switches SSL 3.0 off by itself.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(age.value)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # else OpenSSL would ask at the terminal


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, ssl.SSLError):
        return (wrong.reason or "not a certificate and its key").replace("_", " ").lower()
    return (wrong.strerror if isinstance(wrong, OSError) else str(wrong)) or type(wrong).__name__
