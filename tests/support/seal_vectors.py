"""Make the test vectors of the sealed format: once for each version of it, then they stay.

``python -m tests.support.seal_vectors`` writes those that are missing to tests/edge/vectors.
Keys and all randomness but that inside HPKE come from a seed, so a vector is for reading: what
was sealed once must be read for ever, byte for byte.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Final

from edge.record import Ending, UploadRecord
from edge.seal.manifest import Partial
from edge.seal.names import seal_names
from edge.sinks.base import Fenced
from edge.sinks.log_writer import LogWriter
from edge.sinks.memory import MemorySink
from tests.support.region_keys import SeededKeys
from tests.support.sim import simulate
from tests.support.writing import fill
from zentransfer.disk import read_all
from zentransfer.ids import AccountID, CredentialID, IdMaker, Kind, OutcomeID, UploadID, WorkflowID
from zentransfer.memory_disk import MemoryDisk

FOLDER: Final = Path(__file__).parent.parent / "edge" / "vectors"
NAMES: Final = {"name": b"IMG_0001.CR3", "folder": b"final/half time", "empty": b""}


class Vector:
    """A disk, keys and chance from one seed, on which a vector is made or read."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.keys = SeededKeys(seed)
        self.disk = MemoryDisk(Random(seed))
        self.sink = MemorySink(self.disk, self.keys.public, self.random)
        self.ids = IdMaker(self.random.randbytes)

    def record(self) -> UploadRecord:
        upload = UploadID(self.ids.make(Kind.UPLOAD))
        kid, key = next(iter(self.keys.public.metadata.items()))
        return UploadRecord(
            upload,
            AccountID(self.ids.make(Kind.ACCOUNT)),
            self.keys.region,
            created_ms=1_795_305_600_000,
            door="http",
            dialect="tus",
            credential=CredentialID(self.ids.make(Kind.CREDENTIAL)),
        ).named(seal_names(key, upload, NAMES, self.random.randbytes(12)), kid)

    def ending(self) -> Ending:
        return Ending(
            WorkflowID(self.ids.make(Kind.WORKFLOW)),
            7,
            1_795_305_660_000,
            OutcomeID(self.ids.make(Kind.OUTCOME)),
        )

    def append(self, writer: LogWriter, size: int) -> bytes:
        data = self.random.randbytes(size)
        fill(writer, data)
        return data


async def small(vector: Vector) -> bytes:
    """One file: header, one record, manifest with a digest."""
    record = vector.record()
    writer = await (await vector.sink.create(record, lazily=True)).writer()
    data = vector.append(writer, 1_000)
    await writer.finish(sha256(data).digest(), vector.ending())
    return data


async def empty(vector: Vector) -> bytes:
    """An upload of no bytes: header and manifest."""
    writer = await (await vector.sink.create(vector.record())).writer()
    await writer.finish(None, vector.ending())
    return b""


async def resumed(vector: Vector) -> bytes:
    """Five segments: short and full records, a gap, a late writer, provisional data, an end."""
    record = vector.record()
    late = await (await vector.sink.create(record)).writer()
    data = vector.append(late, 10_000)
    await late.flush()
    data += vector.append(late, len(late.room()) - 30)  # the rest is too small for a record
    await late.flush()
    data += vector.append(late, 3)
    await late.flush()

    writer = await (await vector.sink.claim(record.upload)).writer()
    vector.append(late, 9_000)  # behind the counted end
    with suppress(Fenced):
        await late.flush()
    data += vector.append(writer, 9_000)
    await writer.flush()
    await writer.close()

    writer = await (await vector.sink.claim(record.upload)).writer(provisional=True)
    for size in (5_000, 1):
        data += vector.append(writer, size)
        writer.accept(writer.written)
    vector.append(writer, 300)  # never accepted
    await writer.flush()
    await writer.close()

    writer = await (await vector.sink.claim(record.upload)).writer(record_bytes=12_288)
    data += vector.append(writer, 9_000)
    await writer.flush()
    await writer.close()

    writer = await (await vector.sink.claim(record.upload)).writer()
    expected = {"sha-256": sha256(data).digest()}
    await writer.finish(None, vector.ending(), expected=expected)
    return data


async def concatenated(vector: Vector) -> bytes:
    """An upload without bytes of its own, made of two others."""
    data, partials = b"", list[Partial]()
    account = vector.record()
    for size in (5_000, 70):
        record = UploadRecord(
            UploadID(vector.ids.make(Kind.UPLOAD)), account.account, account.region, created_ms=1
        )
        writer = await (await vector.sink.create(record)).writer()
        data += vector.append(writer, size)
        await writer.finish(None)
        place = (await vector.sink.record(record.upload)).value.manifest
        assert place is not None
        partials.append(Partial(record.upload, place.digest, size))
    writer = await (await vector.sink.create(account)).writer()
    await writer.finish(None, vector.ending(), partials=tuple(partials))
    return data


VECTORS: Final[dict[str, Callable[[Vector], Awaitable[bytes]]]] = {
    made.__name__: made for made in (small, empty, resumed, concatenated)
}


def make(name: str) -> dict[str, Any]:
    """Return the vector *name*, as it is stored."""
    vector = Vector(sorted(VECTORS).index(name))
    plaintext = simulate(_made(name, vector))
    paths = sorted(path for path in _tree(vector.disk, "uploads"))
    return {
        "about": (VECTORS[name].__doc__ or "").strip(),
        "seed_of_keys": sorted(VECTORS).index(name),
        "private_key": vector.keys.private_bytes.hex(),
        "origin_key": vector.keys.public.origin.hex(),
        "metadata_key": vector.keys.public.metadata[vector.keys.kid].hex(),
        "uploads": [path.split("/")[2] for path in paths if path.endswith("/record")],
        "whole": _whole(paths, vector),
        "plaintext": b64encode(plaintext).decode(),
        "files": {path: b64encode(read_all(vector.disk, path, 1 << 20)).decode() for path in paths},
    }


async def _made(name: str, vector: Vector) -> bytes:
    return await VECTORS[name](vector)


def _whole(paths: list[str], vector: Vector) -> str:
    """Return the upload that has names: the one that the vector is about."""
    for path in paths:
        if path.endswith("/record") and b"tus" in read_all(vector.disk, path, 1 << 20):
            return path.split("/")[2]
    raise AssertionError


def _tree(disk: MemoryDisk, folder: str) -> list[str]:
    found: list[str] = []
    for name in disk.names(folder):
        path = f"{folder}/{name}"
        try:
            found += _tree(disk, path)
        except NotADirectoryError:
            found.append(path)
    return found


def placed(stored: dict[str, Any]) -> tuple[MemorySink, SeededKeys]:
    """Return a sink whose disk holds the stored vector's files, and its keys."""
    vector = Vector(stored["seed_of_keys"])
    for path, content in stored["files"].items():
        vector.disk.make_folder(path.rpartition("/")[0])
        file = vector.disk.create(path)
        file.write_at(b64decode(content), 0)
        file.close()
    return vector.sink, vector.keys


if __name__ == "__main__":
    for vector_name in VECTORS:
        target = FOLDER / f"v1-{vector_name}.json"
        if not target.exists():
            target.write_text(json.dumps(make(vector_name), indent=1) + "\n")
