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
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Counts of sessions, seconds, and the patience with a sender's content."""

    sessions_max: int = FTP_SESSIONS_MAX
    per_address_max: int = FTP_SESSIONS_PER_ADDRESS_MAX
    login_s: float = FTP_LOGIN_S
    login_pause_s: float = FTP_LOGIN_PAUSE_S
    idle_s: float = FTP_IDLE_S
    reply_s: float = FTP_REPLY_S
    data_wait_s: float = FTP_DATA_WAIT_S
    content: Patience = field(default_factory=Patience)
