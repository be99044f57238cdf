"""Double entry: a transaction moves amounts between ledger accounts and creates nothing.  Pure.

The rule: in each transaction debits equal credits in every unit, which its constructor checks (and
the database again); its id derives from its cause, so the same cause entered twice is the same
transaction.  What is wrong is corrected by another transaction, never by an edit.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

TransactionID = NewType("TransactionID", str)

AMOUNT_MAX: Final = 2**53 - 1  # what JSON counts exactly (RFC 8259 section 6); 8 PiB


class Unit(StrEnum):
    """What an amount counts."""

    BYTE = "byte"
    FILE = "file"


class Cause(StrEnum):
    """What brings a transaction about; its id is unique within its kind."""

    OUTCOME = "outcome"
    CORRECTION = "correction"


class Unbalanced(ValueError):
    """The postings cannot be a transaction."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One line: an amount above zero on one side of one ledger account."""

    ledger_account: str
    unit: Unit
    debit: int = 0
    credit: int = 0

    def __post_init__(self) -> None:
        amounts = (self.debit, self.credit)
        if min(amounts) != 0 or not 0 < max(amounts) <= AMOUNT_MAX:
            raise Unbalanced("a posting has an amount above zero on one side")

    def turned(self) -> "Posting":
        """Return the posting with its sides exchanged."""
        return Posting(self.ledger_account, self.unit, debit=self.credit, credit=self.debit)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Postings that balance, what caused them, and when it happened (UTC milliseconds).

    Raises :class:`Unbalanced`.
    """

    cause: Cause
    cause_id: str
    at_ms: int
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        sums = Counter[Unit]()
        for posting in self.postings:
            sums[posting.unit] += posting.debit - posting.credit
        if not self.postings or any(sums.values()):
            raise Unbalanced("debits and credits differ")

    @property
    def id(self) -> TransactionID:
        """The id: ``tx_`` and 26 base32 characters of a digest of the cause."""
        digest = hashlib.sha256(f"{self.cause}\0{self.cause_id}".encode()).digest()
        return TransactionID("tx_" + base64.b32encode(digest[:16]).decode()[:26].lower())


def moved(unit: Unit, amount: int, *, debit: str, credit: str) -> tuple[Posting, ...]:
    """Return the two postings that move *amount* of *unit*; none if it is 0."""
    if amount == 0:
        return ()
    return (Posting(debit, unit, debit=amount), Posting(credit, unit, credit=amount))


def corrected(wrong: Transaction, at_ms: int) -> Transaction:
    """Return the transaction that takes back *wrong*; asked for again, the same one."""
    turned = tuple(posting.turned() for posting in wrong.postings)
    return Transaction(Cause.CORRECTION, wrong.id, at_ms, turned)


def balances(transactions: Iterable[Transaction]) -> Counter[tuple[str, Unit]]:
    """Return debits minus credits by ledger account and unit; they add up to 0 in each unit."""
    found = Counter[tuple[str, Unit]]()
    for transaction in transactions:
        for posting in transaction.postings:
            found[posting.ledger_account, posting.unit] += posting.debit - posting.credit
    return found
