"""One transaction over control's stores, and the contract of the databases that offer it.

The rule: what a handler does inside one block happens wholly or not at all, and it is durable when
the block has ended.  So whoever waits for a commit (an ack to a node, an answer to a person) puts
its reply behind the block.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, final

from control.accounts.store import AccountStore
from control.accounts.workflow_store import WorkflowStore
from control.billing.store import LedgerStore
from control.connection import Connection
from control.facts.store import FactStore
from control.fleet.region_keys import RegionKeyStore
from control.fleet.snapshot_store import SnapshotStore
from control.uploads.store import UploadStore


@final
class UnitOfWork:
    """The stores, all inside the same transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.accounts = AccountStore(connection)
        self.workflows = WorkflowStore(connection)
        self.uploads = UploadStore(connection)
        self.facts = FactStore(connection)
        self.ledger = LedgerStore(connection)
        self.snapshots = SnapshotStore(connection)
        self.region_keys = RegionKeyStore(connection)


class Database(Protocol):
    """Gives transactions: one writes at a time, a reader sees one state throughout."""

    def write(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a transaction that commits at the end of its block and rolls back if it raises.

        The block waits for nobody but the database: all other writers wait for it.  Raises
        ``Error``: ``OVERLOADED`` when the wait for them is too long, ``INSUFFICIENT_STORAGE`` or
        ``UNAVAILABLE`` when the disk refuses; then nothing is changed.
        """
        ...

    def read(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a transaction that sees one state throughout and refuses to write.

        Raises ``Error``: ``OVERLOADED``, ``UNAVAILABLE``.
        """
        ...

    async def close(self) -> None:
        """End every connection; idempotent."""
        ...
