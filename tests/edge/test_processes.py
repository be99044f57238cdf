"""The two programs of a node and control, as real processes that meet on the wire."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.ingest_node import prepare_data
from tests.support.ports import free_ports
from tests.support.programs import as_in_service
from tests.support.snapshots import Customer
from tests.support.waiting import until
from zentransfer.credential import pepper_file

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]


class Machine:
    """A control and one node, each program started and stopped by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http, self.metrics, self.pages, self.grpc = free_ports(4)
        for name in ("fr", "clone"):
            (folder / f"{name}.toml").write_text(
                f'region = "fr"\nnode = "fr-1"\ndata_dir = "{folder}/{name}"\n'
                f'pepper_file = "{folder}/control/keys/peppers/fr"\n'
                f"[http]\nport = {self.http}\n[ftp]\nport = 0\n[metrics]\nport = {self.metrics}\n"
                f'[control]\naddress = "127.0.0.1:{self.grpc}"\n'
            )
        (folder / "control.toml").write_text(
            f'data_dir = "{folder}/control"\n'
            f"[http]\nport = {self.pages}\n[grpc]\nport = {self.grpc}\n"
        )
        self.running: list[subprocess.Popen[bytes]] = []

    def prepare(self) -> None:
        """Make keys and a snapshot, so that the node could serve without control."""
        customer = Customer()
        for name in ("fr", "clone"):
            prepare_data(self.folder / name, customer, customer.snapshot())
        peppers = self.folder / "control" / "keys" / "peppers"
        peppers.mkdir(parents=True)
        (peppers / "fr").write_bytes(pepper_file(customer.pepper))

    def start(self, *program: str, settings: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{program[-1]}.log").open("ab")
        with log:
            started = subprocess.Popen(
                [sys.executable, "-m", *program, "--settings", str(self.folder / settings)],
                stdin=subprocess.DEVNULL,
                env=as_in_service(),
                stderr=log,
            )
        self.running.append(started)
        return started

    def control(self) -> subprocess.Popen[bytes]:
        return self.start("control", settings="control.toml")

    def ingest(self) -> subprocess.Popen[bytes]:
        return self.start("edge", "ingest", settings="fr.toml")

    def delivery(self, name: str = "fr") -> subprocess.Popen[bytes]:
        return self.start("edge", "delivery", settings=f"{name}.toml")

    def facts(self, program: str) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.folder / f"{program}.log").read_text().splitlines()
        ]

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.stop()


RELINK_S = 130.0  # the pauses between dials have grown while control was away: to 60 s each


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()
    except urllib.error.URLError:
        return 0, ""


def is_linked(port: int) -> bool:
    status, body = get(port, "/readyz")
    return status == 200 and bool(json.loads(body)["checks"]["link"]["ok"])


def names(facts: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [fact for fact in facts if fact["fact"] == name]


def test_a_node_serves_with_control_away_and_links_when_it_comes(machine: Machine) -> None:
    machine.prepare()
    ingest = machine.ingest()
    until(lambda: get(machine.http, "/readyz")[0] == 200, "ready without control")
    route = json.loads(get(machine.http, "/route")[1])
    assert [one["region"] for one in route["regions"]] == ["fr", "us", "sg"]
    assert route["regions"][0]["http"] == "http://127.0.0.1:8200"
    report = json.loads(get(machine.http, "/readyz")[1])
    assert report["checks"]["duty"] == {
        "ok": True,
        "required": True,
        "detail": "admits new work",
    }
    assert report["checks"]["link"]["ok"] is False
    assert report["checks"]["link"]["required"] is False
    assert get(machine.http, "/livez")[0] == 200
    assert get(machine.http, "/metrics")[0] == 404
    assert "zt_link_up 0.0" in get(machine.metrics, "/metrics")[1]

    control = machine.control()
    until(lambda: is_linked(machine.http), "linked", RELINK_S)
    assert "zt_link_up 1.0" in get(machine.metrics, "/metrics")[1]

    control.kill()
    control.wait()
    until(lambda: not is_linked(machine.http), "noticed that control is gone")
    assert get(machine.http, "/readyz")[0] == 200
    machine.control()
    until(lambda: is_linked(machine.http), "linked again", RELINK_S)

    ingest.send_signal(signal.SIGTERM)
    assert ingest.wait(45) == 0
    until(lambda: names(machine.facts("control"), "fleet.disconnected") != [], "control heard it")


def test_every_process_dials_for_itself_and_a_second_one_supersedes_the_first(
    machine: Machine,
) -> None:
    machine.prepare()
    machine.control()
    machine.ingest()
    delivery = machine.delivery()
    until(lambda: len(names(machine.facts("control"), "fleet.connected")) == 2, "both linked")
    linked = {fact["process"] for fact in names(machine.facts("control"), "fleet.connected")}
    assert linked == {"ingest-0", "delivery-0"}
    machine.delivery("clone")  # with a disk of its own: one disk has one process of a name
    until(lambda: names(machine.facts("delivery"), "link.superseded") != [], "superseded")
    assert delivery.poll() is None
    assert is_linked(machine.http)


def test_a_taken_port_is_named_with_its_cure_and_no_retry_is_asked_for(machine: Machine) -> None:
    machine.prepare()
    machine.ingest()
    until(lambda: get(machine.http, "/readyz")[0] == 200, "ready")
    second = machine.start("edge", "ingest", "--index", "1", settings="fr.toml")
    assert second.wait(45) == 78
    said = (machine.folder / "1.log").read_text()
    assert f"port {machine.http}" in said
    assert "Stop that program" in said


def test_a_data_folder_without_the_right_is_named(machine: Machine) -> None:
    (machine.folder / "fr").write_text("a file is in the way")
    ingest = machine.ingest()
    assert ingest.wait(45) == 78
    assert f"{machine.folder}/fr" in (machine.folder / "ingest.log").read_text()
