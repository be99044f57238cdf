import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

import pytest

from control.uploads.commands import CommandKind
from control.uploads.model import DeliveryState, OutcomeState, SealedName
from control.web.bodies import rfc3339
from tests.control.builders import NOW_MS, delivery_change, destination, outcome, receipt
from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer.credential import parse_token
from zentransfer.ids import Region
from zentransfer.limits import (
    API_BODY_BYTES_MAX,
    API_CURSOR_CHARS_MAX,
    PAGE_ITEMS,
    PAGE_ITEMS_MAX,
)
from zentransfer.sealed_name import FileName, seal

FOLDER = {"kind": "folder", "label": "Desk", "address": "/srv/a"}
JSON = {"Content-Type": "application/json"}
HOUR_MS = 3_600_000


def with_desk(case: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with served() as desk:
            await case(desk)

    real_loop(run())


async def refused(answer: Awaitable[tuple[int, Any]], status: int, code: str) -> str:
    """Check that an answer is the problem details of *code*; return its detail."""
    got, document = await answer
    assert (got, document["status"], document["code"]) == (status, status, code), document
    assert document.keys() >= {"type", "title", "detail"}
    detail: str = document["detail"]
    return detail


# -- the natural path ------------------------------------------------------------------------------


def test_an_owner_sets_up_where_files_go() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        desk.clock.advance(1)
        status, folder = await desk.call("POST", "/destinations", token, json=FOLDER)
        assert status == 201
        assert folder == {
            **FOLDER,
            "id": folder["id"],
            "version": 1,
            "clash": "keep_both",
            "endpoint": None,
            "region": None,
            "created_at": rfc3339(NOW_MS + 1),
        }
        tried = await desk.call("POST", f"/destinations/{folder['id']}/test", token)
        assert tried == (200, {"ok": True, "tried": True, "code": None, "detail": ""})
        assert [one.id for one in desk.probed] == [folder["id"]]
        rule = {
            "conditions": [{"kind": "name", "pattern": "*.jpg", "negated": True}],
            "destinations": [folder["id"]],
            "priority": True,
        }
        plan = {
            "name": "Sport",
            "folder": "sport",
            "rules": [rule],
            "destinations": [folder["id"]],
        }
        status, flow = await desk.call("POST", "/workflows", token, json=plan)
        assert (status, flow["version"], flow["rules"]) == (201, 1, [rule])
        path = f"/workflows/{flow['id']}"
        changed = {**plan, "name": "Sports", "version": 1}
        status, flow = await desk.call("PUT", path, token, json=changed)
        assert (status, flow["version"], flow["name"]) == (200, 2, "Sports")
        await refused(desk.call("PUT", path, token, json=changed), 409, "conflict")
        ask = {
            "kind": "ftp",
            "label": "Z9",
            "workflow": flow["id"],
            "require_tls": True,
            "expires_at": "2027-12-31T00:00:00+01:00",
        }
        status, camera = await desk.call("POST", "/credentials", token, json=ask)
        assert status == 201
        assert (camera["folder"], camera["token"], camera["require_tls"]) == ("sport", None, True)
        assert camera["expires_at"] == "2027-12-30T23:00:00.000Z"
        assert (len(camera["name"]), len(camera["secret"])) == (8, 20)
        _, listed = await desk.call("GET", "/credentials", token)
        kept = next(one for one in listed["items"] if one["id"] == camera["id"])
        assert kept == {key: camera[key] for key in camera if key not in ("secret", "token")}
        await refused(desk.call("DELETE", path, token), 409, "conflict")
        for path in (
            f"/credentials/{camera['id']}",
            f"/workflows/{flow['id']}",
            f"/destinations/{folder['id']}",
        ):
            assert await desk.call("DELETE", path, token) == (204, "")
            await refused(desk.call("DELETE", path, token), 404, "not_found")
        assert len(desk.changes) == 7, "nodes hear of every change and of nothing else"

    with_desk(case)


def test_a_new_programs_token_works_at_once() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        ask = {"kind": "api", "label": "Script"}
        _, made = await desk.call("POST", "/credentials", token, json=ask)
        shown = parse_token(made["token"])
        assert (shown.name, shown.secret) == (made["name"], made["secret"])
        status, page = await desk.call("GET", "/uploads", made["token"])
        assert (status, page) == (200, {"items": [], "next": None})

    with_desk(case)


def test_an_upload_is_shown_with_its_name_deliveries_and_timeline() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        one = outcome(nina, digest=bytes(range(32)))
        public = desk.services.tools.keys.public(nina.id)
        name = seal(public.key, nina.id, one.upload_id, FileName("match", "DSC_1.JPG"))
        one = replace(one, name=SealedName(public.kid, name))
        failed = delivery_change(one, DeliveryState.WAIT, error="timeout")
        await desk.tell(one, failed)
        _, first = await desk.call("GET", f"/uploads/{one.upload_id}", token)
        assert (first["name"], first["folder"]) == ("DSC_1.JPG", "match")
        assert (first["state"], first["destroyed_at"]) == ("delivering", None)
        assert (first["outcome"], first["error"]) == ("committed", None)
        assert first["receipt"] is None
        (waiting,) = first["deliveries"]
        assert (waiting["state"], waiting["error"]) == ("wait", "timeout")
        assert waiting["advice"].endswith("it is tried again by itself")
        await desk.tell(delivery_change(one, attempt=2, fence=2), receipt(one))
        status, shown = await desk.call("GET", f"/uploads/{one.upload_id}", token)
        assert status == 200
        assert shown == {
            "id": one.upload_id,
            "name": "DSC_1.JPG",
            "folder": "match",
            "size": 1000,
            "received": 1000,
            "region": "fr",
            "node": "fr-1",
            "state": "destroyed",
            "outcome": "committed",
            "error": None,
            "created_at": rfc3339(NOW_MS),
            "committed_at": rfc3339(NOW_MS + 1000),
            "destroyed_at": rfc3339(NOW_MS + 3001),
            "digest": "sha256:" + bytes(range(32)).hex(),
            "deliveries": [
                {
                    "id": failed.delivery_id,
                    "destination": destination(nina).id,
                    "state": "delivered",
                    "attempts": 2,
                    "error": None,
                    "advice": "",
                    "delivered_at": rfc3339(NOW_MS + 3),
                }
            ],
            "events": [
                {"at": rfc3339(NOW_MS), "type": "upload.begun", "detail": ""},
                {"at": rfc3339(NOW_MS + 1), "type": "upload.committed", "detail": ""},
                {
                    "at": rfc3339(NOW_MS + 2),
                    "type": "delivery.wait",
                    "detail": f"{failed.delivery_id} timeout",
                },
                {
                    "at": rfc3339(NOW_MS + 3),
                    "type": "delivery.delivered",
                    "detail": failed.delivery_id,
                },
                {"at": rfc3339(NOW_MS + 4), "type": "content.destroyed", "detail": "delivered"},
            ],
            "receipt": {
                "upload": one.upload_id,
                "account": nina.id,
                "run": failed.run_id,
                "reason": "delivered",
                "region": "fr",
                "size": 1000,
                "keys_destroyed_at": rfc3339(NOW_MS + 3000),
                "removed_at": rfc3339(NOW_MS + 3001),
                "undelivered": [],
                "audit_sequence": 7,
                "audit_hash": bytes(range(32)).hex(),
                "signature": bytes(range(64)).hex(),
                "root_key": bytes(range(1, 33)).hex(),
            },
        }
        _, page = await desk.call("GET", "/uploads", token)
        listed = shown.keys() - {"events", "receipt"}
        assert page["items"] == [{key: shown[key] for key in listed}]

    with_desk(case)


def test_a_name_that_cannot_be_opened_is_left_out() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        ola, _ = await desk.account("ola")
        damaged, foreign, none = (outcome(nina, name) for name in ("damaged", "foreign", "none"))
        other = desk.services.tools.keys.public(ola.id)
        sealed = seal(other.key, nina.id, foreign.upload_id, FileName("", "a.jpg"))
        await desk.tell(
            damaged, replace(foreign, name=SealedName(other.kid, sealed)), replace(none, name=None)
        )
        for one in (damaged, foreign, none):
            status, shown = await desk.call("GET", f"/uploads/{one.upload_id}", token)
            assert (status, shown["name"], shown["folder"]) == (200, None, None)

    with_desk(case)


def test_a_cancellation_and_a_retry_are_asked_for_and_shown() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        one = outcome(nina)
        parked = delivery_change(one, DeliveryState.PARKED, error="forbidden")
        await desk.tell(one, parked)
        desk.clock.advance(100)
        path = f"/uploads/{one.upload_id}"
        status, asked = await desk.call("POST", f"/deliveries/{parked.delivery_id}/retry", token)
        assert (status, asked["kind"]) == (202, "retry")
        status, asked = await desk.call("POST", f"{path}/cancel", token)
        assert (status, asked["kind"]) == (202, "cancel")
        assert desk.commands.take(Region.US) == []
        commands = desk.commands.take(Region.FR)
        assert [one.kind for one in commands] == [CommandKind.RETRY, CommandKind.CANCEL]
        assert [one.argument for one in commands] == [parked.delivery_id, one.upload_id]
        assert commands[1].id == asked["command"]
        _, shown = await desk.call("GET", path, token)
        assert [event["type"] for event in shown["events"]][-2:] == ["retry.asked", "cancel.asked"]
        await desk.tell(receipt(one))
        await refused(desk.call("POST", f"{path}/cancel", token), 409, "conflict")
        retry = desk.call("POST", f"/deliveries/{parked.delivery_id}/retry", token)
        await refused(retry, 409, "conflict")
        assert desk.commands.take(Region.FR) == []

    with_desk(case)


def test_what_runs_or_ended_well_is_not_tried_again() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        for state in (DeliveryState.RUN, DeliveryState.DELIVERED, DeliveryState.CANCELLED):
            one = outcome(nina, state)
            change = delivery_change(one, state)
            await desk.tell(one, change)
            retry = desk.call("POST", f"/deliveries/{change.delivery_id}/retry", token)
            await refused(retry, 409, "conflict")

    with_desk(case)


def test_an_upload_that_never_committed_has_nothing_to_cancel() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        one = outcome(nina, state=OutcomeState.FAILED, error="too_large", digest=None)
        await desk.tell(one)
        _, shown = await desk.call("GET", f"/uploads/{one.upload_id}", token)
        assert (shown["state"], shown["committed_at"], shown["digest"]) == ("failed", None, None)
        await refused(desk.call("POST", f"/uploads/{one.upload_id}/cancel", token), 409, "conflict")

    with_desk(case)


# -- lists -----------------------------------------------------------------------------------------


@pytest.mark.reaches("PAGE_ITEMS_MAX")
@pytest.mark.reaches("PAGE_ITEMS")
def test_pages_hold_every_upload_once_the_newest_first() -> None:
    async def case(desk: Desk) -> None:
        nina, token = await desk.account("nina")
        made = [outcome(nina, n, created_ms=NOW_MS + n // 2) for n in range(PAGE_ITEMS_MAX + 1)]
        for first in range(0, len(made), 100):
            await desk.tell(*made[first : first + 100])
        for limit in ("", "limit=7", f"limit={PAGE_ITEMS_MAX}"):
            seen: list[Any] = []
            pages, cursor = 0, cast("str | None", "")
            while cursor is not None:
                query = "&".join(filter(None, (limit, f"cursor={cursor}" if cursor else "")))
                status, page = await desk.call("GET", f"/uploads?{query}", token)
                assert status == 200
                seen += page["items"]
                cursor, pages = page["next"], pages + 1
            expected = int(limit[6:] or PAGE_ITEMS)
            assert pages == -(-len(made) // expected)
            assert {one["id"] for one in seen} == {one.upload_id for one in made}
            assert len(seen) == len(made)
            times = [one["created_at"] for one in seen]
            assert times == sorted(times, reverse=True)
        too_many = desk.call("GET", f"/uploads?limit={PAGE_ITEMS_MAX + 1}", token)
        await refused(too_many, 400, "invalid")

    with_desk(case)


PLACES = [
    "limit=0",
    "limit=-1",
    "limit=x",
    "limit=",
    "limit=99999999999999999999",
    "cursor=",
    "cursor=%00",
    "cursor=!!!!",
    "cursor=MTIz",
    "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5LmFh",
    "cursor=" + "A" * (API_CURSOR_CHARS_MAX + 1),
    "cursor=%F0%9F%8F%9F",
]


@pytest.mark.reaches("API_CURSOR_CHARS_MAX")
def test_a_place_that_is_none_is_refused() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        for path in ("/uploads", "/destinations", "/workflows", "/credentials"):
            for query in PLACES:
                await refused(desk.call("GET", f"{path}?{query}", token), 400, "invalid")

    with_desk(case)


# -- what is refused -------------------------------------------------------------------------------

CANARY = "nina-canary"
WRONG: dict[str, tuple[str, Any]] = {
    "no object": ("body", []),
    "a kind that is none": ("kind", {**FOLDER, "kind": CANARY}),
    "a field left out": ("label", {"kind": "folder", "address": "/srv"}),
    "a field too much": ("a field that is not known", {**FOLDER, CANARY: CANARY}),
    "a number for a text": ("label", {**FOLDER, "label": 5}),
    "a text for nothing": ("address", {**FOLDER, "address": None}),
    "a label that hides": ("label", {**FOLDER, "label": CANARY + "\u202e"}),
    "a label that is long": ("label", {**FOLDER, "label": CANARY * 100}),
    "a folder elsewhere": ("folder", {**FOLDER, "address": f"/etc/{CANARY}"}),
    "a kind to come": ("s3", {**FOLDER, "kind": "s3"}),
}


def test_a_body_that_is_wrong_is_refused_without_repeating_it() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        for says, body in WRONG.values():
            answer = desk.call("POST", "/destinations", token, json=body)
            detail = await refused(answer, 400, "invalid")
            assert says in detail
            assert CANARY not in detail
        assert desk.changes == []

    with_desk(case)


NO_JSON = ["", "{", "nina", '{"kind": "folder",}', "\ud800", "[" * 2000]
OTHER_TYPES = [
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/json", "Content-Encoding": "gzip"},
]


def test_a_body_that_is_no_json_is_refused() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        for text in NO_JSON:
            content, headers = text.encode(errors="surrogatepass"), dict(JSON)
            answer = desk.call("POST", "/destinations", token, data=content, headers=headers)
            assert "nina" not in await refused(answer, 400, "invalid")
        for other in OTHER_TYPES:
            content, headers = json.dumps(FOLDER).encode(), dict(other)
            answer = desk.call("POST", "/destinations", token, data=content, headers=headers)
            await refused(answer, 415, "unsupported_media")

    with_desk(case)


@pytest.mark.reaches("API_BODY_BYTES_MAX")
def test_a_body_has_a_longest() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        padded = json.dumps(FOLDER).encode().ljust(API_BODY_BYTES_MAX)
        fits = desk.call("POST", "/destinations", token, data=padded, headers=dict(JSON))
        assert (await fits)[0] == 201
        more = padded + b" "
        answer = desk.call("POST", "/destinations", token, data=more, headers=dict(JSON))
        await refused(answer, 413, "too_large")

    with_desk(case)


def test_nothing_is_read_from_a_stranger() -> None:
    async def case(desk: Desk) -> None:
        url = desk.base + "/destinations"
        async with desk.session.post(url, data=b"x" * 1_000_000) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            assert answer.headers["Connection"] == "close"

    with_desk(case)


def test_two_tokens_are_none() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
        async with desk.session.get(desk.base + "/uploads", headers=headers) as answer:
            assert answer.status == 401

    with_desk(case)


def test_what_is_not_in_the_table_is_not_there() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        for method, path, status in (
            ("GET", "/nothing", 404),
            ("PATCH", "/uploads", 405),
            ("DELETE", "/destinations", 405),
            ("GET", "/uploads/up_" + "a" * 26 + "/cancel", 405),
            ("GET", "/uploads/..%2fcredentials", 404),
        ):
            got, document = await desk.call(method, path, token)
            assert (got, document["status"]) == (status, status), path

    with_desk(case)


def test_answers_are_kept_by_nobody() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        headers = {"Authorization": f"Bearer {token}"}
        for path in ("/uploads", "/nothing-of-mine", "/uploads/x"):
            async with desk.session.get(desk.base + path, headers=headers) as answer:
                if answer.status != 404 or path == "/uploads/x":
                    assert answer.headers["Cache-Control"] == "no-store"
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"

    with_desk(case)


def test_the_use_of_a_token_is_noted_once_an_hour() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        used: list[str | None] = []
        for _ in range(3):
            await desk.call("GET", "/uploads", token)
            _, page = await desk.call("GET", "/credentials", token)
            used.append(page["items"][0]["last_used_at"])
            desk.clock.advance(HOUR_MS // 2)
        hour = NOW_MS // HOUR_MS * HOUR_MS
        made = rfc3339(max(hour, NOW_MS))  # its hour had begun before it was made
        assert used == [made, made, rfc3339(hour + HOUR_MS)]

    with_desk(case)


def test_a_token_that_is_over_opens_nothing() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        ask = {"kind": "api", "label": "Script", "expires_at": rfc3339(NOW_MS + 1000)}
        _, made = await desk.call("POST", "/credentials", token, json=ask)
        assert (await desk.call("GET", "/uploads", made["token"]))[0] == 200
        desk.clock.advance(1000)
        await refused(desk.call("GET", "/uploads", made["token"]), 401, "unauthenticated")

    with_desk(case)


def test_a_credential_for_an_unknown_workflow_is_refused() -> None:
    async def case(desk: Desk) -> None:
        _, token = await desk.account("nina")
        for workflow in ("wf_" + "a" * 26, "nonsense", ""):
            ask = {"kind": "ftp", "label": "Z9", "workflow": workflow}
            await refused(desk.call("POST", "/credentials", token, json=ask), 404, "not_found")

    with_desk(case)
