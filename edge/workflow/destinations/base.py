"""The contract of a destination: one place of an account's, of one kind.

The rule: **what is visible under its name is whole**.  A destination shows an object only after the
content ended by itself, was counted and, where it can, read back; whatever ends it earlier leaves
nothing behind under the name.  Trying again meets its own earlier work and makes nothing twice.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from edge.workflow.destinations.naming import RemoteName
from edge.workflow.run import Fault
from zentransfer.errors import Code, Error

__all__ = ["Abilities", "Destination", "DestinationError", "Fault", "RemoteName", "RemoteRef"]


class DestinationError(Error):
    """A destination did not take an object; ``fault`` says what to do about it."""

    def __init__(self, code: Code, detail: str, fault: Fault) -> None:
        super().__init__(code, detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a kind of destination can do, declared so that nobody has to try.

    ``resume``: goes on where an earlier attempt stopped.  ``remote_digest``: what lies there is
    compared by digest, not by size alone.  ``create_only``: never overwrites, whoever else writes
    there.  ``atomic``: an object appears whole or not at all.
    """

    resume: bool
    remote_digest: bool
    create_only: bool
    atomic: bool


@dataclass(frozen=True, slots=True)
class RemoteRef:
    """An object that is there, whole: ``size`` in bytes, ``digest`` SHA-256 if it was compared.

    ``text`` is what the kind needs to find it again; it holds no name and no secret.
    """

    text: str
    size: int
    digest: bytes | None = None


class Destination(Protocol):
    """One place for an account's files; used by several deliveries at a time."""

    @property
    def abilities(self) -> Abilities:
        """What this kind can do."""
        ...

    async def put(
        self,
        name: RemoteName,
        content: AsyncIterator[memoryview],
        *,
        size: int,
        digest: bytes | None,
        resume_ref: str,
    ) -> RemoteRef:
        """Let the object be there under *name*; returns when it is, whole and durable.

        *content* gives *size* bytes, each view valid until the next one is asked for; it is read
        at the destination's pace, and not at all if the object is there already.  *digest* is the
        SHA-256 of all of it, where that is known before.  *resume_ref* is the text of an earlier
        attempt's reference, or empty.  Raises :class:`DestinationError`, and what *content*
        raises; then, and when it is cancelled, nothing is visible under the name.
        """
        ...

    def close(self) -> None:
        """Let go of what is kept between deliveries; idempotent."""
        ...
