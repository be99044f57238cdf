"""The SFTP door of an ingest process, opened on its listener."""

import socket

from edge.ftp.defence import Defence
from edge.pace import Patience
from edge.process import Process
from edge.resumable import Resumables
from edge.sftp.bounds import FOLDER, Bounds
from edge.sftp.doors import SftpDoor
from edge.sftp.files import Terms
from edge.sftp.host_keys import host_keys
from edge.sftp.server import Desk
from zentransfer import metrics
from zentransfer.clock import SystemClock
from zentransfer.disk import RealDisk
from zentransfer.limits import SFTP_RENAME_S
from zentransfer.service import CannotStart, Service, Stage


async def open_sftp(
    self: Process,
    service: Service,
    listener: socket.socket,
    resumables: Resumables,
    patience: Patience,
    defence: Defence,
) -> SftpDoor:
    """Serve SFTP at *listener* until *service* ends; makes the node's host keys if need be.

    Raises :class:`CannotStart` for host keys that cannot be read or made.
    """
    disk = RealDisk(self.settings.data_dir / FOLDER)
    try:
        keys = await host_keys(disk)
    except (OSError, ValueError) as wrong:
        raise CannotStart(
            "The SFTP door's host keys cannot be read or made.",
            f"Look at the folder {FOLDER} in data_dir; without it new ones are made.",
        ) from wrong
    finally:
        disk.close()
    desk = Desk(resumables, SystemClock(), Terms(patience, SFTP_RENAME_S))
    door = SftpDoor(desk, keys, Bounds(), defence=defence)
    service.on_leave(Stage.STOP_ADMITTING, "sftp", door.leave)
    service.on_leave(Stage.CLOSE, "sftp", door.close)
    await door.serve(listener)
    metrics.watch(self.registry, "zt_sftp_connections", "clients of SFTP", lambda: door.connections)
    return door
