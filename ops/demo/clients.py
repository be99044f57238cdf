"""The demo's senders: laptops on three continents by HTTP, and a camera in France by FTP."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ftplib import FTP, all_errors
from pathlib import Path
from typing import Final

from ops.demo.inputs import Input
from ops.demo.world import PATIENCE_S, DemoFailed, World
from zentransfer.ids import Region
from zentransfer.service import inherited

_COMMAND: Final = Path(sys.executable).parent / "zentransfer"


@dataclass(frozen=True, slots=True)
class Laptop:
    """Somebody with files; ``address`` is where the lab places it, ``region`` what is nearest.

    One that ``waits`` goes on at its region when the node there dies, and at no other.
    """

    city: str
    address: str
    region: Region
    inputs: Sequence[Input]
    waits: bool = False


def sending(world: World, laptop: Laptop, token: str) -> subprocess.Popen[str]:
    """Let *laptop* begin to send by ``zentransfer send``; it ends when all is delivered."""
    return subprocess.Popen(  # noqa: S603 - our own command line, no shell
        [
            *(_COMMAND, "send", "--json", "--control", world.ready["control"]["url"]),
            *("--lab-client", laptop.address),
            *("--region", laptop.region if laptop.waits else "auto"),
            *(one.path for one in laptop.inputs),
        ],
        env=inherited() | {"ZT_SEND_TOKEN": token},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sent(laptop: Laptop, running: subprocess.Popen[str]) -> None:
    """Wait until *laptop* has sent everything; raises :class:`DemoFailed` with its words."""
    try:
        said = running.communicate(timeout=PATIENCE_S)[0]
    except subprocess.TimeoutExpired as late:
        running.kill()
        said = running.communicate()[0]
        raise DemoFailed(f"{laptop.city} is still sending:\n{said}") from late
    if running.returncode:
        raise DemoFailed(f"{laptop.city} could not send (exit {running.returncode}):\n{said}")


def send_by_camera(address: str, user: str, password: str, inputs: Sequence[Input]) -> None:
    """Store *inputs* one after the other, as a camera does: passive mode, binary, one login."""
    host, _, port = address.rpartition(":")
    try:
        with FTP() as camera:  # noqa: S321 - cameras speak it, and it does not leave this machine
            camera.connect(host, int(port), timeout=30)
            camera.login(user, password)
            for one in inputs:
                with one.path.open("rb") as file:
                    camera.storbinary(f"STOR {one.name}", file)
    except all_errors as failed:
        raise DemoFailed(f"the camera could not send: {failed}") from failed
