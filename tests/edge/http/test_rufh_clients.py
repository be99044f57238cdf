"""Real clients against the door: what they make of a 104, and uploads that they resume."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.http_door import address_of
from tests.support.rufh_client import Spoken, UploadDoor, run
from zentransfer.limits import UNLISTED_BYTES_MAX

pytestmark = pytest.mark.peer

ROOT = Path(__file__).parents[3]
SENT = bytes(range(251)) * 20_000
WITH_104 = ("-H", "Upload-Complete: ?1", "-H", "Upload-Draft-Interop-Version: 8")
PUT_BY_REQUESTS = """
import sys, requests
url, path, token = sys.argv[1:]
shown = {"Authorization": f"Bearer {token}"}
answer = requests.put(url, data=open(path, "rb"), headers=shown, timeout=30)
print(answer.status_code, answer.json()["size"])
"""
SEND_BY_TUS_JS = """
const { Upload } = require('tus-js-client'), fs = require('fs')
const [endpoint, path, token, protocol] = process.argv.slice(2)
// Not of a stream: its parts of a file in Node never say that they are the last one.
new Upload(fs.readFileSync(path), {
  endpoint, protocol, chunkSize: 1 << 20,
  headers: { Authorization: `Bearer ${token}` }, metadata: { filename: 'a.bin' }, retryDelays: [],
  onError: (error) => { console.error(String(error)); process.exit(1) },
  onSuccess: () => { console.log('ok') },
}).start()
"""


async def ran(*command: str, kill_after_s: float | None = None) -> tuple[int | None, str, str]:
    """Run *command*; returns its status and what it printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=ROOT
    )
    if kill_after_s is not None:
        await asyncio.sleep(kill_after_s)
        process.kill()
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def curl(door: UploadDoor, *arguments: str) -> tuple[str, ...]:
    token = f"Authorization: Bearer {door.node.customer.token}"
    return ("curl", "-sS", "-v", "--max-time", "30", "-H", token, *arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(SENT)
    return path


def test_r70_curl_sees_the_address_before_the_end_and_100_beside_it(file: Path) -> None:
    async def test(door: UploadDoor) -> None:
        url = f"http://127.0.0.1:{door.port}/in/a.bin"
        status, out, seen = await ran(*curl(door, *WITH_104, "-T", str(file), url))
        assert status == 0
        assert f'"size": {len(SENT)}' in out
        at = [seen.find(f"< HTTP/1.1 {line}") for line in ("104 Upload", "100 ", "201 ")]
        assert -1 < at[0] < at[1] < at[2], seen
        assert await door.content() == SENT

    run(test)


def test_r27_curl_is_cut_and_another_curl_goes_on(file: Path, tmp_path: Path) -> None:
    async def test(door: UploadDoor) -> None:
        url = f"http://127.0.0.1:{door.port}/files"  # to a slash it would add the file's name
        slowly = ("--limit-rate", "1M", "-T", str(file), "-X", "POST", url)
        _, _, seen = await ran(*curl(door, *WITH_104, *slowly), kill_after_s=1.0)
        found = re.search(r"< Location: (\S+)", seen)
        assert found is not None, seen
        offset = await door.at(address_of({"location": found[1]}))
        assert 0 < offset < len(SENT)
        rest = tmp_path / "rest"
        rest.write_bytes(SENT[offset:])
        lines = (f"Upload-Offset: {offset}", "Content-Type: application/partial-upload")
        more = [each for line in lines for each in ("-H", line)]
        said = (*WITH_104, *more, "-X", "PATCH", "-T", str(rest), found[1])
        status, out, _ = await ran(*curl(door, *said))
        assert status == 0
        assert f'"size": {len(SENT)}' in out
        assert await door.content() == SENT

    run(test)


def test_httpx_skips_every_104_of_an_append() -> None:
    async def test(door: UploadDoor) -> None:
        sent = bytes(UNLISTED_BYTES_MAX + 2_000_000)
        address = await door.begun(Spoken())

        async def slowly() -> AsyncIterator[bytes]:
            for at in range(0, len(sent), 1_000_000):
                yield sent[at : at + 1_000_000]
                await asyncio.sleep(0.2)

        headers = {
            "Authorization": f"Bearer {door.node.customer.token}",
            "Upload-Offset": "0",
            "Upload-Complete": "?1",
            "Upload-Draft-Interop-Version": "8",
            "Content-Type": "application/partial-upload",
        }
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            url = f"http://127.0.0.1:{door.port}{address}"
            answer = await client.patch(url, content=slowly(), headers=headers)
            assert (answer.status_code, answer.json()["size"]) == (201, len(sent))
            again = await client.patch(url, headers={**headers, "Upload-Offset": str(len(sent))})
            assert (again.status_code, again.content) == (201, answer.content)

    run(test)


def test_requests_never_sees_a_104_of_a_plain_put(file: Path) -> None:
    async def test(door: UploadDoor) -> None:
        url = f"http://127.0.0.1:{door.port}/in/a.bin"
        token = door.node.customer.token
        status, out, err = await ran(sys.executable, "-c", PUT_BY_REQUESTS, url, str(file), token)
        assert (status, out.split()) == (0, ["201", str(len(SENT))]), err
        assert await door.content() == SENT

    run(test)


@pytest.mark.parametrize("protocol", ["ietf-draft-03", "ietf-draft-05", "tus-v1"])
def test_tus_js_client_sends_in_each_of_its_dialects(file: Path, protocol: str) -> None:
    async def test(door: UploadDoor) -> None:
        url = f"http://127.0.0.1:{door.port}/files/"
        words = (url, str(file), door.node.customer.token, protocol)
        status, out, err = await ran("node", "-e", SEND_BY_TUS_JS, "-", *words)
        assert (status, out.strip()) == (0, "ok"), err
        assert await door.content() == SENT
        record = (await door.node.sink.record(door.node.outcomes()[0].upload_id)).value
        known = door.node.intake.tools.settling.open(record)
        assert known.name.name == "a.bin"

    run(test)
