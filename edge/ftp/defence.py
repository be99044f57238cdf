"""Who guesses passwords waits longer and longer, and then for a while outside.  Pure.

The rules: what is counted is a **network** (/24 of IPv4, /64 of IPv6) under a key of the process,
never an address and never a name: nobody can lock another one out by guessing at his name.  A
stadium's cameras share one network, so it takes very many wrong passwords, each is forgotten after
seconds, and every right one takes some off.
"""

import hmac
from collections import Counter, OrderedDict
from typing import Final

from edge.ftp.addresses import network_of
from zentransfer.ids import CredentialID
from zentransfer.limits import (
    FTP_LOGIN_PAUSE_MAX_S,
    FTP_LOGIN_PAUSE_S,
    FTP_NETWORKS_MAX,
    FTP_WRONG_FADES_S,
    FTP_WRONG_MAX,
)

_GOOD: Final = 20.0  # wrong passwords that a right one makes up for
_TO_THE_LONGEST: Final = 20.0  # wrong passwords until the pause is the longest


class Defence:
    """What one process knows of wrong passwords, and of who is signed in."""

    def __init__(self, key: bytes) -> None:
        """Count under *key*, which is random and of this process."""
        self._key = key
        self._wrong = OrderedDict[bytes, tuple[float, float]]()  # count, and as of when
        self._signed_in = Counter[CredentialID]()

    def is_shut(self, address: str, now_s: float) -> bool:
        """Say whether the network of *address* has to wait outside; *now_s* is the loop's time."""
        return self._count(self._network(address), now_s) >= FTP_WRONG_MAX

    def wrong(self, address: str, now_s: float) -> float:
        """Count a wrong password from *address*; returns by how much its answer waits.

        As a factor of the shortest pause, from 1 to FTP_LOGIN_PAUSE_MAX_S seconds' worth.
        """
        network = self._network(address)
        count = self._count(network, now_s) + 1
        self._keep(network, count, now_s)
        most = FTP_LOGIN_PAUSE_MAX_S / FTP_LOGIN_PAUSE_S
        return min(most, 1 + (most - 1) * (count - 1) / _TO_THE_LONGEST)

    def right(self, address: str, now_s: float) -> None:
        """Take note that somebody of the network of *address* knows a password."""
        network = self._network(address)
        if network in self._wrong:
            self._keep(network, max(0.0, self._count(network, now_s) - _GOOD), now_s)

    def sessions(self, credential: CredentialID) -> int:
        """Return how many sessions are signed in with *credential*."""
        return self._signed_in[credential]

    def entered(self, credential: CredentialID) -> None:
        """Count a session that is signed in with *credential*."""
        self._signed_in[credential] += 1

    def left(self, credential: CredentialID) -> None:
        """Count a session of *credential* no more."""
        self._signed_in[credential] -= 1
        if not self._signed_in[credential]:
            del self._signed_in[credential]

    # -- inside ----------------------------------------------------------------------------------

    def _network(self, address: str) -> bytes:
        """Return the fingerprint of the network of *address*."""
        return hmac.digest(self._key, network_of(address).encode(), "sha256")[:16]

    def _count(self, network: bytes, now_s: float) -> float:
        count, since_s = self._wrong.get(network, (0.0, now_s))
        return max(0.0, count - (now_s - since_s) / FTP_WRONG_FADES_S)

    def _keep(self, network: bytes, count: float, now_s: float) -> None:
        self._wrong[network] = (min(count, FTP_WRONG_MAX + 1.0), now_s)
        self._wrong.move_to_end(network)
        if len(self._wrong) > FTP_NETWORKS_MAX:
            self._wrong.popitem(last=False)
