"""The programs that people send with, run against a door of a test."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.ftp_door import Door

HOST = "127.0.0.1"


async def done(program: str, *arguments: str, package: str = "") -> tuple[int, bytes]:
    """Run *program*; return its exit code and all that it said."""
    if shutil.which(program) is None:
        pytest.fail(f"{program} is missing: apt-get install {package or program}")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said


async def succeeds(program: str, *arguments: str, package: str = "") -> bytes:
    """Run *program*, which must succeed; return all that it said."""
    code, said = await done(program, *arguments, package=package)
    assert code == 0, said
    return said


async def curl(
    door: Door, path: str, *options: str, ends: int = 0, scheme: str = "ftp", entrance: int = 0
) -> None:
    """Run curl for *path*; it must end with the exit code *ends*."""
    shown = door.node.customer.shown
    url = f"{scheme}://{shown.name}:{shown.secret}@{HOST}:{door.ports[entrance]}/{path}"
    code, said = await done("curl", "-sS", "-k", "--max-time", "30", *options, url)
    assert code == ends, said


async def lftp(door: Door, script: str, *, scheme: str = "ftp", entrance: int = 0) -> None:
    """Run the commands *script* in lftp, signed in."""
    shown = door.node.customer.shown
    settings = (
        "set net:max-retries 2; set net:timeout 10; set net:reconnect-interval-base 1;"
        "set ssl:verify-certificate no;"
    )
    await succeeds(
        *("lftp", "-u", f"{shown.name},{shown.secret}", "-e"),
        *(f"{settings} {script}; bye", f"{scheme}://{HOST}:{door.ports[entrance]}"),
    )


async def python(door: Door, script: str, file: Path, entrance: int = 0) -> None:
    """Run *script*, which finds the port, name, secret and a file in its arguments."""
    shown = door.node.customer.shown
    arguments = (str(door.ports[entrance]), shown.name, shown.secret, str(file))
    await succeeds(sys.executable, "-c", script, *arguments)


async def rclone(door: Door, source: Path, folder: str, *, extra: str = "", at: int = 0) -> None:
    """Copy *source* into *folder* with rclone, which looks at the sizes afterwards."""
    shown = door.node.customer.shown
    hidden = (await succeeds("rclone", "obscure", shown.secret)).decode().strip()
    remote = f":ftp,host={HOST},port={door.ports[at]},user={shown.name},pass={hidden}{extra}:"
    await succeeds(
        *("rclone", "--config", "/dev/null", "copy", str(source), f"{remote}{folder}"),
        *("--retries", "1", "--low-level-retries", "1"),
    )


async def stored(door: Door) -> dict[str, bytes]:
    """Return what came whole, by its path; nothing else may have been begun."""
    found = await door.committed()
    assert len(found) == len(door.node.outcomes()), "something failed"
    return {"/".join(filter(None, (name.folder, name.name))): body for name, body in found}
