"""One file all the way: control, ingest and delivery as real processes, curl in front of them."""

import json
import signal
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.camera import photograph
from tests.support.ingest_node import Answer
from tests.support.owner_check import forged, is_genuine
from tests.support.real_proof import Sent, prove
from tests.support.real_system import PROGRAMS, System, digest, made
from tests.support.waiting import until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

RELINK_S = 130.0  # the pauses between dials have grown while control was away: to 60 s each


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    yield system
    system.close()


def test_a_file_is_delivered_destroyed_and_accounted_for(system: System) -> None:
    system.start("control")
    system.start("ingest")
    system.start("delivery")
    until(system.is_serving, "ingest has a snapshot and a pepper")
    assert oct((system.folder / "control" / "first-account.json").stat().st_mode)[-3:] == "600"

    folder = system.delivered / "desk"
    folder.mkdir(parents=True)
    desk = system.api(
        "POST", "/destinations", {"kind": "folder", "label": "Desk", "address": str(folder)}
    )
    plan = system.api("POST", "/workflows", {"name": "To the desk", "destinations": [desk["id"]]})
    shown = system.api(
        "POST", "/credentials", {"kind": "api", "label": "Z9", "workflow": plan["id"]}
    )
    camera = made(system.folder, "DSC_0001.JPG", 3_000_000)
    answers: list[Answer] = []

    def is_taken() -> bool:
        answers.append(system.put("DSC_0001.JPG", camera, shown["token"]))
        return answers[-1].status == 201

    until(is_taken, "the new credential is known at the edge")
    assert all(one.status == 401 for one in answers[:-1])
    until(lambda: system.is_destroyed("DSC_0001.JPG"), "delivered and destroyed")

    assert digest(folder / "DSC_0001.JPG") == digest(camera)
    upload = system.upload("DSC_0001.JPG")
    assert upload is not None
    assert upload["id"] == answers[-1].json["id"]
    assert (upload["size"], upload["region"], upload["node"]) == (3_000_000, "fr", "fr-1")
    assert upload["digest"] == f"sha256:{digest(camera)}"
    (delivery,) = upload["deliveries"]
    assert (delivery["state"], delivery["destination"]) == ("delivered", desk["id"])
    types = [event["type"] for event in upload["events"]]
    assert types[:2] == ["upload.begun", "upload.committed"]
    assert types[-1] == "content.destroyed"
    assert "delivery.delivered" in types
    assert system.sealed_files() == []
    check_receipt(system, upload)
    for name in ("ingest", "delivery", "control"):
        system.stop(name)


def check_receipt(system: System, upload: dict[str, Any]) -> None:
    """Hold the receipt to what is known of the upload, and to the region's own root key."""
    receipt = upload["receipt"]
    assert (receipt["upload"], receipt["account"]) == (upload["id"], system.account["id"])
    assert (receipt["reason"], receipt["undelivered"]) == ("delivered", [])
    assert (receipt["size"], receipt["region"]) == (upload["size"], "fr")
    assert receipt["removed_at"] == upload["destroyed_at"]
    keys = json.loads((system.node / "keys" / "public" / "keys.json").read_text())
    root = b64decode(keys["root"])
    assert is_genuine(receipt, root)
    for other in forged(receipt):
        assert not is_genuine(other, root)


def test_with_control_away_files_go_on_and_the_ledger_is_whole_afterwards(system: System) -> None:
    system.start("control")
    system.start("ingest")
    system.start("delivery")
    until(system.is_serving, "ingest serves")
    until(system.knows, "delivery knows")
    token = system.account["api_token"]
    files = {f"file-{n}.bin": made(system.folder, f"file-{n}.bin", 500_000 + n) for n in range(4)}
    first, *others = files
    sending = system.sending(first, files[first], token, "--limit-rate", "200k")
    until(lambda: system.sealed_files() != [], "the first one is on its way")
    system.stop("control", signal.SIGKILL)
    assert Answer(sending.communicate(timeout=120)[0]).status == 201
    for name in others:
        assert system.put(name, files[name], token).status == 201
    until(lambda: all((system.delivered / name).exists() for name in files), "delivered meanwhile")
    system.stop("ingest", signal.SIGKILL)  # and what it has to tell is durable
    system.start("ingest")
    assert system.is_serving(), "it starts from the last good snapshot"
    system.start("control")
    until(lambda: all(map(system.is_destroyed, files)), "the ledger has heard of all")
    for name, path in files.items():
        assert digest(system.delivered / name) == digest(path)
        upload = system.upload(name)
        assert upload is not None
        assert upload["size"] == path.stat().st_size
    assert system.sealed_files() == []


