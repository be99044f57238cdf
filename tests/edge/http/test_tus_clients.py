"""Real clients of tus against the door: tus-js-client, whole and in parts at once, and tuspy."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge.facts import OutcomeState
from edge.record import State
from tests.edge.http.test_tus_door import content
from tests.support.http_door import Door, run

pytestmark = pytest.mark.peer

ROOT = Path(__file__).parents[3]

TUS_JS = """
const tus = require('tus-js-client');
const fs = require('fs');
const [url, path, token, parallel, lost] = process.argv.slice(2);
const options = {
  endpoint: url, chunkSize: 300000,
  parallelUploads: Number(parallel), retryDelays: [0, 100, 500],
  headers: {Authorization: `Bearer ${token}`}, metadata: {filename: 'a.bin', filetype: 'image/x'},
  onError: (error) => { console.error(String(error)); process.exitCode = 1; },
  onSuccess: () => console.log(upload.url),
};
let left = Number(lost);
options.onAfterResponse = (request) => {
  if (request.getMethod() === 'PATCH' && left-- > 0) throw new Error('lost on its way');
};
const upload = new tus.Upload(fs.createReadStream(path), options);
upload.start();
"""

TUSPY = """
import sys
from tusclient.client import TusClient
url, token, path = sys.argv[1:]
client = TusClient(url, headers={"Authorization": f"Bearer {token}"})
client.uploader(path, chunk_size=1 << 18, metadata={"filename": "a.bin"},
                upload_checksum=True).upload()
"""


def file_in(folder: Path, size: int) -> Path:
    path = folder / "sent.bin"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


async def ran(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


@pytest.mark.parametrize(("parallel", "lost"), [(1, 0), (3, 0), (3, 2), (7, 0)])
def test_tus_js_client_sends_a_file_also_in_parts_at_once(
    tmp_path: Path, parallel: int, lost: int
) -> None:
    path = file_in(tmp_path, 2_000_001)

    async def test(door: Door) -> None:
        url, token = f"http://127.0.0.1:{door.port}/files/", door.node.customer.token
        address = await ran(
            "node", "-e", TUS_JS, "-", url, str(path), token, str(parallel), str(lost)
        )
        await door.until_told()
        assert await content(door) == path.read_bytes()
        (outcome,) = door.node.outcomes()
        assert outcome.state is OutcomeState.COMMITTED
        assert door.capabilities.upload(address.rpartition("/")[2]) == outcome.upload_id
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert len(record.partials) == (parallel if parallel > 1 else 0)
        known = door.node.intake.tools.settling.open(record)
        assert (known.name.name, known.media_type) == ("a.bin", "image/x")
        for part in record.partials:
            assert (await door.node.sink.record(part)).value.state is State.PARTIAL

    run(test)


def test_tuspy_sends_checksums(tmp_path: Path) -> None:
    path = file_in(tmp_path, 1_000_001)

    async def test(door: Door) -> None:
        url, token = f"http://127.0.0.1:{door.port}/files/", door.node.customer.token
        await ran(sys.executable, "-c", TUSPY, url, token, str(path))
        assert await content(door) == path.read_bytes()
        (outcome,) = door.node.outcomes()
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert len(record.segments) <= 2, "one process goes on in one checked segment"

    run(test)
