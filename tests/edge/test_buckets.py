"""Files to a bucket, all the way: control, ingest and delivery as programs, moto as the server."""

import json
import signal
import urllib.error
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_system import System, digest, made
from tests.support.s3_server import BUCKET, KEY, KEY_ID, S3Server
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

LAB = "[lab]\nallow_private_destinations = true\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server(tmp_path / "moto.log")
    yield server
    server.stop()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    for name in ("control", "edge"):
        with (tmp_path / f"{name}.toml").open("a") as settings:
            settings.write(LAB)
    yield system
    system.close()


def bucket_of(server: S3Server, **changes: str) -> dict[str, Any]:
    return {
        "kind": "s3",
        "label": "Desk",
        "address": f"s3://{BUCKET}/in box",
        "endpoint": server.url,
        "region": "us-east-1",
        "access_key_id": KEY_ID,
        "secret_access_key": KEY,
        **changes,
    }


def to_bucket(system: System, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Make a destination, a workflow and a credential; returns the destination and the token."""
    desk = system.api("POST", "/destinations", body)
    plan = system.api("POST", "/workflows", {"name": "All", "destinations": [desk["id"]]})
    shown = system.api(
        "POST", "/credentials", {"kind": "api", "label": "A", "workflow": plan["id"]}
    )
    return desk, shown["token"]


def sent(system: System, name: str, content: Path, token: str) -> None:
    """Send a file; a credential that was made a moment ago takes one to arrive at the edge."""
    until(lambda: system.put(name, content, token).status == 201, "the file is taken")


def delivery_of(system: System, name: str) -> dict[str, Any]:
    found = system.upload(name)
    deliveries = [] if found is None else found["deliveries"]
    return deliveries[0] if deliveries else {"state": "", "error": None, "attempts": 0}


def test_files_of_both_sizes_arrive_in_a_bucket_once(system: System, server: S3Server) -> None:
    server.start()
    system.start_all()
    desk, token = to_bucket(system, bucket_of(server))
    assert desk["address"] == f"s3://{BUCKET}/in box"
    assert KEY not in str(desk)
    assert KEY_ID not in str(desk)
    tried = system.api("POST", f"/destinations/{desk['id']}/test")
    assert (tried["tried"], tried["ok"]) == (False, False), "two regions have no node here"
    files = {
        "small.jpg": made(system.folder, "small.jpg", 400_000),
        "large.raw": made(system.folder, "large.raw", 13_000_000),
        "empty": made(system.folder, "empty", 0),
    }
    for name, path in files.items():
        sent(system, name, path, token)
    until(lambda: all(map(system.is_destroyed, files)), "delivered and destroyed", 90)
    seen = server.objects()
    assert {name: sha256(data).hexdigest() for name, data in seen.items()} == {
        f"in box/{name}": digest(path) for name, path in files.items()
    }
    assert server.parts() == 0
    assert system.sealed_files() == []
    kept = b"".join(path.read_bytes() for path in system.folder.rglob("*") if path.is_file())
    assert KEY.encode() not in kept, "neither a log nor a database nor a snapshot holds it"
    for name in ("ingest", "delivery", "control"):
        system.stop(name)


def test_a_wrong_key_and_a_missing_bucket_are_named_and_mended(
    system: System, server: S3Server
) -> None:
    server.start(is_strict=True)
    key_id, key = server.enforce()
    system.start_all()
    wrong, token = to_bucket(system, bucket_of(server, access_key_id=key_id))
    photo = made(system.folder, "a.jpg", 90_000)
    sent(system, "a.jpg", photo, token)
    until(lambda: delivery_of(system, "a.jpg")["state"] == "parked", "the key is refused", 60)
    assert delivery_of(system, "a.jpg")["error"] == "forbidden"

    absent, token = to_bucket(
        system,
        bucket_of(server, address="s3://absent", access_key_id=key_id, secret_access_key=key),
    )
    sent(system, "b.jpg", photo, token)
    until(lambda: delivery_of(system, "b.jpg")["state"] == "parked", "no such bucket", 60)
    assert delivery_of(system, "b.jpg")["error"] == "not_found"

    changed = system.api(
        "PUT",
        f"/destinations/{wrong['id']}/secret",
        {"version": 1, "access_key_id": key_id, "secret_access_key": key},
    )
    assert changed["version"] == 2
    until(lambda: system.is_destroyed("a.jpg"), "by its new key it is delivered", 60)
    server.client("s3", key_id, key).create_bucket(Bucket="absent")
    system.api("POST", f"/deliveries/{delivery_of(system, 'b.jpg')['id']}/retry")
    until(lambda: system.is_destroyed("b.jpg"), "in the new bucket", 60)
    assert server.objects() == {"in box/a.jpg": photo.read_bytes()}
    assert server.objects("absent") == {"b.jpg": photo.read_bytes()}
    assert absent["id"] != wrong["id"]


def test_a_server_that_goes_away_gets_the_file_once_when_it_is_back(
    system: System, server: S3Server
) -> None:
    server.start()
    system.start_all()
    _, token = to_bucket(system, bucket_of(server))
    large = made(system.folder, "large.raw", 80_000_000)
    sent(system, "large.raw", large, token)
    until(lambda: server.said("partNumber=2"), "it is in the middle", 60)
    server.stop()

    def is_told() -> bool:
        told = delivery_of(system, "large.raw")
        return (told["state"], told["error"]) == ("wait", "unavailable")

    until(is_told, "it is told", 90)
    server.start()
    until(lambda: system.is_destroyed("large.raw"), "it is delivered after all", 120)
    assert {name: sha256(data).hexdigest() for name, data in server.objects().items()} == {
        "in box/large.raw": digest(large)
    }
    assert server.parts() == 0


def test_a_killed_delivery_makes_one_object(system: System, server: S3Server) -> None:
    server.start()
    system.start_all()
    _, token = to_bucket(system, bucket_of(server))
    large = made(system.folder, "large.raw", 80_000_000)
    sent(system, "large.raw", large, token)
    until(lambda: server.said("partNumber=2"), "it is in the middle", 60)
    system.stop("delivery", signal.SIGKILL)
    assert server.objects() == {}
    system.start("delivery")
    until(lambda: system.is_destroyed("large.raw"), "another life delivers it", 120)
    assert {name: sha256(data).hexdigest() for name, data in server.objects().items()} == {
        "in box/large.raw": digest(large)
    }


def test_without_the_switch_no_server_of_a_private_network_is_dialled(
    tmp_path: Path, server: S3Server
) -> None:
    server.start()
    system = System(tmp_path)  # the node has no lab; control has, and lets the address pass
    with (tmp_path / "control.toml").open("a") as settings:
        settings.write(LAB)
    try:
        system.start_all()
        _, token = to_bucket(system, bucket_of(server))
        before = server.log()
        sent(system, "a.jpg", made(system.folder, "a.jpg", 5_000), token)
        until(lambda: delivery_of(system, "a.jpg")["state"] == "parked", "it is refused", 60)
        assert delivery_of(system, "a.jpg")["error"] == "forbidden"
        assert server.log() == before, "nobody has dialled it"

        (tmp_path / "control.toml").write_text(
            (tmp_path / "control.toml").read_text().replace(LAB, "")
        )
        system.stop("control")
        system.start("control")
        for endpoint in (server.url, "https://127.0.0.1:8443", "https://[::ffff:10.0.0.1]"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                system.api("POST", "/destinations", bucket_of(server, endpoint=endpoint))
            with refused.value as answer:
                problem = json.loads(answer.read())
            assert answer.code == 400
            assert "https://" in problem["detail"] or "private" in problem["detail"]
    finally:
        system.close()
