"""Nearest region with the programs themselves: keys by way of control, and curl between two."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.geo.databases import city_file
from tests.ops.system import System, free_base
from tests.support.real_system import digest, made
from zentransfer.ids import Region

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]
LYON = "203.0.113.9"  # as the database of this test has it


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    variables = {
        "ZT_GEO_DATABASE": str(city_file(tmp_path)),
        "ZT_EDGE_LAB__CLIENT_HEADER": "true",
    }
    with free_base((Region.US, Region.FR)) as base:
        running = System(tmp_path / "system", base, regions="us,fr", **variables)
        try:
            running.until_ready()
            yield running
        finally:
            running.close()


def curl(url: str, token: str, path: Path) -> tuple[list[int], bytes]:
    """Return every status that curl was told, and the last body."""
    words = ["curl", "-sS", "-i", "-L", "--max-time", "60", "-T", str(path), url]
    headers = ["-H", f"Authorization: Bearer {token}", "-H", f"ZT-Lab-Client: {LYON}"]
    out = subprocess.run([*words, *headers], capture_output=True, check=True).stdout
    statuses: list[int] = []
    while out.startswith(b"HTTP/"):
        head, _, out = out.partition(b"\r\n\r\n")
        statuses.append(int(head.split(b" ")[1]))
    return statuses, out


def test_curl_at_the_entry_name_of_one_region_uploads_to_the_nearest(
    system: System, tmp_path: Path
) -> None:
    ready = system.ready()
    assert ready is not None
    token = ready["account"]["api_token"]
    path = made(tmp_path, "lyon.bin", 5 << 20)
    entry = ready["edges"]["us"]["http"].replace("127.0.0.1", "localhost")
    answers: list[tuple[list[int], bytes]] = []

    def is_taken() -> bool:  # as soon as control has told us and fr of the key of us
        answers.append(curl(f"{entry}/in/lyon-{len(answers)}.bin", token, path))
        return answers[-1][0] == [307, 100, 201]

    system.until(is_taken)
    assert json.loads(answers[-1][1])["region"] == "fr"
    early = [tuple(statuses) for statuses, _ in answers[:-1]]
    assert set(early) <= {(100, 201), (307, 401)}, "no key, no hand-over"
    statuses, body = curl(f"{ready['edges']['us']['http']}/in/here.bin", token, path)
    assert (statuses, json.loads(body)["region"]) == ([100, 201], "us")
    delivered = Path(ready["delivered"])
    count = 2 + early.count((100, 201))
    system.until(lambda: len(list(delivered.rglob("*.bin"))) == count)
    system.until(lambda: {digest(one) for one in delivered.rglob("*.bin")} == {digest(path)})
    logs = b"".join(one.read_bytes() for one in system.folder.rglob("*.log"))
    assert b"ticket=" not in logs
