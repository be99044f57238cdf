import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from edge.ftp.tls import Entrance
from edge.snapshot import CredentialEntry, CredentialKind
from ops.cli import main
from ops.doctor.seen import Mode, Wanted
from ops.doctor.steps import Verdict
from ops.doctor.visit import CONTENT
from tests.support.doctor import visited
from tests.support.ftp_door import Door, run
from tests.support.ingest_node import IngestNode
from tests.support.ports import DATA, free_port
from tests.support.snapshots import Customer
from tests.support.tls_client import ftp_context


def test_our_own_door_is_right_and_takes_the_test_file() -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        wanted = Wanted(door.host, door.port, Mode.NONE, has_credential=True, uploads=True)
        seen, steps = await visited(wanted, user=shown.name, secret=shown.secret)
        for name in ("connection", "greeting", "sign-in", "data (PASV)", "data (EPSV)", "upload"):
            assert steps[name].verdict is Verdict.RIGHT, (steps[name], seen)
        ((stored, content),) = await door.committed()
        assert stored.name.startswith("zentransfer-doctor-")
        assert content == CONTENT

    run(test)


def test_without_asking_nothing_is_left_at_our_door() -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        wanted = Wanted(door.host, door.port, Mode.NONE, has_credential=True)
        await visited(wanted, user=shown.name, secret=shown.secret)
        assert await door.committed() == []

    run(test)


def test_a_wrong_password_at_our_door_is_told_as_one() -> None:
    async def test(door: Door) -> None:
        wanted = Wanted(door.host, door.port, Mode.NONE, has_credential=True)
        _, steps = await visited(wanted, user=door.node.customer.shown.name)
        assert steps["sign-in"].verdict is Verdict.WRONG
        assert "Type name and password again" in steps["sign-in"].cure

    run(test)


# -- by TLS --------------------------------------------------------------------------------------


class Strict(Customer):
    """A customer whose camera has to encrypt."""

    def credential(self) -> CredentialEntry:
        return replace(super().credential(), require_tls=True)


def entrances(folder: Path) -> tuple[tuple[Entrance, ...], Path]:
    """Return a clear entrance that offers TLS and an implicit one, and what to trust."""
    context = ftp_context(folder)
    return (Entrance(context), Entrance(context, is_implicit=True)), folder / "node.crt"


@pytest.mark.parametrize(("entrance", "mode"), [(0, Mode.EXPLICIT), (1, Mode.IMPLICIT)])
def test_our_own_door_is_right_by_tls(tmp_path: Path, entrance: int, mode: Mode) -> None:
    both, ca = entrances(tmp_path)

    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        port = door.ports[entrance]
        wanted = Wanted("localhost", port, mode, has_credential=True, uploads=True)
        seen, steps = await visited(wanted, user=shown.name, secret=shown.secret, ca=ca)
        looks = {name for name, one in steps.items() if one.verdict is not Verdict.RIGHT}
        # localhost may be ::1 too, and the clock of this door stands in 1970
        assert looks <= {"connection", "clock"}, (steps, seen)
        assert [one.is_resumed for one in seen.passives] == [True, True]
        assert [content for _, content in await door.committed()] == [CONTENT]

    run(test, entrances=both)


def test_a_credential_that_needs_tls_is_told_as_one(tmp_path: Path) -> None:
    both, ca = entrances(tmp_path)

    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        wanted = Wanted("localhost", door.port, Mode.NONE, has_credential=True)
        _, steps = await visited(wanted, user=shown.name, secret=shown.secret)
        assert steps["sign-in"].verdict is Verdict.WRONG
        assert "Set the camera to FTPS" in steps["sign-in"].cure
        wanted = replace(wanted, mode=Mode.AUTO)
        _, steps = await visited(wanted, user=shown.name, secret=shown.secret, ca=ca)
        assert steps["sign-in"].verdict is Verdict.RIGHT

    run(test, entrances=both, customer=Strict())


# -- a real process ------------------------------------------------------------------------------


@pytest.mark.peer
def test_the_command_finds_a_real_node_right(tmp_path: Path) -> None:
    port, first = free_port(), Random().choice(DATA[:-100])
    extra = f"[ftp]\nport = {port}\npassive_first = {first}\npassive_last = {first + 99}"
    node = IngestNode(tmp_path, Customer(kind=CredentialKind.FTP), extra).prepare()
    shown = node.customer.shown
    try:
        node.start()
        done = CliRunner().invoke(
            main,
            [
                *("doctor", "ftp", "127.0.0.1", "--port", str(port), "--user", shown.name),
                *("--tls", "none", "--http-port", str(node.http), "--upload", "--json"),
            ],
            env={"ZT_DOCTOR_PASSWORD": shown.secret},
        )
    finally:
        node.stop()
    assert done.exit_code == 0, done.output
    found = {one["name"]: one["verdict"] for one in json.loads(done.output)["steps"]}
    assert found["clock"] == found["upload"] == found["data (EPSV)"] == "right"
