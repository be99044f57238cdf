"""Who asks: from a bearer token to an account.

The rule: only a program's credential opens the API; a camera's writes files and reads nothing.
Whatever is wrong with a token, the answer is the same.
"""

from dataclasses import dataclass
from typing import Final

from control.accounts.handlers import inner_column
from control.accounts.model import Credential, CredentialKind
from control.keystore import KeyStore
from control.unit_of_work import UnitOfWork
from zentransfer.credential import inner_hash, is_right, parse_token
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID

_NOBODY: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed in; the only source of the account in everything that follows."""

    account_id: AccountID
    credential_id: CredentialID
    last_used_ms: int | None = None


async def signed_in(token: str, uow: UnitOfWork, now_ms: int, keys: KeyStore) -> Caller:
    """Return who shows *token*; raises ``Error(UNAUTHENTICATED)``."""
    shown = parse_token(token)
    held = await uow.accounts.maybe_credential(shown.name)
    expected = _NOBODY if held is None else _inner(held, keys)
    if not is_right(expected, inner_hash(shown.secret)) or held is None:
        raise Error(Code.UNAUTHENTICATED)
    account = await uow.accounts.maybe_account(held.account_id)
    is_program = held.kind is CredentialKind.API
    if account is None or not is_program or not held.is_good(account, now_ms):
        raise Error(Code.UNAUTHENTICATED)
    return Caller(account.id, held.id, held.last_used_ms)


def _inner(held: Credential, keys: KeyStore) -> bytes:
    try:
        return keys.unseal(held.account_id, inner_column(held.id), held.inner_sealed)
    except Error:  # the account's key is gone: nobody can be that account any more
        return _NOBODY
