"""Secrets of destinations, opened where they are used and nowhere kept.

The rule: only a delivery process has the key, and what is opened is for this region, account,
destination and version, or it is not opened.
"""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.snapshot import DestinationEntry
from edge.workflow.destinations.base import DestinationError, Fault
from zentransfer.errors import Code, Error
from zentransfer.ids import Region
from zentransfer.sealed_secret import Bound, S3Secret, open_sealed, unpacked

PrivateKey = Callable[[str], X25519PrivateKey]
"""Returns a destination key by its kid; raises ``OSError``, ``ValueError`` without it."""


class Secrets:
    """Opens what control sealed to the keys of *region*."""

    def __init__(self, region: Region, private_key: PrivateKey) -> None:
        """Open with the keys that *private_key* gives."""
        self._region = region
        self._private_key = private_key

    def s3(self, entry: DestinationEntry) -> S3Secret:
        """Return the key of a bucket; raises ``DestinationError`` that says why it cannot be."""
        if not entry.secret:
            # Control seals it as soon as it knows this region's key, and tells us.
            detail = "the key of this destination has not arrived here yet"
            raise DestinationError(Code.UNAVAILABLE, detail, Fault.TEMPORARY)
        bound = Bound(self._region, entry.account_id, entry.id, entry.version)
        try:
            private = self._private_key(entry.secret_kid)
            return unpacked(open_sealed(private, bound, entry.secret))
        except (OSError, ValueError, Error) as wrong:
            detail = "the key of this destination cannot be opened here; give it again"
            raise DestinationError(Code.DAMAGED, detail, Fault.DESTINATION) from wrong
