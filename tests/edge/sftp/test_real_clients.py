"""The clients of SFTP that people have, against a door on a real port."""

import asyncio
import os
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.support.sftp_door import Door, run

pytestmark = pytest.mark.peer

CONTENT = Random(3).randbytes(3_000_000)
QUIET = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "PubkeyAuthentication=no", "-o", "LogLevel=ERROR", "-F", "none"),
)


async def done(words: list[str], given: bytes = b"", **env: str) -> tuple[int, bytes]:
    """Run a program; return its exit code and all that it said."""
    if shutil.which(words[0]) is None:
        pytest.fail(f"{words[0]} is missing: apt-get install openssh-client lftp")
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **env},  # noqa: TID251 - what the program needs of the machine's
        start_new_session=True,
    )
    said, _ = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, said


async def sftp(door: Door, tmp_path: Path, script: str, secret: str = "") -> tuple[int, bytes]:
    """Run OpenSSH's client, which asks a program for the password."""
    shown = door.node.customer.shown
    asked = tmp_path / "ask"
    asked.write_text(f"#!/bin/sh\necho {secret or shown.secret}\n")
    asked.chmod(0o700)
    words = ["sftp", "-q", *QUIET, "-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1"]
    words += ["-P", str(door.port), "-b", "-", f"{shown.name}@127.0.0.1"]
    return await done(words, script.encode(), SSH_ASKPASS=str(asked), SSH_ASKPASS_REQUIRE="force")


async def stored(door: Door) -> dict[str, bytes]:
    found = await door.committed()
    assert len(found) == len(door.node.outcomes()), "something failed"
    return {"/".join(filter(None, (name.folder, name.name))): body for name, body in found}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


def test_openssh_uploads_files_and_folders(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "sub" / "c.jpg").write_bytes(b"c")
    script = (
        f"mkdir DCIM\ncd DCIM\nput -p {file} b.bin\nls -l\nput {file} x.tmp\nrename x.tmp x.bin\n"
        f"cd /\nput -r {tmp_path}/dir\npwd\n-get DCIM/b.bin {tmp_path}/back\n"
    )

    async def test(door: Door) -> None:
        code, said = await sftp(door, tmp_path, script)
        assert code == 0, said
        assert b"3000000" in said, "the listing has the size"
        assert b"never served back" in said or b"Permission denied" in said
        assert await stored(door) == {
            "DCIM/b.bin": CONTENT,
            "DCIM/x.bin": CONTENT,
            "dir/sub/c.jpg": b"c",
        }
        assert not (tmp_path / "back").exists() or not (tmp_path / "back").read_bytes()

    run(test, uvloop=True)


def test_openssh_is_refused_with_a_wrong_password(tmp_path: Path) -> None:
    async def test(door: Door) -> None:
        code, _ = await sftp(door, tmp_path, "pwd\n", secret="a" * 20)
        assert code

    run(test, uvloop=True)


def test_lftp_uploads_a_file_and_mirrors_a_folder(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    for name in "pqr":
        (tmp_path / "dir" / f"{name}.bin").write_bytes(CONTENT[:70_000])

    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        connect = "ssh -a -x " + " ".join(QUIET)
        script = (
            f"set sftp:connect-program '{connect}'; set net:max-retries 2; set net:timeout 15; "
            f"set cmd:fail-exit yes; put {file} -o a.bin; set xfer:use-temp-file yes; "
            f"put {file} -o t.bin; mirror -R -P 2 {tmp_path}/dir dir; ls; bye"
        )
        code, said = await done(
            [
                *("lftp", "-u", f"{shown.name},{shown.secret}"),
                *("-e", script, f"sftp://127.0.0.1:{door.port}"),
            ]
        )
        assert code == 0, said
        assert await stored(door) == {
            "a.bin": CONTENT,
            "t.bin": CONTENT,
            **{f"dir/{name}.bin": CONTENT[:70_000] for name in "pqr"},
        }

    run(test, uvloop=True)
