"""A ticket: one region's word to another that it has checked who sends one upload.  Pure.

The rule: **one upload, one region, once, soon**.  A client that is sent on to another host leaves
its ``Authorization`` behind (curl and aiohttp do), so the URL carries this instead: who was
checked, for which region, until when, signed by the region that checked.  It opens nothing by
itself: who takes it in looks the credential up in its own snapshot, so what is revoked is refused.
A ticket is a secret until it is spent, and is never logged (law 11).
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.seal.packing import Fields, Malformed, pack, unpack
from edge.snapshot import TicketKeyEntry
from zentransfer.errors import Error
from zentransfer.ids import (
    AccountID,
    CredentialID,
    Kind,
    RandomBytes,
    Region,
    WorkflowID,
    parse,
    ticket_kid,
)
from zentransfer.limits import (
    HANDOVER_HOPS_MAX,
    HANDOVER_S,
    HANDOVER_SKEW_S,
    HANDOVER_TICKET_CHARS_MAX,
)

NONCE_BYTES: Final = 16

_INFO: Final = b"zentransfer hand-over key\x00"
_DOMAIN: Final = b"zentransfer hand-over\x00"  # so that no other signature of a key is a ticket
_SIGNATURE_BYTES: Final = 64
_WORD_CHARS_MAX: Final = 64


class Flaw(StrEnum):
    """Why a ticket is refused."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    FORGED = "forged"
    ELSEWHERE = "elsewhere"
    EXPIRED = "expired"
    TOO_LONG = "too_long"
    SPENT = "spent"
    OTHER_SIZE = "other_size"
    FORM = "form"


class TicketRefused(Exception):
    """A ticket that does not open anything here; ``flaw`` says why, for tests and meters."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Ticket:
    """What one region tells another of one upload.

    ``region`` is the one that shall take it, until ``expires_ms`` (UTC); ``length`` in bytes, if it
    was announced; ``hops`` counts the hand-overs, 1 for the first.
    """

    account: AccountID
    credential: CredentialID
    workflow: WorkflowID
    region: Region
    expires_ms: int
    nonce: bytes = field(repr=False)
    length: int | None = None
    hops: int = 1


class Signer:
    """A region's key that signs tickets; ``kid`` and ``public`` are what the others verify by."""

    def __init__(self, origin: bytes, region: Region) -> None:
        """Derive the key from the *origin* key of *region*, which every ingest process of it has.

        So there is one key for a region, nothing new lies on a disk, and a restart changes nothing.
        """
        self._key = Ed25519PrivateKey.from_private_bytes(
            HKDF(SHA256(), 32, None, _INFO).derive(origin)
        )
        self.public: bytes = self._key.public_key().public_bytes_raw()
        self.kid = ticket_kid(region, self.public)

    def signed(self, ticket: Ticket) -> str:
        """Return *ticket* as it stands in a URL: letters, digits, ``-`` and ``_``."""
        body = pack(
            {
                "kid": self.kid,
                "account": ticket.account,
                "credential": ticket.credential,
                "workflow": ticket.workflow,
                "region": ticket.region.value,
                "expires_ms": ticket.expires_ms,
                "nonce": ticket.nonce,
                "length": ticket.length,
                "hops": ticket.hops,
            }
        )
        return _text(body + self._key.sign(_DOMAIN + body))


def expires_ms(now_ms: int) -> int:
    """Return until when a ticket that is made at *now_ms* may be shown; both UTC."""
    return now_ms + int(HANDOVER_S * 1000)


def nonce(random_bytes: RandomBytes) -> bytes:
    """Return what makes one ticket different from every other."""
    return random_bytes(NONCE_BYTES)


def opened(
    text: str, key: Callable[[str], TicketKeyEntry | None], region: Region, now_ms: int
) -> Ticket:
    """Return the ticket that *text* is, shown in *region* at *now_ms* (UTC).

    *key* gives what verifies the tickets of a kid.  Whether it was spent before is not said here.
    Raises :class:`TicketRefused`.
    """
    body, signature = _parted(text)
    try:
        fields = unpack(body)
        kid = fields.text("kid", _WORD_CHARS_MAX)
    except Malformed as wrong:
        raise TicketRefused(Flaw.MALFORMED) from wrong
    entry = key(kid)
    if entry is None or not serves(entry, now_ms):
        raise TicketRefused(Flaw.UNKNOWN_KEY)
    try:
        Ed25519PublicKey.from_public_bytes(entry.key).verify(signature, _DOMAIN + body)
    except (InvalidSignature, ValueError) as wrong:
        raise TicketRefused(Flaw.FORGED) from wrong
    ticket = _ticket(fields)
    if ticket.region is not region:
        raise TicketRefused(Flaw.ELSEWHERE)
    if now_ms >= ticket.expires_ms:
        raise TicketRefused(Flaw.EXPIRED)
    # It must be remembered as spent for as long as it is good, so that cannot be long.
    if ticket.expires_ms > expires_ms(now_ms) + int(HANDOVER_SKEW_S * 1000):
        raise TicketRefused(Flaw.TOO_LONG)
    return ticket


def check_length(ticket: Ticket, announced: int | None) -> None:
    """Refuse another upload than the one the ticket is for, as far as its size in bytes tells.

    Raises :class:`TicketRefused`.
    """
    if ticket.length is not None and announced != ticket.length:
        raise TicketRefused(Flaw.OTHER_SIZE)


def serves(entry: TicketKeyEntry, now_ms: int) -> bool:
    """Say whether *entry* verifies tickets at *now_ms* (UTC)."""
    is_over = entry.not_after_ms is not None and now_ms > entry.not_after_ms
    return entry.not_before_ms <= now_ms and not is_over


def _parted(text: str) -> tuple[bytes, bytes]:
    """Return what is signed and the signature; of all spellings of them one is a ticket."""
    if len(text) > HANDOVER_TICKET_CHARS_MAX or not text.isascii():
        raise TicketRefused(Flaw.MALFORMED)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as wrong:
        raise TicketRefused(Flaw.MALFORMED) from wrong
    if len(data) <= _SIGNATURE_BYTES or _text(data) != text:
        raise TicketRefused(Flaw.MALFORMED)
    return data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]


def _ticket(fields: Fields) -> Ticket:
    """Return what a signed ticket says; a newer release may sign what we cannot read."""
    try:
        hops = fields.number("hops", HANDOVER_HOPS_MAX)
        number = fields.data("nonce", NONCE_BYTES)
        if not hops or len(number) != NONCE_BYTES:
            raise Malformed("no hand-over, or no nonce of its size")
        return Ticket(
            account=AccountID(parse(Kind.ACCOUNT, fields.text("account", _WORD_CHARS_MAX))),
            credential=CredentialID(
                parse(Kind.CREDENTIAL, fields.text("credential", _WORD_CHARS_MAX))
            ),
            workflow=WorkflowID(parse(Kind.WORKFLOW, fields.text("workflow", _WORD_CHARS_MAX))),
            region=Region(fields.text("region", _WORD_CHARS_MAX)),
            expires_ms=fields.number("expires_ms"),
            nonce=number,
            length=fields.number("length") if fields.has("length") else None,
            hops=hops,
        )
    except (ValueError, Error) as wrong:
        raise TicketRefused(Flaw.MALFORMED) from wrong


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
