"""Names of things: a type for each noun, one maker, one parser.  Pure.

An id is made once, by whoever originates the thing, and stored before it is first sent; so a
repeated message is the same thing again.  Ids are opaque and may be logged; a capability and a
camera's secret are not ids and may not (law 11).
"""

import base64
import hashlib
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NewType

from zentransfer.errors import Code, Error

AccountID = NewType("AccountID", str)
MemberID = NewType("MemberID", str)
CredentialID = NewType("CredentialID", str)
UploadID = NewType("UploadID", str)
WorkflowID = NewType("WorkflowID", str)
DestinationID = NewType("DestinationID", str)
RunID = NewType("RunID", str)
DeliveryID = NewType("DeliveryID", str)
OutcomeID = NewType("OutcomeID", str)
ReceiptID = NewType("ReceiptID", str)
CommandID = NewType("CommandID", str)
EpochID = NewType("EpochID", str)
"""One life of a process or of an outbox: new at each start, or when its disk was lost."""
NodeID = NewType("NodeID", str)
"""A region and a number: ``fr-1``."""
ProcessName = NewType("ProcessName", str)
"""A process of a node: ``ingest-0``, ``delivery-1``; of the rest: ``control``, ``dashboard``."""
Capability = NewType("Capability", str)
"""The secret in an upload's URL: who holds it may append.  Never logged."""
CredentialName = NewType("CredentialName", str)
"""What a camera signs in with: opaque, 8 characters, never an e-mail address."""

RandomBytes = Callable[[int], bytes]
"""Gives that many bytes; ``os.urandom`` in production, a seeded generator in the simulator."""


class Region(StrEnum):
    """The places where content may be kept; an account is pinned to one of them or to none."""

    US = "us"
    FR = "fr"
    SG = "sg"


class Kind(StrEnum):
    """The nouns that have made ids, each with the two letters that its ids begin with."""

    ACCOUNT = "ac"
    MEMBER = "me"
    CREDENTIAL = "cr"
    UPLOAD = "up"
    WORKFLOW = "wf"
    DESTINATION = "ds"
    RUN = "ru"
    DELIVERY = "de"
    OUTCOME = "oc"
    RECEIPT = "rc"
    COMMAND = "co"
    EPOCH = "ep"


_BYTES: Final = 16  # 128 random bits: two of 2^40 ids meet with a chance below 2^-48
# 16 bytes are 26 characters of RFC 4648 base32 whose last one carries 3 bits, so it is one of
# eight: an id has exactly one spelling.
_BODY: Final = "[a-z2-7]{25}[aeimquy4]"
_CAPABILITY: Final = re.compile(f"({'|'.join(Region)})-{_BODY}")
_ID: Final = {kind: re.compile(f"{kind}_{_BODY}") for kind in Kind}
_NODE: Final = re.compile(f"({'|'.join(Region)})-[1-9][0-9]{{0,3}}")
_PROCESS: Final = re.compile(r"(ingest|delivery)-(0|[1-9][0-9]?)|control|dashboard|launcher")
# Typed on a camera's dial: lower case, without 0, 1, l and o, which look like one another.
_CAMERA: Final = str.maketrans(
    "abcdefghijklmnopqrstuvwxyz234567", "abcdefghijkmnpqrstuvwxyz23456789"
)


class IdMaker:
    """Make ids from a source of random bytes, which is all the chance that they hold."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes

    def make(self, kind: Kind) -> str:
        """Return a new id of *kind*: its prefix, an underscore and 26 base32 characters."""
        return f"{kind}_{_base32(self._random_bytes(_BYTES))}"


def parse(kind: Kind, text: str) -> str:
    """Return *text* if it is an id of *kind*, else raise ``Error(Code.INVALID)``.

    The error names the kind and never repeats the text, which a stranger wrote.
    """
    if _ID[kind].fullmatch(text) is None:
        raise Error(Code.INVALID, f"that is not the id of a {kind.name.lower()}")
    return text


def parse_capability(text: str) -> Capability:
    """Return *text* if it has the form of a capability, else raise ``Error(Code.NOT_FOUND)``.

    A malformed one is answered like an unknown one, so that guessing teaches nothing.
    """
    if _CAPABILITY.fullmatch(text) is None:
        raise Error(Code.NOT_FOUND)
    return Capability(text)


def credential_name(random_bytes: RandomBytes) -> CredentialName:
    """Return a new sign-in name for a camera: 8 characters that can be typed on it."""
    return CredentialName(_camera(random_bytes(5)))


def credential_secret(random_bytes: RandomBytes) -> str:
    """Return a new secret for a camera: 20 characters that can be typed on it, 100 random bits."""
    return _camera(random_bytes(13))[:20]


def node(text: str) -> NodeID:
    """Return *text* if it names a node, a region and a number, else raise ``Error(INVALID)``."""
    if _NODE.fullmatch(text) is None:
        raise Error(Code.INVALID, "that is not a node: a region and a number, such as fr-1")
    return NodeID(text)


def region_of(node: NodeID) -> Region:
    """Return the region that *node* stands in."""
    return Region(node.partition("-")[0])


def process(text: str) -> ProcessName:
    """Return *text* if it names a process of ours, else raise ``Error(Code.INVALID)``."""
    if _PROCESS.fullmatch(text) is None:
        raise Error(Code.INVALID, "that is not a process, such as ingest-0 or delivery-0")
    return ProcessName(text)


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _camera(data: bytes) -> str:
    return _base32(data).translate(_CAMERA)


def ticket_kid(region: Region, public: bytes) -> str:
    """Return the name of the key by which tickets of *region* are verified: raw Ed25519.

    It says which key it is, so that none can stand in for another.
    """
    return f"{region}-{hashlib.sha256(public).hexdigest()[:16]}"
