from typing import Any

from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer.limits import DESTINATION_SECRET_CHARS_MAX

BUCKET = {
    "kind": "s3",
    "label": "Picture desk",
    "address": "s3://picture-desk/incoming",
    "endpoint": "https://s3.eu-west-3.amazonaws.com",
    "region": "eu-west-3",
    "access_key_id": "AKIANINA",
    "secret_access_key": "never/shown+again",
}


def shown_nowhere(answer: Any) -> None:
    assert "AKIANINA" not in str(answer)
    assert "never/shown" not in str(answer)


def test_an_owner_adds_a_bucket_and_never_sees_its_key_again() -> None:
    async def run() -> None:
        async with served() as desk:
            _, token = await desk.account("nina")
            status, made = await desk.call("POST", "/destinations", token, json=BUCKET)
            assert status == 201, made
            assert made == {
                "id": made["id"],
                "version": 1,
                "kind": "s3",
                "label": "Picture desk",
                "address": "s3://picture-desk/incoming",
                "clash": "keep_both",
                "endpoint": "https://s3.eu-west-3.amazonaws.com",
                "region": "eu-west-3",
                "created_at": made["created_at"],
            }
            path = f"/destinations/{made['id']}/secret"
            new = {"version": 1, "access_key_id": "AKIANINA", "secret_access_key": "never/shown2"}
            status, changed = await desk.call("PUT", path, token, json=new)
            assert (status, changed) == (200, {**made, "version": 2})
            assert (await desk.call("PUT", path, token, json=new))[0] == 409
            assert len(desk.changes) == 2
            _, listed = await desk.call("GET", "/destinations", token)
            shown_nowhere(listed)

    real_loop(run())


def test_what_is_wrong_with_a_bucket_is_said_and_its_key_is_not_repeated() -> None:
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "no key": ({"secret_access_key": None}, "secret_access_key"),
        "a long key": ({"secret_access_key": "k" * (DESTINATION_SECRET_CHARS_MAX + 1)}, ""),
        "a folder's address": ({"address": "/srv/a"}, "s3://"),
        "in clear": ({"endpoint": "http://s3.example.com"}, "https://"),
        "a private server": ({"endpoint": "https://192.168.1.5"}, "private network"),
        "loopback": ({"endpoint": "https://localhost:8443"}, "private network"),
        "a path": ({"endpoint": "https://s3.example.com/desk"}, "server alone"),
        "a strange region": ({"region": "EU West"}, "region"),
        "a folder with a key": ({"kind": "folder", "address": "/srv/a"}, "no endpoint"),
        "a kind that is not offered": ({"kind": "gcs"}, "not offered"),
    }

    async def refuse(desk: Desk, token: str) -> None:
        for changes, says in wrong.values():
            status, problem = await desk.call("POST", "/destinations", token, json=BUCKET | changes)
            assert status == 400, changes
            assert says in problem["detail"], problem
            shown_nowhere(problem)

    async def run() -> None:
        async with served() as desk:
            _, token = await desk.account("nina")
            await refuse(desk, token)

    real_loop(run())
