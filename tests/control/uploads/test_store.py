import pytest

from control.database import MemoryDatabase
from control.facts.plan import NewEvent, NewOutcome, NewReceipt
from control.uploads.model import DeletionReceipt, Delivery, Upload
from tests.control.builders import (
    FR_1,
    NOW_MS,
    account,
    delivery_change,
    fixed,
    outcome,
    receipt,
)
from tests.support.sim import simulate
from zentransfer.ids import Kind, UploadID
from zentransfer.limits import UPLOAD_EVENTS_SHOWN_MAX

NINA = account("nina")
UPLOAD = UploadID(fixed(Kind.UPLOAD, "one"))


def event(number: int, at_ms: int) -> NewEvent:
    return NewEvent(f"f{number}", b"", NINA.id, UPLOAD, "delivery.run", str(number), at_ms)


@pytest.mark.reaches("UPLOAD_EVENTS_SHOWN_MAX")
def test_a_timeline_holds_the_newest_events_in_the_order_of_their_time() -> None:
    async def check() -> None:
        many = [event(n, NOW_MS - n % 3) for n in range(UPLOAD_EVENTS_SHOWN_MAX + 1)]
        async with MemoryDatabase().write() as uow:
            await uow.accounts.add(NINA)
            await uow.uploads.add_events(many, NOW_MS)
            shown = await uow.uploads.timeline(NINA.id, UPLOAD)
            assert await uow.uploads.timeline(account("ola").id, UPLOAD) == []
            assert await uow.uploads.last_event(NINA.id) == len(many)
            assert await uow.uploads.last_event(account("ola").id) == 0
        assert len(shown) == UPLOAD_EVENTS_SHOWN_MAX
        assert "0" not in {one.detail for one in shown}
        places = [(one.at_ms, one.number) for one in shown]
        assert places == sorted(places)

    simulate(check())


def test_an_upload_that_control_does_not_know_is_not_there() -> None:
    async def check() -> None:
        async with MemoryDatabase().read() as uow:
            assert await uow.uploads.maybe_upload(NINA.id, outcome(NINA).upload_id) is None
            assert await uow.uploads.page(NINA.id, 10, None) == []

    simulate(check())


@pytest.mark.parametrize(
    "told",
    [
        receipt(outcome(NINA)),
        receipt(outcome(NINA), run_id=None, undelivered=("ds_2", "ds_1"), audit_sequence=0),
        receipt(outcome(NINA), audit_sequence=0, audit_hash=b"", signature=b"", root_key=b""),
    ],
    ids=["signed", "at the chain's beginning", "unsigned"],
)
def test_a_receipt_is_kept_as_it_was_told(told: DeletionReceipt) -> None:
    one = outcome(NINA)

    async def check() -> None:
        async with MemoryDatabase().write() as uow:
            await uow.accounts.add(NINA)
            await uow.uploads.add_outcomes([NewOutcome(one, b"")], FR_1, NOW_MS)
            await uow.uploads.add_receipts([NewReceipt(told, b"")], NOW_MS)
            found = await uow.uploads.maybe_upload(NINA.id, one.upload_id)
            assert found == Upload(one, FR_1, (), told)

    simulate(check())


def test_what_belongs_to_somebody_else_is_not_there() -> None:
    one = outcome(NINA)
    held = Delivery(delivery_change(one), FR_1, NOW_MS)
    nina, ola = NINA.id, account("ola").id

    async def check() -> None:
        async with MemoryDatabase().write() as uow:
            await uow.accounts.add(NINA)
            await uow.uploads.add_outcomes([NewOutcome(one, b"")], FR_1, NOW_MS)
            await uow.uploads.put_deliveries([held])
            await uow.uploads.add_receipts([NewReceipt(receipt(one), b"")], NOW_MS)
            whole = Upload(one, FR_1, (held,), receipt(one))
            assert await uow.uploads.maybe_upload(nina, one.upload_id) == whole
            assert await uow.uploads.page(nina, 9, None) == [whole]
            assert await uow.uploads.maybe_delivery(nina, held.change.delivery_id) == held
            assert await uow.uploads.maybe_upload(ola, one.upload_id) is None
            assert await uow.uploads.page(ola, 9, None) == []
            assert await uow.uploads.maybe_delivery(ola, held.change.delivery_id) is None
            assert await uow.uploads.events_after(ola, 0, 9) == []

    simulate(check())
