"""From a destination's entry in the snapshot to the thing that puts objects there."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.guard_proxy import Proxy
from edge.snapshot import DestinationEntry, DestinationKind
from edge.workflow.destinations.base import Destination, DestinationError, Fault
from edge.workflow.destinations.folder import FolderDestination
from edge.workflow.destinations.s3 import S3Destination
from edge.workflow.destinations.s3_place import bucket
from edge.workflow.destinations.secrets import Secrets
from zentransfer.errors import Code, Error
from zentransfer.ids import DestinationID
from zentransfer.limits import DESTINATIONS_OPEN_MAX


@dataclass(frozen=True, slots=True)
class Network:
    """What destinations beyond this machine need: their secrets, and who dials for them."""

    secrets: Secrets
    proxy: Proxy


class Kinds:
    """Every kind that this process offers, each destination made once and kept while in use."""

    def __init__(
        self,
        folder_roots: Sequence[Path],
        open_max: int = DESTINATIONS_OPEN_MAX,
        network: Network | None = None,
    ) -> None:
        """Deliver to folders at or below *folder_roots*; keep *open_max* destinations.

        Without a *network* nothing beyond this machine is offered.
        """
        self._network = network
        self._roots = folder_roots
        self._open_max = open_max
        self._open: OrderedDict[tuple[DestinationID, int], Destination] = OrderedDict()

    def get(self, entry: DestinationEntry) -> Destination:
        """Return the destination of *entry*; raises ``DestinationError`` for a kind not offered.

        One that was not used for longest is closed when there are too many.
        """
        key = (entry.id, entry.version)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = self._made(entry)
        self._open.move_to_end(key)
        if len(self._open) > self._open_max:
            _, oldest = self._open.popitem(last=False)
            oldest.close()
        return found

    def close(self) -> None:
        """Let go of all of them; idempotent."""
        while self._open:
            self._open.popitem()[1].close()

    def _made(self, entry: DestinationEntry) -> Destination:
        if entry.kind is DestinationKind.FOLDER:
            return FolderDestination(entry.address, self._roots, entry.clash)
        if entry.kind is DestinationKind.S3 and self._network is not None:
            return _bucket(entry, self._network)
        detail = f"destinations of kind {entry.kind} are not offered yet"
        raise DestinationError(Code.UNAVAILABLE, detail, Fault.DESTINATION)


def _bucket(entry: DestinationEntry, network: Network) -> S3Destination:
    try:
        where = bucket(entry.address, entry.endpoint, entry.store_region)
    except Error as wrong:
        raise DestinationError(wrong.code, wrong.detail, Fault.DESTINATION) from wrong
    return S3Destination(where, network.secrets.s3(entry), network.proxy, entry.clash)
