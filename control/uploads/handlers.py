"""What an owner may ask of an upload: to give it up, or to try a delivery again.

The rules: what was asked is in the timeline before it is sent, so that an owner sees it whatever
becomes of it; and an upload without an end is shown as its node told it last.
"""

from typing import Final

from control.canonical import digest
from control.facts.plan import NewEvent
from control.paging import Position
from control.unit_of_work import UnitOfWork
from control.uploads.commands import Command, CommandKind
from control.uploads.model import DeliveryState, OutcomeState, Receiving, Upload, UploadState
from control.uploads.receiving import ReceivingBook
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CommandID, DeliveryID, IdMaker, Kind, NodeID, UploadID

_CANCELLABLE: Final = frozenset({UploadState.COMMITTED, UploadState.DELIVERING, UploadState.FAILED})
_RETRYABLE: Final = frozenset({DeliveryState.WAIT, DeliveryState.PARKED, DeliveryState.FAILED})


async def cancel_upload(
    owner: AccountID, wanted: UploadID, uow: UnitOfWork, now_ms: int, ids: IdMaker
) -> Command:
    """Ask to give up an upload; returns the command to send once this is committed.

    Raises ``Error``: NOT_FOUND, CONFLICT when nothing is left to give up.
    """
    upload = await _upload(owner, wanted, uow)
    is_held = upload.outcome.state is OutcomeState.COMMITTED
    if not is_held or upload.state not in _CANCELLABLE:
        raise Error(Code.CONFLICT, "the upload has ended; there is nothing left to cancel")
    command = _command(CommandKind.CANCEL, wanted, upload, upload.node, ids)
    await uow.uploads.add_events([_asked(command, now_ms)], now_ms)
    return command


async def receiving_page(
    owner: AccountID, count: int, after: Position | None, uow: UnitOfWork, book: ReceivingBook
) -> list[Receiving]:
    """Return up to *count* uploads of *owner* that have no end yet, the newest first."""
    while True:
        found = book.newest(owner, count, after)
        if not found:
            return found
        ended = await uow.uploads.ended(one.upload_id for one in found)
        if not ended:
            return found
        book.ended(ended)  # an outcome always wins


async def maybe_upload(
    owner: AccountID, wanted: UploadID, uow: UnitOfWork, book: ReceivingBook
) -> Upload | Receiving | None:
    """Return an upload of *owner*, by its outcome if it has one; ``None`` for an unknown one."""
    upload = await uow.uploads.maybe_upload(owner, wanted)
    if upload is not None:
        return upload
    found = book.maybe(owner, wanted)
    return None if found is None or await uow.uploads.ended([wanted]) else found


async def retry_delivery(
    owner: AccountID, wanted: DeliveryID, uow: UnitOfWork, now_ms: int, ids: IdMaker
) -> Command:
    """Ask to try a delivery again, now; returns the command to send once this is committed.

    Raises ``Error``: NOT_FOUND, CONFLICT when it runs, has ended well or its content is gone.
    """
    delivery = await uow.uploads.maybe_delivery(owner, wanted)
    if delivery is None:
        raise Error(Code.NOT_FOUND)
    upload = await _upload(owner, delivery.change.upload_id, uow)
    if upload.receipt is not None or delivery.change.state not in _RETRYABLE:
        raise Error(Code.CONFLICT, "this delivery cannot be tried again; see its state")
    command = _command(CommandKind.RETRY, wanted, upload, delivery.node, ids)
    await uow.uploads.add_events([_asked(command, now_ms)], now_ms)
    return command


async def _upload(owner: AccountID, wanted: UploadID, uow: UnitOfWork) -> Upload:
    upload = await uow.uploads.maybe_upload(owner, wanted)
    if upload is None:
        raise Error(Code.NOT_FOUND)
    return upload


def _command(
    kind: CommandKind, argument: str, upload: Upload, node: NodeID, ids: IdMaker
) -> Command:
    return Command(
        id=CommandID(ids.make(Kind.COMMAND)),
        kind=kind,
        argument=argument,
        account_id=upload.outcome.account_id,
        upload_id=upload.outcome.upload_id,
        region=upload.outcome.region,
        node=node,
    )


def _asked(command: Command, now_ms: int) -> NewEvent:
    return NewEvent(
        id=command.id,
        fact_digest=digest(command),
        account_id=command.account_id,
        upload_id=command.upload_id,
        type=f"{command.kind}.asked",
        detail=command.argument,
        at_ms=now_ms,
    )
