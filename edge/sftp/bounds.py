"""What the SFTP door bears and how long it waits, together.  Pure."""

from dataclasses import dataclass
from typing import Final

from zentransfer.limits import (
    FTP_IDLE_S,
    FTP_LOGIN_PAUSE_S,
    FTP_LOGIN_S,
    SFTP_CHANNELS_MAX,
    SFTP_CONNECTIONS_MAX,
    SFTP_HANDSHAKES_MAX,
    SFTP_PER_ADDRESS_MAX,
)

DIALECT: Final = "sftp"
"""Such an upload is not continued yet: what a crash cuts is aborted."""

FOLDER: Final = "sftp"
"""Where host keys are in the node's data folder; to be there before anything is shut off."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Counts of connections and of sessions on one, and seconds."""

    connections_max: int = SFTP_CONNECTIONS_MAX
    handshakes_max: int = SFTP_HANDSHAKES_MAX
    per_address_max: int = SFTP_PER_ADDRESS_MAX
    channels_max: int = SFTP_CHANNELS_MAX
    login_s: float = FTP_LOGIN_S
    login_pause_s: float = FTP_LOGIN_PAUSE_S
    idle_s: float = FTP_IDLE_S

    @property
    def handshakes_per_address_max(self) -> int:
        """How many that are not signed in one address may have."""
        return max(1, self.handshakes_max // 4)
