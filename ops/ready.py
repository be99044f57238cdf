"""The document ready.json: where everything of a running system is.  Pure.

The rule: a door that does not exist yet is ``null``; nobody finds an address that nobody answers.
See docs/contracts.md, ports and ready.json.
"""

import json
from collections.abc import Mapping
from typing import Final, TypedDict

from ops import ports
from ops.programs import Place, ftp_address, http_url, node_name
from zentransfer.ids import Region

FILE_NAME: Final = "ready.json"


class ControlPart(TypedDict):
    """The control plane: its pages, its gRPC address, its process."""

    url: str
    grpc: str
    pid: int


class EdgePart(TypedDict):
    """One node: its doors, and the pids of its processes by their names (``ingest-0``)."""

    node: str
    http: str
    ftp: str | None
    ftps: str | None
    sftp: str | None
    metrics: str
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
    of_region = ports.region(place.base, region)
    return EdgePart(
        node=node_name(region),
        http=http_url(of_region),
        ftp=ftp_address(of_region),
        ftps=None,
        sftp=None,
        metrics=f"http://{ports.LOOPBACK}:{of_region.metrics.number}/metrics",
        pids={
            name.removeprefix(f"{region}-"): pid
            for name, pid in pids.items()
            if name.startswith(f"{region}-")
        },
    )


def text(of: Ready) -> str:
    """Return the document as the text of its file."""
    return json.dumps(of, indent=1, ensure_ascii=False) + "\n"
