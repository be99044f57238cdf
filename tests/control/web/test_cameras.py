import re

from control.accounts.model import CredentialKind
from control.web.bodies import rfc3339
from tests.control.builders import NOW_MS, outcome
from tests.control.web.serving import served
from tests.support.real_loop import real_loop

HOUR_MS = 3_600_000
TYPED = "[a-km-np-z2-9]"


def test_a_camera_gets_a_name_a_secret_to_type_and_a_place() -> None:
    async def run() -> None:
        async with served() as desk:
            _, token = await desk.account("nina")
            _, page = await desk.call("GET", "/workflows", token)
            ask = {
                "kind": "ftp",
                "label": "Z9, left shoulder",
                "folder": "final/left",
                "workflow": page["items"][0]["id"],
                "require_tls": True,
            }
            status, made = await desk.call("POST", "/credentials", token, json=ask)
            assert status == 201
            assert re.fullmatch(f"{TYPED}{{8}}", made["name"])
            assert re.fullmatch(f"{TYPED}{{20}}", made["secret"])
            assert made["token"] is None, "a camera opens no API"
            assert {name: made[name] for name in ask} == ask
            assert made["last_used_at"] is None
            _, page = await desk.call("GET", "/credentials", token)
            assert made["secret"] not in str(page)

    real_loop(run())


def test_the_last_file_of_a_camera_says_when_it_was_used() -> None:
    async def run() -> None:
        async with served() as desk:
            nina, token = await desk.account("nina")
            camera, _ = await desk.issue(nina, CredentialKind.FTP)
            await desk.tell(outcome(nina, "a", credential_id=camera, ended_ms=NOW_MS + HOUR_MS))
            await desk.tell(outcome(nina, "b", credential_id=camera, ended_ms=NOW_MS))
            _, page = await desk.call("GET", "/credentials", token)
            (shown,) = [one for one in page["items"] if one["id"] == camera]
            hour = (NOW_MS + HOUR_MS) // HOUR_MS * HOUR_MS
            assert shown["last_used_at"] == rfc3339(hour)

    real_loop(run())


def test_a_revoked_camera_is_gone_and_nodes_hear_of_it_at_once() -> None:
    async def run() -> None:
        async with served() as desk:
            nina, token = await desk.account("nina")
            camera, _ = await desk.issue(nina, CredentialKind.FTP)
            before = len(desk.changes)
            assert (await desk.call("DELETE", f"/credentials/{camera}", token))[0] == 204
            assert len(desk.changes) == before + 1
            _, page = await desk.call("GET", "/credentials", token)
            assert camera not in {one["id"] for one in page["items"]}

    real_loop(run())
