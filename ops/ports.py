"""Which port of one machine is whose, from one base number.  Pure.

The rule: every port of a system is computed from its base, so two systems with other bases never
meet, and only doors that exist have a port here.  See docs/contracts.md, ports and ready.json.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from zentransfer.ids import Region
from zentransfer.limits import INGEST_WORKERS_MAX, PORT_BASE_MAX

LOOPBACK: Final = "127.0.0.1"
INDEX: Final[Mapping[Region, int]] = MappingProxyType({Region.US: 1, Region.FR: 2, Region.SG: 3})

_GRPC: Final = 1
_REGION: Final = 100
_FTP: Final = 21
_SFTP: Final = 22
_METRICS: Final = 80  # and one more for each further index
_FTPS: Final = 90  # implicit TLS
_PASSIVE: Final = 2_000  # from one region's passive range to the next
_PASSIVE_PORTS: Final = 1_000  # for each ingest worker of a region, as far as the range goes


@dataclass(frozen=True)
class Port:
    """One port on the loopback address, and what listens there ("us HTTP")."""

    role: str
    number: int


@dataclass(frozen=True)
class ControlPorts:
    """The listeners of the control plane."""

    http: Port
    grpc: Port


@dataclass(frozen=True)
class RegionPorts:
    """The listeners of one region's node, and the range of its FTP door's data connections.

    ``metrics`` is that of each ingest process by its index: twice as many as work at a time, for
    one that is replaced and its successor.  The workers share ``passive`` out among themselves.
    """

    http: Port
    ftp: Port
    sftp: Port
    ftps: Port
    metrics: tuple[Port, ...]
    passive: range

    @property
    def doors(self) -> dict[str, Port]:
        """Return the listeners that clients know, by the names of the sockets handed on."""
        return {"http": self.http, "ftp": self.ftp, "sftp": self.sftp, "ftps": self.ftps}


def control(base: int) -> ControlPorts:
    """Return control's ports; *base* is at most ``PORT_BASE_MAX``."""
    assert 0 < base <= PORT_BASE_MAX, "the settings refuse it before"
    return ControlPorts(Port("control HTTP", base), Port("control gRPC", base + _GRPC))


def region(base: int, where: Region, workers: int = 1) -> RegionPorts:
    """Return the ports of the node in *where* with so many ingest *workers*."""
    assert 0 < base <= PORT_BASE_MAX, "the settings refuse it before"
    first = base + _REGION * INDEX[where]
    passive = base + _PASSIVE * INDEX[where]
    return RegionPorts(
        http=Port(f"{where} HTTP", first),
        ftp=Port(f"{where} FTP", first + _FTP),
        sftp=Port(f"{where} SFTP", first + _SFTP),
        ftps=Port(f"{where} FTPS", first + _FTPS),
        metrics=tuple(
            Port(f"{where} metrics{f' {index}' if index else ''}", first + _METRICS + index)
            for index in range(2 * workers)
        ),
        passive=range(passive, passive + min(workers * _PASSIVE_PORTS, _PASSIVE)),
    )


def table(base: int, regions: Iterable[Region], workers: int = 1) -> tuple[Port, ...]:
    """Return every port that a system of these *regions* may listen on, control's first."""
    of_control = control(base)
    of_regions = [region(base, where, workers) for where in regions]
    return (
        of_control.http,
        of_control.grpc,
        *(port for ports in of_regions for port in (*ports.doors.values(), *ports.metrics)),
    )


assert _METRICS + 2 * INGEST_WORKERS_MAX <= _FTPS, "the metrics end below the next door's port"
