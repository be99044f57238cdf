import pytest

from control.database import MemoryDatabase
from control.facts.plan import NewEvent
from tests.control.builders import NOW_MS, account, fixed, outcome
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
