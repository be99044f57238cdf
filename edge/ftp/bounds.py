"""What the FTP door bears and how long it waits, together.  Pure."""

from dataclasses import dataclass, field

from edge.pace import Patience
from zentransfer.limits import (
    FTP_DATA_WAIT_S,
    FTP_IDLE_S,
    FTP_LOGIN_PAUSE_S,
    FTP_LOGIN_S,
    FTP_REPLY_S,
    FTP_SESSIONS_MAX,
    FTP_SESSIONS_PER_ADDRESS_MAX,
    FTP_SESSIONS_PER_CREDENTIAL_MAX,
    FTP_STRANGERS_MAX,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Counts of sessions, seconds, and the patience with a sender's content.

    ``enters_any``: CWD into a folder that nobody made is fine.
    """

    sessions_max: int = FTP_SESSIONS_MAX
    per_address_max: int = FTP_SESSIONS_PER_ADDRESS_MAX
    strangers_max: int = FTP_STRANGERS_MAX
    per_credential_max: int = FTP_SESSIONS_PER_CREDENTIAL_MAX
    login_s: float = FTP_LOGIN_S
    login_pause_s: float = FTP_LOGIN_PAUSE_S
    idle_s: float = FTP_IDLE_S
    reply_s: float = FTP_REPLY_S
    data_wait_s: float = FTP_DATA_WAIT_S
    enters_any: bool = True
    content: Patience = field(default_factory=Patience)

    @property
    def strangers_per_address_max(self) -> int:
        """How many that are not signed in one address may have."""
        return max(1, self.strangers_max // 4)
