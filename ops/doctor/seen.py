"""What the probes of the doctor saw, and nothing that they think of it.  Pure.

The rule: a probe never fails; what goes wrong is what it has seen.  Times are UTC milliseconds,
durations are seconds, addresses are numeric.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

SECURE_PORT: Final = 990
"""Where FTP begins with TLS at once (RFC 4217 names it, IANA keeps it)."""


class Mode(StrEnum):
    """How a camera is set to encrypt."""

    AUTO = "auto"
    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    NONE = "none"


class Lost(StrEnum):
    """What came in the place of an answer."""

    REFUSED = "refused"
    SILENT = "silent"
    UNREACHABLE = "unreachable"
    CLOSED = "closed"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Said:
    """A reply: its code, and its lines of text joined by spaces."""

    code: int
    text: str


Heard = Said | Lost


@dataclass(frozen=True, slots=True)
class Names:
    """The addresses of a name, or the resolver's own words for why there are none."""

    v4: Sequence[str] = ()
    v6: Sequence[str] = ()
    is_literal: bool = False
    is_resolver_down: bool = False


@dataclass(frozen=True, slots=True)
class Dial:
    """How a connection to *address* and *port* went; *lost* is ``None`` when it stood."""

    address: str
    port: int
    lost: Lost | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a camera sees of a certificate; ``names`` are DNS names and numeric addresses."""

    names: Sequence[str]
    issuer: str
    is_self_signed: bool
    not_before_ms: int
    not_after_ms: int
    key: str


@dataclass(frozen=True, slots=True)
class Secured:
    """How a handshake went.

    ``verify_code`` is OpenSSL's word for what is wrong with the chain (X509_V_ERR_*, 0 is nothing);
    ``lost`` says that there was no handshake at all, and ``alert`` why, in OpenSSL's words.
    """

    version: str = ""
    suite: str = ""
    certificate: Certificate | None = None
    verify_code: int = 0
    lost: Lost | None = None
    alert: str = ""
    is_resumed: bool = False


@dataclass(frozen=True, slots=True)
class Passive:
    """One try for a data connection: PASV or EPSV, the dial to it, and a list sent over it.

    ``host`` is the address that PASV announced, empty for EPSV; ``handshake`` says why TLS did not
    stand on it, if it did not, ``is_resumed`` that it went on with the control connection's.
    """

    verb: str
    answer: Heard
    host: str = ""
    dial: Dial | None = None
    handshake: str = ""
    is_resumed: bool = False
    opening: Heard | None = None
    ending: Heard | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The upload of *size* bytes: the last reply, how long it took to come, and what SIZE says."""

    size: int
    ending: Heard
    seconds: float
    told_size: Heard | None = None
    told_time: Heard | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the doctor; the secret is not a part of it.

    At ``http_port`` of the host the clock is asked for (HTTP's Date), at 0 nobody.
    """

    host: str
    port: int
    mode: Mode = Mode.AUTO
    has_credential: bool = False
    uploads: bool = False
    idle_s: float = 0
    is_insecure: bool = False
    http_port: int = 0

    @property
    def is_implicit(self) -> bool:
        """Say whether TLS begins before the greeting."""
        is_guessed = self.mode is Mode.AUTO and self.port == SECURE_PORT
        return self.mode is Mode.IMPLICIT or is_guessed


@dataclass(slots=True)
class Seen:
    """Everything that was seen so far; what was not looked at is ``None`` or empty."""

    wanted: Wanted
    now_ms: int
    names: Names | None = None
    dials: list[Dial] = field(default_factory=list[Dial])
    greeting: Heard | None = None
    auth: Heard | None = None
    protected: Heard | None = None
    tls: Secured | None = None
    old_body: Secured | None = None
    password_withheld: bool = False
    user: Heard | None = None
    password: Heard | None = None
    passives: list[Passive] = field(default_factory=list[Passive])
    stored: Stored | None = None
    idle: Heard | None = None
    server_ms: int | None = None
    """What the server's clock said at ``now_ms``, by the Date of HTTP (RFC 9110, 6.6.1)."""

    @property
    def reached(self) -> Dial | None:
        """Return the connection that stood, if one did."""
        return next((one for one in self.dials if one.lost is None), None)
