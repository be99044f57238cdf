"""Keys of a region for tests, made from a seed without a disk."""

from dataclasses import dataclass, field
from random import Random

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.keys import SUITE, RegionPublicKeys
from edge.seal.broken import Broken, Reason
from edge.seal.header import Header
from zentransfer.ids import Region


@dataclass
class SeededKeys:
    """Both halves of a region's keys; ``opened`` lists what the private half was asked for."""

    seed: int = 0
    region: Region = Region.FR
    kid: str = "fr-2026-11"
    opened: list[Header] = field(default_factory=list[Header])

    def __post_init__(self) -> None:
        random = Random(self.seed)
        self.private_bytes = random.randbytes(32)
        self._private = X25519PrivateKey.from_private_bytes(self.private_bytes)
        self.public = RegionPublicKeys(
            region=self.region,
            kid=self.kid,
            content=self._private.public_key().public_bytes_raw(),
            destination=random.randbytes(32),
            metadata_kid=self.kid,
            metadata={self.kid: random.randbytes(32)},
            origin=random.randbytes(32),
            destination_kid=self.kid,
        )

    async def open(self, header: Header) -> bytes:
        """Return the data key of a segment, as ``OpenKey`` says."""
        self.opened.append(header)
        if header.place.kid != self.kid:
            raise Broken(Reason.KEY)
        try:
            return SUITE.decrypt(header.sealed_dek, self._private, info=header.place.info())
        except InvalidTag as wrong:
            raise Broken(Reason.KEY) from wrong
