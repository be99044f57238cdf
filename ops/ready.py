"""The document ready.json: where everything of a running system is.  Pure.

The rule: a door that does not exist yet is ``null``; nobody finds an address that nobody answers.
See docs/contracts.md, ports and ready.json.
"""

import json
from collections.abc import Mapping
from typing import Final, TypedDict

from ops import ports
from ops.programs import Place, address, ftp_address, http_url, metrics_url, node_name, readyz_url
from zentransfer.ids import Region

FILE_NAME: Final = "ready.json"

_INGEST: Final = "ingest-"


class ControlPart(TypedDict):
    """The control plane: its pages, its gRPC address, its process."""

    url: str
    grpc: str
    pid: int


class EdgePart(TypedDict):
    """One node: its doors, and the pids of its processes by their names (``ingest-0``).

    ``readyz`` says by the same names where each process that has a listener says how it is;
    ``metrics`` is that of the first of them.
    """

    node: str
    http: str
    ftp: str | None
    ftps: str | None
    sftp: str | None
    metrics: str
    readyz: dict[str, str]
    pids: dict[str, int]


class Ready(TypedDict):
    """The whole document."""

    control: ControlPart
    dashboard: str | None
    edges: dict[str, EdgePart]
    account: dict[str, str] | None
    mailbox: str
    delivered: str


def document(
    place: Place, pids: Mapping[str, int], account: Mapping[str, str] | None = None
) -> Ready:
    """Return the document of the system at *place*; *pids* is by program name and complete.

    *account* is how one signs in to the first account.
    """
    of_control = ports.control(place.base)
    return Ready(
        control=ControlPart(
            url=f"http://localhost:{of_control.http.number}",
            grpc=f"{ports.LOOPBACK}:{of_control.grpc.number}",
            pid=pids["control"],
        ),
        dashboard=None,
        edges={str(region): _edge(place, region, pids) for region in place.regions},
        account=dict(account) if account else None,
        mailbox=str(place.folder / "mail"),
        delivered=str(place.delivered),
    )


def _edge(place: Place, region: Region, pids: Mapping[str, int]) -> EdgePart:
    of_region = place.ports(region)
    of_node = {
        name.removeprefix(f"{region}-"): pid
        for name, pid in pids.items()
        if name.startswith(f"{region}-")
    }
    takers = {name: int(name.removeprefix(_INGEST)) for name in of_node if name.startswith(_INGEST)}
    return EdgePart(
        node=node_name(region),
        http=http_url(of_region),
        ftp=ftp_address(of_region),
        ftps=address(of_region.ftps),
        sftp=address(of_region.sftp),
        metrics=metrics_url(of_region, min(takers.values(), default=0)),
        readyz={name: readyz_url(of_region, index) for name, index in takers.items()},
        pids=of_node,
    )


def text(of: Ready) -> str:
    """Return the document as the text of its file."""
    return json.dumps(of, indent=1, ensure_ascii=False) + "\n"
