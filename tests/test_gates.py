"""Each gate refuses a planted fault, and passes the tree without it.

The tree is copied, one fault is planted, and the gate runs as `make check` and `make test` run it.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import tidy

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

RUFF_FORMAT = ("ruff", "format", "--check", "-q", "--no-cache")
RUFF_CHECK = ("ruff", "check", "-q", "--no-cache")
LAYERS = ("lint-imports", "--no-logo", "--no-cache")
WIRE = ("bash", "ops/proto.sh", "check")


@dataclass(frozen=True)
class Fault:
    """A file to add or to append to, the gate that must refuse it, and what it must say."""

    path: str
    text: str
    gate: tuple[str, ...]
    says: str


FAULTS = {
    "a pure module imports asyncio": Fault(
        "geo/choose.py", "\nimport asyncio\n", LAYERS, "asyncio"
    ),
    "a pure module reads the clock": Fault("edge/record.py", "\nimport time\n", LAYERS, "time"),
    "edge imports control": Fault(
        "edge/planted.py", '"""Planted."""\n\nimport control\n', LAYERS, "edge.planted -> control"
    ),
    "zentransfer imports a plane": Fault(
        "proto/zentransfer/planted.py", '"""Planted."""\n\nimport geo\n', LAYERS, "-> geo"
    ),
    "the core sees protobuf": Fault(
        "geo/choose.py", "\nfrom zentransfer.v1 import fleet_pb2\n", LAYERS, "zentransfer.v1"
    ),
    "an unformatted file": Fault(
        "edge/planted.py", '"""Planted."""\n\nX = {  "a":1 }\n', RUFF_FORMAT, "edge/planted.py"
    ),
    "a task that nobody owns": Fault(
        "edge/planted.py",
        '"""Planted."""\n\nimport asyncio\n\nSPAWN = asyncio.create_task\n',
        RUFF_CHECK,
        "TID251",
    ),
    "an untyped function, by mypy": Fault(
        "edge/planted.py",
        '"""Planted."""\n\n\ndef planted(x):\n    return x\n',
        ("mypy", "--no-incremental", "edge/planted.py"),
        "no-untyped-def",
    ),
    "an untyped function, by basedpyright": Fault(
        "edge/planted.py",
        '"""Planted."""\n\n\ndef planted(x):\n    return x\n',
        ("basedpyright", "edge/planted.py"),
        "reportMissingParameterType",
    ),
    "a field that changed its type on the wire": Fault(
        "proto/zentransfer/v1/facts.proto", "", WIRE, "facts.proto"
    ),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree: what git tracks, and what it would."""
    target = tmp_path_factory.mktemp("tree")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    (target / ".venv").symlink_to(BIN.parent)
    (target / "node_modules").symlink_to(ROOT / "node_modules")
    return target


def run(gate: Sequence[str], tree: Path) -> subprocess.CompletedProcess[str]:
    """Run *gate* in *tree*, whose packages win over the installed ones."""
    program = gate[0] if gate[0] == "bash" else str(BIN / gate[0])
    return subprocess.run(
        [program, *gate[1:]],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{tree}:{tree / 'proto'}",
            "HOME": str(tree),
        },
    )


def plant(tree: Path, fault: Fault) -> None:
    """Put *fault* into *tree*."""
    path = tree / fault.path
    if fault.path.endswith(".proto"):
        text = path.read_text()
        changed = text.replace("  uint64 ", "  string ", 1)
        assert changed != text
        path.write_text(changed)
    elif path.exists():
        path.write_text(path.read_text() + fault.text)
    else:
        path.write_text(fault.text)


@pytest.mark.peer
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_refused(name: str, tree: Path) -> None:
    fault = FAULTS[name]
    path = tree / fault.path
    before = path.read_bytes() if path.exists() else None
    if before is not None or "planted.py" not in str(fault.gate):
        assert (clean := run(fault.gate, tree)).returncode == 0, clean.stdout + clean.stderr
    plant(tree, fault)
    try:
        verdict = run(fault.gate, tree)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
    assert verdict.returncode != 0
    assert fault.says in verdict.stdout + verdict.stderr


def test_an_undeclared_log_field_is_refused(tree: Path) -> None:
    assert tidy.undeclared_log_fields(tree) == []
    planted = tree / "edge" / "planted.py"
    planted.write_text(
        '"""Planted."""\n\nfrom zentransfer import log\n\nlog.fact("link.up", address="x")\n'
    )
    try:
        (found,) = tidy.undeclared_log_fields(tree)
    finally:
        planted.unlink()
    assert "address" in found


def test_a_limit_without_a_test_is_refused(tree: Path) -> None:
    assert tidy.limits_without_tests(tree) == []
    limits = tree / "proto" / "zentransfer" / "limits.py"
    before = limits.read_text()
    limits.write_text(before + "\nPLANTED_MAX: Final = 1  # things: planted\n")
    try:
        (found,) = tidy.limits_without_tests(tree)
    finally:
        limits.write_text(before)
    assert "PLANTED_MAX" in found


def test_a_machine_path_is_refused(tree: Path) -> None:
    assert tidy.machine_paths(tree) == []
    planted = tree / "docs" / "planted.md"
    planted.write_text("see /" + "root/notes\n")
    try:
        (found,) = tidy.machine_paths(tree)
    finally:
        planted.unlink()
    assert "planted.md" in found