def test_an_owner_sees_a_file_come_and_what_became_of_one_that_was_cut(system: System) -> None:
    system.start("control")
    system.start("ingest")
    until(system.is_serving, "ingest serves")
    large = made(system.folder, "large.bin", 12_000_000)
    sending = system.sending("large.bin", large, system.account["api_token"], "--limit-rate", "1M")

    def shown() -> dict[str, Any]:
        return system.upload("large.bin") or {}

    until(lambda: shown().get("received", 0) > 0, "it is seen to come, as far as it is durable")
    coming = shown()
    assert (coming["state"], coming["outcome"], coming["node"]) == ("receiving", None, "fr-1")
    assert (coming["size"], coming["events"][0]["type"]) == (12_000_000, "upload.begun")
    sending.kill()
    sending.communicate()
    until(lambda: shown().get("state") == "destroyed", "what was cut is destroyed")
    cut = shown()
    assert (cut["outcome"], cut["error"], cut["size"]) == ("failed", "peer_gone", 12_000_000)
    assert cut["receipt"]["reason"] == "unfinished"
    assert system.sealed_files() == []


def test_an_owner_tries_again_and_gives_up(system: System) -> None:
    system.start("control")
    system.start("ingest")
    system.start("delivery")
    until(system.is_serving, "ingest serves")
    token = system.account["api_token"]
    system.delivered.rename(system.folder / "away")  # as a disk that is not mounted
    files = {name: made(system.folder, name, 70_000) for name in ("again.bin", "enough.bin")}
    for name, path in files.items():
        assert system.put(name, path, token).status == 201

    def is_stuck(name: str) -> bool:
        found = system.upload(name)
        return found is not None and any(one["error"] for one in found["deliveries"])

    until(lambda: all(map(is_stuck, files)), "both wait, and say why")
    enough, again = system.upload("enough.bin"), system.upload("again.bin")
    assert enough is not None
    assert again is not None
    system.api("POST", f"/uploads/{enough['id']}/cancel")
    until(lambda: system.is_destroyed("enough.bin"), "what was cancelled is destroyed")

    (system.folder / "away").rename(system.delivered)
    (delivery,) = again["deliveries"]
    system.api("POST", f"/deliveries/{delivery['id']}/retry")
    until(lambda: system.is_destroyed("again.bin"), "what was tried again is delivered")
    assert digest(system.delivered / "again.bin") == digest(files["again.bin"])
    assert not (system.delivered / "enough.bin").exists()
    cancelled = system.upload("enough.bin")
    assert cancelled is not None
    types = [event["type"] for event in cancelled["events"]]
    assert "cancel.asked" in types
    assert types[-1] == "content.destroyed"
    assert system.sealed_files() == []


def has_all(system: System, names: list[str]) -> bool:
    return all((system.delivered / name).exists() for name in names)


@pytest.mark.parametrize(
    "size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.soak)], ids=["64 MiB", "1 GiB"]
)
def test_a_photograph_and_a_large_file_pass_while_control_is_away(
    system: System, size: int
) -> None:
    """Control is there once, to make the account, and then not before all is delivered."""
    system.start_all()
    until(lambda: bool(system.facts("ingest", "link.snapshot_kept")), "ingest knows")
    token, sent = system.token, Sent()
    for name in PROGRAMS:
        system.stop(name)
    system.start("ingest")
    system.start("delivery")
    until(system.is_serving, "it starts from the last good snapshot")

    photo, large = system.folder / "DSC_0001.JPG", made(system.folder, "large.mov", size)
    photo.write_bytes(photograph(4_000, 3_000, seed=1))
    for path in (photo, large):
        assert sent.add(system, path.name, path, token, "-H", "Expect: 100-continue") == 201
    until(lambda: has_all(system, list(sent.digests)), "delivered meanwhile", 120)
    until(lambda: system.sealed_files() == [], "and destroyed", 60)
    assert digest(system.delivered / "DSC_0001.JPG") == digest(photo)
    assert digest(system.delivered / "large.mov") == digest(large)

    system.start("control")
    until(lambda: system.is_destroyed("large.mov"), "control hears of it", RELINK_S)
    upload = system.upload("DSC_0001.JPG")
    assert upload is not None
    types = [event["type"] for event in upload["events"]]
    assert (types[0], types[-1]) == ("upload.begun", "content.destroyed")
    assert (
        upload["committed_at"] <= upload["deliveries"][0]["delivered_at"] <= upload["destroyed_at"]
    )
    prove(system, sent)
