"""Why a sealed log is refused, one word for each way it can be wrong.  Pure."""

from enum import StrEnum


class Reason(StrEnum):
    """What a reader found; none of them heals by trying again."""

    NOT_WHOLE = "not_whole"
    """There is no manifest: the upload was never finished, or is being destroyed."""
    MISSING = "missing"
    """A segment that must be there is not."""
    HEADER = "header"
    """A header that is not in the one form it can have."""
    ORIGIN = "origin"
    """A header or manifest that no ingest of this region wrote."""
    FOREIGN = "foreign"
    """A header of another upload, account or region."""
    SEGMENT = "segment"
    """A header that is not the one the log names at this place."""
    KEY = "key"
    """A data key that the region's private key does not open."""
    MANIFEST = "manifest"
    """A manifest that is not authentic, or contradicts the log."""
    CUT = "cut"
    """A segment that ends before its counted end."""
    RECORD = "record"
    """A record whose frame or CRC is wrong: an accident."""
    FORGED = "forged"
    """A record with a good CRC that is not authentic: malice, or a wrong place."""


class Broken(Exception):
    """A sealed log that must not be believed; it never heals."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
