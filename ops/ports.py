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
_METRICS: Final = 80


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
    """The listeners of one region's node."""

    http: Port
    metrics: Port


def control(base: int) -> ControlPorts:
    """Return control's ports; *base* is at most ``PORT_BASE_MAX``."""
    assert 0 < base <= PORT_BASE_MAX, "the settings refuse it before"
    return ControlPorts(Port("control HTTP", base), Port("control gRPC", base + _GRPC))


def region(base: int, where: Region) -> RegionPorts:
    """Return the ports of the node in *where*."""
    assert 0 < base <= PORT_BASE_MAX, "the settings refuse it before"
    first = base + _REGION * INDEX[where]
    return RegionPorts(Port(f"{where} HTTP", first), Port(f"{where} metrics", first + _METRICS))


def table(base: int, regions: Iterable[Region]) -> tuple[Port, ...]:
    """Return every port that a system of these *regions* listens on, control's first."""
    of_control = control(base)
    of_regions = [region(base, where) for where in regions]
    return (
        of_control.http,
        of_control.grpc,
        *(port for ports in of_regions for port in (ports.http, ports.metrics)),
    )
