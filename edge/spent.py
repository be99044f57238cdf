"""Which tickets were spent: each opens one upload, whichever process of the region is shown it.

The rules: the node's own memory is a file made once, so its workers agree and a restart forgets
nothing; the region's other nodes are asked where there is a way to them, by clocks that may differ.
What nobody needs to remember any more is forgotten, a few at a time; and a memory that is full
spends nothing (law 7), of which no account may have more than its part.
"""

from collections import Counter, deque
from contextlib import suppress
from typing import Final

from edge.handover import Flaw, Ticket, TicketRefused
from edge.region_state import RegionState
from zentransfer.clock import Clock
from zentransfer.disk import Disk
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID
from zentransfer.limits import (
    ADMISSION_RETRY_AFTER_S,
    HANDOVER_SKEW_S,
    HANDOVERS_FORGOTTEN_AT_ONCE,
    HANDOVERS_KEPT_MAX,
    HANDOVERS_PER_ACCOUNT_MAX,
)

_DIGITS: Final = (
    16  # of a name's first part: until when it is kept, in ms, so that names are sorted
)


class SpentTickets:
    """The tickets that were spent at this node, in a folder that all its workers share."""

    def __init__(self, disk: Disk, folder: str, region: RegionState | None, clock: Clock) -> None:
        """Go on with what earlier lives left in *folder*, which is there; raises ``OSError``."""
        self._disk = disk
        self._folder = folder
        self._region = region
        self._clock = clock
        # The names in order, and whose they are; of earlier lives nobody knows whose.
        self._kept = deque[tuple[str, AccountID | None]](
            (name, None) for name in sorted(disk.names(folder))
        )
        self._of_account = Counter[AccountID]()

    async def spend(self, ticket: Ticket) -> None:
        """Spend *ticket*; returns when no other process of the node can any more.

        Raises :class:`TicketRefused` (SPENT) if it was before, and ``Error``: OVERLOADED while too
        many are remembered, RATE_LIMITED of its account, UNAVAILABLE when the disk takes no name.
        """
        self._forget()
        if len(self._kept) >= HANDOVERS_KEPT_MAX:
            raise Error(Code.OVERLOADED, retry_after_s=ADMISSION_RETRY_AFTER_S)
        if self._of_account[ticket.account] >= HANDOVERS_PER_ACCOUNT_MAX:
            raise Error(Code.RATE_LIMITED, retry_after_s=ADMISSION_RETRY_AFTER_S)
        name = f"{ticket.expires_ms:0{_DIGITS}x}-{ticket.nonce.hex()}"
        try:
            self._disk.create(f"{self._folder}/{name}").close()
        except FileExistsError as spent:
            raise TicketRefused(Flaw.SPENT) from spent
        except OSError as refused:
            raise Error(Code.UNAVAILABLE, retry_after_s=ADMISSION_RETRY_AFTER_S) from refused
        self._kept.append((name, ticket.account))
        self._of_account[ticket.account] += 1
        if self._region is not None:
            # A process whose clock is behind takes it for good for so much longer.
            left_s = (ticket.expires_ms - self._clock.now_ms()) / 1000 + HANDOVER_SKEW_S
            if await self._region.is_first(ticket.nonce, left_s) is False:
                raise TicketRefused(Flaw.SPENT)

    def _forget(self) -> None:
        """Forget what is over; names come nearly in order, and a late one waits for the next."""
        over_ms = max(self._clock.now_ms() - int(HANDOVER_SKEW_S * 1000), 0)
        over = f"{over_ms:0{_DIGITS}x}"
        for _ in range(HANDOVERS_FORGOTTEN_AT_ONCE):
            if not self._kept or self._kept[0][0] >= over:
                return
            name, account = self._kept.popleft()
            with suppress(OSError):  # another worker forgot it
                self._disk.unlink(f"{self._folder}/{name}")
            if account is None:
                continue
            self._of_account[account] -= 1
            if not self._of_account[account]:
                del self._of_account[account]
