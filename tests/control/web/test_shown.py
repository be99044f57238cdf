from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

from control.uploads.model import (
    DeletionReason,
    DeliveryState,
    OutcomeState,
    Receiving,
    SealedName,
)
from control.web.bodies import rfc3339
from tests.control.builders import FR_1, NOW_MS, delivery_change, outcome, receipt
from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer.ids import Region
from zentransfer.sealed_name import FileName, seal

UNSIGNED: dict[str, Any] = {
    "audit_sequence": 0,
    "audit_hash": b"",
    "signature": b"",
    "root_key": b"",
}


def with_desk(case: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with served() as desk:
            await case(desk)

    real_loop(run())


async def refused(answer: Awaitable[tuple[int, Any]], status: int, code: str) -> None:
    got, document = await answer
    assert (got, document["code"]) == (status, code), document


def test_what_never_was_whole_ends_destroyed_and_says_how_it_ended() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        states = {OutcomeState.FAILED: "timeout", OutcomeState.CANCELLED: "gone"}
        for state, error in states.items():
            one = outcome(nina, state, state=state, error=error, digest=None)
            one = replace(one, size_bytes=300, announced_bytes=900)
            await desk.tell(one)
            path = f"/uploads/{one.upload_id}"
            _, shown = await desk.call("GET", path, token)
            assert (shown["state"], shown["outcome"]) == (state, state)
            assert (shown["size"], shown["received"], shown["error"]) == (900, 300, error)
            gone = receipt(one, reason=DeletionReason.UNFINISHED, run_id=None, **UNSIGNED)
            await desk.tell(gone)
            _, shown = await desk.call("GET", path, token)
            assert (shown["state"], shown["outcome"]) == ("destroyed", state)
            assert shown["destroyed_at"] == rfc3339(gone.removed_ms)
            assert (shown["receipt"]["reason"], shown["receipt"]["signature"]) == (
                "unfinished",
                None,
            )
            assert shown["events"][-1]["detail"] == "unfinished"
        never = outcome(nina, "never", state=OutcomeState.EXPIRED, error="timeout", digest=None)
        never = replace(never, size_bytes=0, destroyed_ms=never.ended_ms)
        await desk.tell(never)
        _, shown = await desk.call("GET", f"/uploads/{never.upload_id}", token)
        assert (shown["state"], shown["outcome"], shown["size"]) == ("destroyed", "expired", None)
        assert (shown["destroyed_at"], shown["receipt"]) == (rfc3339(never.ended_ms), None)

    with_desk(case)


def test_the_digest_is_shown_that_was_computed_on_the_way_to_a_destination() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        one = outcome(nina, digest=None)
        await desk.tell(one, delivery_change(one, DeliveryState.RUN))
        path = f"/uploads/{one.upload_id}"
        _, shown = await desk.call("GET", path, token)
        assert shown["digest"] is None
        await desk.tell(delivery_change(one, attempt=2, fence=2, digest=bytes(range(32))))
        _, shown = await desk.call("GET", path, token)
        assert shown["digest"] == "sha256:" + bytes(range(32)).hex()

    with_desk(case)


def test_an_upload_that_is_coming_is_shown_until_its_outcome_is() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        ola, other = await desk.account("ola")
        one = outcome(nina, digest=None)
        public = desk.services.tools.keys.public(nina.id)
        name = seal(public.key, nina.id, one.upload_id, FileName("match", "DSC_1.JPG"))
        coming = Receiving(
            upload_id=one.upload_id,
            account_id=nina.id,
            node=FR_1,
            region=Region.FR,
            name=SealedName(public.kid, name),
            created_ms=one.created_ms,
            received_bytes=300,
            announced_bytes=1000,
            durable=True,
        )
        book, path = desk.services.receiving, f"/uploads/{one.upload_id}"
        book.take([coming], "stream", NOW_MS)
        status, shown = await desk.call("GET", path, token)
        assert (status, shown["state"], shown["name"]) == (200, "receiving", "DSC_1.JPG")
        assert (shown["size"], shown["received"], shown["node"]) == (1000, 300, "fr-1")
        assert (shown["outcome"], shown["deliveries"], shown["receipt"]) == (None, [], None)
        assert [event["type"] for event in shown["events"]] == ["upload.begun"]
        _, page = await desk.call("GET", "/uploads", token)
        listed = shown.keys() - {"events", "receipt"}
        assert page["items"] == [{key: shown[key] for key in listed}]
        await refused(desk.call("POST", f"{path}/cancel", token), 409, "conflict")
        await refused(desk.call("GET", path, other), 404, "not_found")
        assert (await desk.call("GET", "/uploads", other))[1]["items"] == []
        await desk.tell(one)
        book.take([replace(coming, received_bytes=400)], "stream", NOW_MS)  # late
        _, shown = await desk.call("GET", path, token)
        assert (shown["state"], shown["received"]) == ("committed", 1000)
        _, page = await desk.call("GET", "/uploads", token)
        assert [item["state"] for item in page["items"]] == ["committed"]
        assert len(book) == 0, "an outcome ends it"
        foreign = replace(coming, account_id=ola.id)
        book.take([foreign], "stream", NOW_MS)
        await refused(desk.call("GET", path, other), 404, "not_found")

    with_desk(case)


def test_pages_hold_what_is_coming_in_its_place() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        made = [outcome(nina, n, created_ms=NOW_MS + n) for n in range(20)]
        await desk.tell(*made[::2])
        coming = [
            Receiving(
                one.upload_id, nina.id, FR_1, Region.FR, None, one.created_ms, 1, None, durable=True
            )
            for one in made[1::2]
        ]
        desk.services.receiving.take(coming, "stream", NOW_MS)
        seen: list[str] = []
        cursor = cast("str | None", "")
        while cursor is not None:
            after = f"&cursor={cursor}" if cursor else ""
            _, page = await desk.call("GET", f"/uploads?limit=3{after}", token)
            seen += [one["id"] for one in page["items"]]
            cursor = page["next"]
        assert seen == [one.upload_id for one in reversed(made)]

    with_desk(case)
