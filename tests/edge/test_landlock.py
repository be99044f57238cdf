"""What the kernel denies is tried in processes of their own: nothing gives it back to this one."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge import landlock
from edge.landlock import State
from tests.support.ingest_node import IngestNode
from tests.support.waiting import until

pytestmark = [pytest.mark.peer]

HAS_LANDLOCK = landlock.version() > 0

PREAMBLE = """
import os, sys, threading
from pathlib import Path
from edge import landlock

root = Path(sys.argv[1])
secret = root / "keys/private/content.key"

def tried(act):
    try:
        act()
    except OSError as refused:
        return os.strerror(refused.errno)
    return "done"
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    for name in ("keys/private", "keys/public", "sink", "outbox"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "keys/private/content.key").write_bytes(b"secret")
    (tmp_path / "keys/public/keys.json").write_bytes(b"public")
    return tmp_path


def run(node: Path, script: str) -> list[str]:
    """Return what *script* prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, str(node)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


DENY = "answer = landlock.deny([root / 'keys/private', root / 'keys/root'])\nprint(answer.state)\n"

REFUSED = {
    "read": "secret.read_bytes()",
    "write": "secret.write_bytes(b'x')",
    "truncate": "os.truncate(secret, 0)",
    "remove": "secret.unlink()",
    "add": "(secret.parent / 'mine.key').write_bytes(b'x')",
    "link away": "os.link(secret, root / 'sink/x')",
    "move away": "os.rename(secret, root / 'sink/x')",
    "move the folder away": "os.rename(root / 'keys/private', root / 'sink/private')",
    "through a link": "(os.symlink(secret, root / 'sink/x'), (root / 'sink/x').read_bytes())",
    "through the parent's root": "open(f'/proc/{os.getppid()}/root{secret}').read()",
}


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock; the next test shows it")
@pytest.mark.parametrize("what", REFUSED)
def test_a_denied_folder_is_out_of_reach_even_for_root(node: Path, what: str) -> None:
    state, outcome = run(node, f"{DENY}print(tried(lambda: {REFUSED[what]}))")
    assert state == State.DENIED
    assert outcome in ("Permission denied", "Invalid cross-device link", "Operation not permitted")
    assert (node / "keys/private/content.key").read_bytes() == b"secret"


def test_the_answer_says_what_is_so(node: Path) -> None:
    state, outcome = run(node, f"{DENY}print(tried(secret.read_bytes))")
    if HAS_LANDLOCK:
        assert (state, outcome) == (State.DENIED, "Permission denied")
    else:
        assert (state, outcome) == (State.UNSUPPORTED, "done")


def test_a_detail_names_no_path(node: Path) -> None:
    (detail,) = run(node, "print(landlock.deny([root / 'keys/private']).detail)")
    assert "/" not in detail
    assert detail


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
def test_what_is_not_denied_goes_on(node: Path) -> None:
    script = f"""{DENY}
work = root / "sink/a"
work.mkdir()
(work / "new").write_bytes(b"bytes")
os.link(work / "new", work / "other")
os.rename(work / "other", root / "outbox/other")
(work / "new").unlink()
print((root / "outbox/other").read_text(), (root / "keys/public/keys.json").read_text())
print(len(os.urandom(8)), len(Path("/dev/urandom").open("rb").read(8)))
Path("/dev/null").write_bytes(b"x")
"""
    assert run(node, script) == [State.DENIED, "bytes public", "8 8"]


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
def test_threads_and_programs_that_are_started_later_are_denied_too(node: Path) -> None:
    script = f"""{DENY}
found = []
thread = threading.Thread(target=lambda: found.append(tried(secret.read_bytes)))
thread.start()
thread.join()
print(found[0])
import subprocess
print(subprocess.run(["cat", secret], capture_output=True).returncode)
"""
    assert run(node, script) == [State.DENIED, "Permission denied", "1"]


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no such right anyway")
def test_the_disk_below_the_file_system_is_denied_too(node: Path) -> None:
    script = f"""{DENY}
import stat
disks = [p for p in Path("/dev").iterdir() if p.is_block_device()]
print({{tried(lambda: os.open(each, os.O_RDONLY)) for each in disks}} <= {{"Permission denied"}})
made = root / "sink/disk"
print(tried(lambda: os.mknod(made, 0o600 | stat.S_IFBLK, os.makedev(254, 0))))
print(tried(lambda: os.mknod(made, 0o600 | stat.S_IFCHR, os.makedev(1, 1))))
"""
    assert run(node, script) == [State.DENIED, "True", "Permission denied", "Permission denied"]


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
def test_a_process_that_has_threads_already_is_told_that_it_is_too_late(node: Path) -> None:
    script = """
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
answer = landlock.deny([root / "keys/private"])
stop.set()
thread.join()
print(answer.state, answer.is_denied, tried(secret.read_bytes))
"""
    assert run(node, script) == [f"{State.FAILED} False done"]


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
def test_a_denial_can_be_repeated_and_never_undone(node: Path) -> None:
    script = f"""{DENY}
print(landlock.deny([]).state)
print(tried(secret.read_bytes))
"""
    assert run(node, script) == [State.DENIED, State.DENIED, "Permission denied"]


# Imported by every Python before its program; it acts when it is told to, from the inside.
SPY = """
import os, signal
from pathlib import Path

def tried(path):
    try:
        return f"{path} {len(Path(path).read_bytes()) > 0}"
    except OSError as refused:
        return f"{path} {os.strerror(refused.errno)}"

def spy(*_):
    folder = Path(os.environ["SPY_FOLDER"])
    said = [tried(path) for path in os.environ["SPY_PATHS"].split(":")]
    (folder / "saying").write_text("\\n".join(said))
    (folder / "saying").rename(folder / "said")

signal.signal(signal.SIGUSR1, spy)
"""


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
def test_a_running_ingest_process_cannot_open_a_private_key(tmp_path: Path) -> None:
    node = IngestNode(tmp_path).prepare()
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    keys = node.data / "keys"
    private = sorted([*(keys / "private").iterdir(), *(keys / "root").iterdir()])
    public = keys / "public" / "keys.json"
    assert len(private) == 3
    assert all(len(path.read_bytes()) == 32 for path in private), "they are there for others"
    path = os.pathsep.join([str(tmp_path / "spy"), *sys.path])
    paths = ":".join(str(each) for each in [*private, public])
    try:
        process = node.start(
            *("env", f"PYTHONPATH={path}", f"SPY_FOLDER={node.data / 'run'}", f"SPY_PATHS={paths}")
        )
        process.send_signal(signal.SIGUSR1)
        until(lambda: node.curl("/livez").status == 200 and (node.data / "run/said").exists(), "it")
        assert (node.data / "run" / "said").read_text().splitlines() == [
            *(f"{each} {os.strerror(errno.EACCES)}" for each in private),
            f"{public} True",
        ]
        assert node.put("a.jpg", b"content").status == 201
    finally:
        node.stop()
