"""Takeovers between processes, counted for all of them: who took an upload from whom, how often.

The rule: as within one process, two copies of a client may not starve each other for ever; so an
upload that went to and fro TAKEOVERS_PER_MINUTE_MAX times stays where it is for the rest of a
minute.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID
from zentransfer.limits import CUTS_KEPT_MAX, TAKEOVERS_PER_MINUTE_MAX

_MINUTE_S: Final = 60.0


class Cuts:
    """The last requests that ended because another process took their upload."""

    def __init__(self, time_s: Callable[[], float]) -> None:
        """Go by *time_s*, the loop's clock."""
        self._time_s = time_s
        self._cuts = OrderedDict[UploadID, deque[tuple[float, int]]]()

    def note(self, upload: UploadID, fence: int) -> None:
        """Count that the claim under *fence* ended a request; once, however often it is told."""
        cuts = self._cuts.setdefault(upload, deque(maxlen=TAKEOVERS_PER_MINUTE_MAX))
        if all(fence != other for _, other in cuts):
            cuts.append((self._time_s(), fence))
        self._cuts.move_to_end(upload)
        if len(self._cuts) > CUTS_KEPT_MAX:
            self._cuts.popitem(last=False)

    def must_be_seldom(self, upload: UploadID) -> None:
        """Raise ``Error(LOCKED)`` where *upload* was taken to and fro too often of late."""
        cuts = self._cuts.get(upload)
        if cuts is None or len(cuts) < TAKEOVERS_PER_MINUTE_MAX:
            return
        since_s = self._time_s() - cuts[0][0]
        if since_s < _MINUTE_S:
            raise Error(Code.LOCKED, retry_after_s=_MINUTE_S - since_s)
