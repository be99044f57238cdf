"""One tus upload to a real node, by raw bytes over connections that a test may break."""

import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge.facts import Outcome, OutcomeState, unpack_fact
from edge.outbox import open_outbox
from edge.sinks.directory import DirectorySink
from tests.support.ingest_node import IngestNode, once
from tests.support.waiting import until
from tests.support.writing import read_whole
from zentransfer.disk import RealDisk
from zentransfer.ids import EpochID, UploadID

WAIT_S: Final = 45.0
_EXPECT: Final = {"Expect": "100-continue"}
_TYPE: Final = {"Content-Type": "application/offset+octet-stream"}


@dataclass
class Sending:
    """One upload, what is to be sent of it, and the node where it is."""

    node: IngestNode
    content: bytes
    path: str = ""
    upload: str = ""

    def __post_init__(self) -> None:
        """Create it."""
        status, headers = self.asked("POST", {"Upload-Length": str(len(self.content))})
        assert status == 201
        self.path = urlsplit(headers["location"]).path
        self.upload = headers["zt-upload-id"]

    def head(self, verb: str, more: dict[str, str], count: int) -> bytes:
        """Return the head of a request with *count* bytes of content."""
        lines = {
            "Host": f"127.0.0.1:{self.node.http}",
            "Authorization": f"Bearer {self.node.customer.token}",
            "Tus-Resumable": "1.0.0",
            **({"Content-Length": str(count)} if count else {}),
            **more,
        }
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{verb} {self.path or '/files/'} HTTP/1.1\r\n{text}\r\n".encode()

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.node.http), WAIT_S)

    def asked(
        self, verb: str, more: dict[str, str], content: bytes = b""
    ) -> tuple[int, dict[str, str]]:
        """Ask over a connection of its own; returns status and headers."""
        with self.dial() as line:
            line.sendall(self.head(verb, more, len(content)) + content)
            return answer(line)

    def begun(self, offset: int, count: int, *, waits: bool = True) -> socket.socket:
        """Return a connection on which a PATCH to the end has begun, and *count* bytes went.

        Who *waits* knows by 100 that the PATCH has the upload.
        """
        line = self.dial()
        told = {**_TYPE, "Upload-Offset": str(offset), **(_EXPECT if waits else {})}
        line.sendall(self.head("PATCH", told, len(self.content) - offset))
        if waits:
            assert answer(line)[0] == 100
        line.sendall(self.content[offset : offset + count])
        return line

    def looked(self) -> tuple[int, float]:
        """Return the offset that HEAD tells, and after how many seconds."""
        began_s = time.perf_counter()
        status, headers = self.asked("HEAD", {})
        took_s = time.perf_counter() - began_s
        assert status == 200, status
        assert headers["upload-length"] == str(len(self.content))
        return int(headers["upload-offset"]), took_s

    def patched(self, offset: int, until_byte: int | None = None) -> int:
        """Send from *offset* on; returns the offset that is told then."""
        told = {**_TYPE, "Upload-Offset": str(offset)}
        status, headers = self.asked("PATCH", told, self.content[offset:until_byte])
        assert status == 204, (status, headers)
        return int(headers["upload-offset"])

    def stored(self) -> list[Path]:
        """Return its segments, keys and all."""
        return list((self.node.data / "sink" / "uploads").rglob(f"{self.upload}/*.seg*"))

    def until_stored(self, count: int) -> None:
        """Wait until *count* bytes are on the disk."""
        until(lambda: sum(map(size_of, self.stored())) >= count, "bytes are on the disk")

    def must_be_whole(self) -> None:
        """Check the content, and that one outcome was told."""

        async def read() -> bytes:
            sink = DirectorySink(self.node.data / "sink", self.node.public_keys(), os.urandom)
            with closing(sink):
                return await read_whole(sink, UploadID(self.upload), self.node.key_files())

        assert once(read()) == self.content
        ended = self.outcomes()
        assert [(one.state, one.size_bytes) for one in ended] == [
            (OutcomeState.COMMITTED, len(self.content))
        ]

    def outcomes(self) -> list[Outcome]:
        """Return its different outcomes, whichever process told them."""
        places = sorted((self.node.data / "outbox").iterdir())
        payloads = {each for place in places for each in told_in(self.node.data, place.name)}
        bodies = [unpack_fact(payload).body for payload in payloads]
        found = [one for one in bodies if isinstance(one, Outcome)]
        return [one for one in found if one.upload_id == self.upload]


def told_in(data: Path, process: str) -> list[bytes]:
    """Return the facts in the outbox of *process*."""

    async def read() -> list[bytes]:
        disk = RealDisk(data)
        outbox = await open_outbox(disk, f"outbox/{process}", lambda: EpochID("ep_x"))
        _, payloads = outbox.read(0, 100_000)
        outbox.close()
        disk.close()
        return payloads

    return once(read())


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def answer(line: socket.socket) -> tuple[int, dict[str, str]]:
    """Read one response; returns status and headers.  Raises ``OSError`` for a cut."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = line.recv(65_536)
        if not part:
            raise ConnectionResetError
        data += part
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = (each.partition(":") for each in head[1:])
    return int(head[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}
