"""What an outcome costs in quantities: the one place where usage becomes postings.  Pure.

The rule: only what was committed counts.  Given-up uploads, bytes sent again and failures of ours
are nobody's usage.
"""

from control.billing.ledger import Cause, Transaction, Unit, moved
from control.uploads.model import Outcome, OutcomeState
from zentransfer.ids import AccountID, Region


def usage_account(account: AccountID) -> str:
    """Return the ledger account that holds what *account* used, on its debit side."""
    return f"usage:{account}"


def accepted_account(region: Region) -> str:
    """Return the ledger account that holds what *region* took in, on its credit side."""
    return f"accepted:{region}"


def maybe_usage(outcome: Outcome, at_ms: int) -> Transaction | None:
    """Return the postings of *outcome*: its bytes and one file; ``None`` if it costs nothing."""
    if outcome.state is not OutcomeState.COMMITTED:
        return None
    debit, credit = usage_account(outcome.account_id), accepted_account(outcome.region)
    postings = (
        *moved(Unit.BYTE, outcome.size_bytes, debit=debit, credit=credit),
        *moved(Unit.FILE, 1, debit=debit, credit=credit),
    )
    return Transaction(Cause.OUTCOME, outcome.id, at_ms, postings)
