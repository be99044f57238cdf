"""What the programs may not reach, hold or leave behind, searched for while they run."""

import json
import os
import signal
import stat
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge import landlock
from edge.keys import load_public_keys
from edge.private_keys import KeyFiles
from edge.seal.header import HEADER_BLOCK_BYTES, read_header
from tests.support.ingest_node import once
from tests.support.memory import found_in_memory
from tests.support.real_proof import Sent, prove
from tests.support.real_system import KID, System
from tests.support.strace import failing
from tests.support.waiting import until
from zentransfer.disk import RealDisk

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

BLOCK: Final = 512  # bytes of content, each with a mark
# What may be left of content that has passed: what lay in the buffers of the loop and of its
# connection, which are used again and not wiped.  The record's own buffer goes back to the kernel.
LEFT_BYTES_MAX: Final = 3 << 20
# And of that, when another file has passed through the same buffers.
LEFT_BEHIND_ANOTHER_BYTES_MAX = 1024 * 1024

# The program itself, which at a signal tries to open files from a new thread and says what it got.
TRYING: Final = """
import os, signal, sys, threading
said, *wanted = {paths!r}

def tried(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as refused:
        return os.strerror(refused.errno)
    return "opened"

def tell():
    with open(said + ".new", "w") as file:
        file.write("\\n".join(map(tried, wanted)))
    os.rename(said + ".new", said)

signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=tell).start())
from edge.__main__ import main
main()
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    yield system
    system.close()


def private_keys(system: System) -> list[Path]:
    keys = system.node / "keys"
    private = [keys / f"private/{kind}-{KID}.key" for kind in ("content", "destination")]
    return [*private, keys / "root" / "region.key"]


def tries(system: System, *prefix: str) -> list[str]:
    """Return what a running ingest process gets that opens each private key, then a public one."""
    said = system.node / "run" / "said"
    wanted = [*private_keys(system), system.node / "keys" / "public" / "keys.json"]
    assert all(path.is_file() for path in wanted)
    entry = TRYING.format(paths=[str(said), *map(str, wanted)])
    system.launch("ingest", *prefix, entry=("-c", entry, "ingest"))
    system.await_up("ingest")
    until(system.is_serving, "ingest serves")
    os.kill(system.pid("ingest"), signal.SIGUSR1)
    until(said.exists, "it has tried")
    return said.read_text().splitlines()


def readiness(system: System) -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{system.http}/readyz", timeout=5) as answer:
        found: dict[str, dict[str, object]] = json.loads(answer.read())["checks"]
    return found


def test_a_running_ingest_process_cannot_open_a_private_key(system: System) -> None:
    system.start("control")
    *private, public = tries(system)
    assert public == "opened"
    shown = readiness(system)["landlock"]
    if landlock.version() == 0:
        assert (private, shown["ok"]) == (["opened"] * 3, False)
    else:
        assert (private, shown["ok"]) == (["Permission denied"] * 3, True)
        assert system.facts("ingest", "process.restricted") != []


def test_a_kernel_that_cannot_deny_them_is_told_of(system: System) -> None:
    system.start("control")
    *private, public = tries(system, *failing("1+", "ENOSYS", "landlock_create_ruleset"))
    assert (private, public) == (["opened"] * 3, "opened")
    shown = readiness(system)["landlock"]
    assert shown["ok"] is False
    assert shown["required"] is False
    assert "no Landlock" in str(shown["detail"])
    (line,) = system.facts("ingest", "process.unrestricted")
    assert line["state"] == "unsupported"


class Marked:
    """Content that is known wherever a piece of it lies: each block begins with its own mark."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self.mark = os.urandom(24)
        self.path = folder / name
        with self.path.open("wb") as file:
            for number in range(size // BLOCK):
                file.write(self.mark + number.to_bytes(8) + bytes(BLOCK - 32))

    def bytes_in(self, pid: int) -> int:
        """Return how much of it lies in the memory of *pid*, in bytes."""
        return BLOCK * found_in_memory(pid, {"mark": self.mark}).get("mark", 0)


def content_keys(system: System) -> dict[str, bytes]:
    """Return the keys of all segments that lie in the sink: sealed one and derived one."""
    keys = RealDisk(system.node / "keys")
    public, private = load_public_keys(keys), KeyFiles(keys)
    found: dict[str, bytes] = {}
    for path in system.sealed_files():
        with path.open("rb") as file:
            header = read_header(file.read(HEADER_BLOCK_BYTES), public.is_ours)
        dek = once(private.open(header))
        info = b"zentransfer sealed log, records"
        name = path.parent.name
        found[f"data key of {name}"] = dek
        found[f"record key of {name}"] = HKDF(SHA256(), 39, header.hash, info).derive(dek)[:32]
    keys.close()
    return found


def spelled(secrets: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return *secrets* as they might be written: as they are, in hex and in base64."""
    return {
        f"{name}, {how}": form
        for name, raw in secrets.items()
        for how, form in (("raw", raw), ("hex", raw.hex().encode()), ("base64", b64encode(raw)))
    }


def files_of(system: System, *programs: str) -> Iterator[Path]:
    """Yield the node's files, the programs' temporary ones, and what they hold open beside.

    A name that is removed already is read through its descriptor.
    """
    for folder in (system.node, system.temporary):
        yield from (path for path in folder.rglob("*") if path.is_file())
    for program in programs:
        with suppress(FileNotFoundError):
            for held in Path(f"/proc/{system.pid(program)}/fd").iterdir():
                with suppress(OSError):
                    is_delivered = os.readlink(held).startswith(str(system.delivered))
                    if stat.S_ISREG(held.stat().st_mode) and not is_delivered:
                        yield held


def found_on_disk(needles: Mapping[str, bytes], files: Iterator[Path]) -> list[str]:
    """Return which of *needles* lie in which of *files*; what went meanwhile is passed over."""
    found: list[str] = []
    for path in files:
        with suppress(OSError):
            data = path.read_bytes()
            found += [f"{name} in {path}" for name, raw in needles.items() if raw in data]
    return found


def test_plaintext_and_keys_are_nowhere_while_a_file_passes_and_after_it(system: System) -> None:
    """Watched at every step: on disk never, in memory only what passes, and no key that is done."""
    system.start("control")
    system.start("ingest")
    until(system.is_serving, "ingest serves")
    pid, sent = system.pid("ingest"), Sent()
    content = Marked(system.folder, "passing", 64 << 20)
    plain = {"content": content.mark, "a name": b"SECRET_NAME", "a token": system.token.encode()}

    sending = system.sending("SECRET_NAME.raw", content.path, system.token, "--limit-rate", "20M")
    seen: list[int] = []
    while sending.poll() is None:
        assert found_on_disk(plain, files_of(system, "ingest")) == []
        seen.append(content.bytes_in(pid))
    assert sending.communicate()[0].count(b" 201 Created") == 1
    sent.add(system, "SECRET_NAME.raw", content.path, system.token)  # once more, all at once
    assert max(seen) > 0, "the search finds what passes"
    assert max(seen) <= LEFT_BYTES_MAX
    assert content.bytes_in(pid) <= LEFT_BYTES_MAX

    keys = content_keys(system)
    assert len(keys) == 4, "two uploads, each with one segment"
    assert found_in_memory(pid, keys) == {}
    assert found_on_disk({**plain, **spelled(keys)}, files_of(system, "ingest")) == []
    another = Marked(system.folder, "another", 16 << 20)
    assert sent.add(system, "another.raw", another.path, system.token) == 201
    assert content.bytes_in(pid) <= LEFT_BEHIND_ANOTHER_BYTES_MAX

    plain |= spelled(keys)
    system.start("delivery")
    pid = system.pid("delivery")
    looks = 0
    while system.sealed_files():
        assert found_on_disk(plain, files_of(system, "delivery", "ingest")) == []
        looks += 1
    assert looks > 1
    assert found_on_disk(plain, iter([system.delivered / "SECRET_NAME.raw"])) != []
    until(lambda: not found_in_memory(pid, keys), "delivery has let the keys go")
    prove(system, sent)
    assert found_on_disk(plain, files_of(system, "delivery", "ingest")) == []
    assert_logs_say_nothing(system, [b"SECRET_NAME", b"passing", b"another"])


def assert_logs_say_nothing(system: System, names: Sequence[bytes]) -> None:
    """Assert that no log holds a file's name, a token, an address or an e-mail."""
    account = system.account
    secrets = [account[key].encode() for key in ("api_token", "ftp_password", "email")]
    for program in ("control", "ingest", "delivery"):
        said = (system.folder / f"{program}.log").read_bytes()
        assert said.count(b"\n") > 2
        found = [each for each in [*names, *secrets, b"127.0.0.1", b"@"] if each and each in said]
        assert found == [], program


def test_what_a_killed_process_leaves_is_sealed(system: System) -> None:
    """In the middle of an upload: the disk of a process that nobody asked to tidy up."""
    system.start("control")
    system.start("ingest")
    until(system.is_serving, "ingest serves")
    content = Marked(system.folder, "passing", 32 << 20)
    sending = system.sending("SECRET_NAME.raw", content.path, system.token, "--limit-rate", "10M")
    until(lambda: any(path.stat().st_size > 1 << 20 for path in system.sealed_files()), "sealed")
    assert psutil.Process(system.pid("ingest")).is_running()
    system.end("ingest")
    sending.communicate()
    needles = {"content": content.mark, "a name": b"SECRET_NAME", **spelled(content_keys(system))}
    assert found_on_disk(needles, files_of(system)) == []
