"""What claims and ends do to an upload record, the same wherever it lies.

The rule: each is a pure step from the record that is there to the one that shall be, and raises to
leave it as it is.
"""

from typing import Final

from edge.record import State, UploadRecord
from edge.seal.broken import Reason
from edge.sinks.base import Ended, Fenced, UnknownUpload
from edge.sinks.records import Found
from zentransfer.ids import AccountID, Region, UploadID

LOST: Final = (Reason.CUT, Reason.MISSING, Reason.HEADER, Reason.SEGMENT)
"""What cannot come from a wrong key or region in the settings, which somebody may yet mend."""


def there(found: Found | None) -> Found:
    """Return *found*; raises :class:`UnknownUpload` for nothing."""
    if found is None:
        raise UnknownUpload
    return found


def claimed(found: Found | None) -> UploadRecord:
    """Return the record under a higher fence; raises :class:`Ended`, :class:`UnknownUpload`."""
    record = there(found).value
    if record.state is not State.RECEIVING:
        raise Ended(record)
    return record.claimed()


def ours(found: Found | None, fence: int) -> UploadRecord:
    """Return the record that is open under *fence*; raises :class:`Fenced` under any other."""
    record = there(found).value
    if record.fence != fence or record.state is not State.RECEIVING:
        raise Fenced
    return record


def destroying(found: Found | None, upload: UploadID, region: Region) -> UploadRecord:
    """Return the record of what shall go; what never had one gets one, so that none is born."""
    if found is not None:
        return found.value.destroying()
    nobody = AccountID("")
    return UploadRecord(upload, nobody, region, created_ms=0, state=State.DESTROYING)
