"""Which port of one machine is whose, from one base number.  Pure.

The rule: every port of a system is computed from its base, so two systems with other bases never
meet, and only doors that exist have a port here.  See docs/contracts.md, ports and ready.json.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from zentransfer.ids import Region
from zentransfer.limits import PORT_BASE_MAX

LOOPBACK: Final = "127.0.0.1"
INDEX: Final[Mapping[Region, int]] = MappingProxyType({Region.US: 1, Region.FR: 2, Region.SG: 3})

_GRPC: Final = 1
_REGION: Final = 100
_FTP: Final = 21
_METRICS: Final = 80
_PASSIVE: Final = 2_000  # from one region's passive range to the next
_PASSIVE_PORTS: Final = 1_000  # for the one ingest process of a region


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
    """The listeners of one region's node, and the range of its FTP door's data connections."""

    http: Port
    ftp: Port
    metrics: Port
    passive: range


def control(base: int) -> ControlPorts:
    """Return control's ports; *base* is at most ``PORT_BASE_MAX``."""
    assert 0 < base <= PORT_BASE_MAX, "the settings refuse it before"
    return ControlPorts(Port("control HTTP", base), Port("control gRPC", base + _GRPC))


def region(base: int, where: Region) -> RegionPorts:
    """Return the ports of the node in *where*."""
    assert 0 < base <= PORT_BASE_MAX, "the settings refuse it before"
    first = base + _REGION * INDEX[where]
    passive = base + _PASSIVE * INDEX[where]
    return RegionPorts(
        http=Port(f"{where} HTTP", first),
        ftp=Port(f"{where} FTP", first + _FTP),
        metrics=Port(f"{where} metrics", first + _METRICS),
        passive=range(passive, passive + _PASSIVE_PORTS),
    )


def table(base: int, regions: Iterable[Region]) -> tuple[Port, ...]:
    """Return every port that a system of these *regions* listens on, control's first."""
    of_control = control(base)
    of_regions = [region(base, where) for where in regions]
    return (
        of_control.http,
        of_control.grpc,
        *(port for ports in of_regions for port in (ports.http, ports.ftp, ports.metrics)),
    )
