"""TLS at the FTP door: what each listener offers, and what the door asks of its clients.

The rules: a policy is asked here and nowhere else; and who continued TLS sessions on data
connections once has to go on so, where that is wanted.  Whose session is continued cannot be told:
a stranger at a data port who has a session with us by himself passes: his address must decide.
"""

import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.ftp.addresses import network_of
from edge.ftp.replies import Reply
from edge.ftp.security import (
    DATA_VERBS,
    NEEDS_PRIVATE_DATA,
    NEEDS_TLS,
    Policy,
    Reuse,
    Security,
)
from edge.ftp.tunnel import Tunnel
from edge.snapshot import Snapshot
from zentransfer.ids import CredentialName
from zentransfer.limits import FTP_REUSE_KEPT_MAX


@dataclass(frozen=True, slots=True)
class Entrance:
    """What one listener offers: TLS by this context, from the first byte or after AUTH."""

    context: ssl.SSLContext | None = None
    is_implicit: bool = False

    def security(self) -> Security:
        """Return what a connection begins with."""
        return Security(has_tls=self.context is not None, is_implicit=self.is_implicit)


CLEAR: Final = Entrance()
"""A listener without TLS."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """The TLS of one data connection; ``is_accepted`` is given whether it continued a session."""

    tunnel: Tunnel
    handshake_s: float
    tolerates_cuts: bool
    is_accepted: Callable[[bool], bool]


class Rules:
    """What one door asks of TLS, and what it remembers for that.

    OpenSSL's clients use a ticket of TLS 1.3 once, and get none on data connections: so curl
    continues its session on the first data connection only (7.88, measured), while GnuTLS (lftp)
    and Python do it on all.  What is asked of a sender is what it was seen to do.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        """Ask what *policy* says."""
        self.policy = policy or Policy()
        self.handshakes = 0
        """How many control connections are at their handshake."""
        # By credential, network and version: whether it was every data connection, or the first.
        self._resuming = OrderedDict[tuple[str, str, str], bool]()

    @property
    def is_full(self) -> bool:
        """Say whether no further handshake may begin."""
        return self.handshakes >= self.policy.handshakes_max

    def tunnel(self, entrance: Entrance, *, is_data: bool = False) -> Tunnel:
        """Return a new TLS connection at *entrance*, which has TLS."""
        assert entrance.context is not None, "nothing begins TLS without one"
        return Tunnel(entrance.context, self.policy.names, is_data=is_data)

    def privacy(self, entrance: Entrance, who: str, address: str, *, is_first: bool) -> Privacy:
        """Return the TLS of a data connection of *who* signed in from *address*.

        *is_first* says whether it is the first one of its control connection.
        """
        tunnel = self.tunnel(entrance, is_data=True)

        def is_accepted(is_resumed: bool) -> bool:
            sender = (who, network_of(address), tunnel.version)
            return self.is_accepted(sender, is_resumed=is_resumed, is_first=is_first)

        policy = self.policy
        return Privacy(tunnel, policy.handshake_s, policy.tolerates_cuts, is_accepted)

    def must_be_private(self, snapshot: Snapshot | None, name: str) -> bool:
        """Say whether nothing in clear is taken from the credential *name*."""
        known = None if snapshot is None else snapshot.names.get(CredentialName(name))
        return self.policy.is_required or (known is not None and known.require_tls)

    def maybe_refusal(
        self, snapshot: Snapshot | None, security: Security, verb: str, name: str
    ) -> Reply | None:
        """Return what *verb* gets that would go in clear and must not.

        *name* is who signs in with USER, and who is signed in with the others.  That a name needs
        TLS is told before its password is: a name is no secret, and a password in clear is none
        any more.
        """
        if verb == "USER" and not security.is_tls and self.must_be_private(snapshot, name):
            return NEEDS_TLS
        if verb in DATA_VERBS and not security.is_private and self.must_be_private(snapshot, name):
            return NEEDS_PRIVATE_DATA
        return None

    def is_accepted(
        self, sender: tuple[str, str, str], *, is_resumed: bool, is_first: bool
    ) -> bool:
        """Say whether a data connection may be, and remember what its sender does.

        *sender* is the credential's name, the network, and the version of TLS.
        """
        reuse = self.policy.reuse
        if reuse is not Reuse.REMEMBERED:
            return is_resumed or reuse is Reuse.OFF
        does_always = self._resuming.get(sender)
        if is_resumed:
            self._resuming[sender] = bool(does_always) or not is_first
            self._resuming.move_to_end(sender)
            if len(self._resuming) > FTP_REUSE_KEPT_MAX:
                self._resuming.popitem(last=False)
            return True
        return does_always is None or not (does_always or is_first)
