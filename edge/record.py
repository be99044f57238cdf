"""The upload record: what a region knows of one upload, beside its sealed log.  Pure.

The rule: it changes by compare-and-swap only, from one value of this module to another, and its
fence never goes back; so whoever holds an older fence can neither add a segment nor commit.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from edge.seal.record import Walked
from zentransfer.ids import AccountID, CredentialID, OutcomeID, Region, UploadID, WorkflowID
from zentransfer.limits import (
    FINALS_PER_PARTIAL_MAX,
    SEGMENTS_PER_UPLOAD_MAX,
)


class State(StrEnum):
    """Where an upload stands; a state to the left never follows one to its right."""

    RECEIVING = "receiving"
    COMMITTED = "committed"
    PARTIAL = "partial"
    """Whole, and a piece of finals to come: never delivered by itself."""
    DAMAGED = "damaged"
    """Told bytes are no longer there: it fails visibly and is never rewound (law 1)."""
    DESTROYING = "destroying"
    DESTROYED = "destroyed"


class WrongState(Exception):
    """A transition that the record's state does not have."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment that counts: ``start`` in bytes of the upload."""

    number: int
    fence: int
    start: int
    header_hash: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the newest segment is known to be whole.

    ``offset`` was told.  ``walked`` is where a scan begins: at the last record before the mark, so
    that the scan sees whether what was told is still there.  ``position`` (bytes of the file) is
    where that record ends.  ``is_end`` means that a claim has scanned: nothing behind it counts.
    """

    offset: int
    position: int
    walked: Walked
    is_end: bool = False

    @classmethod
    def at(cls, offset: int, walked: Walked, *, is_end: bool = False) -> "Mark":
        """Return the mark at the end of *walked*, with *offset* told."""
        begin = Walked(
            walked.last_position,
            walked.last_written,
            offset,
            walked.last_position,
            walked.last_written,
        )
        return cls(offset, walked.position, begin, is_end)


@dataclass(frozen=True, slots=True)
class ManifestPlace:
    """Where the manifest stands in the last segment, and the digest that names it."""

    digest: bytes
    position: int
    counter: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What is stamped into the record with its end: one compare-and-swap for all of it.

    ``ended_ms`` is UTC milliseconds since 1970; ``outcome`` is the id under which the end is told.
    """

    workflow: WorkflowID | None = None
    workflow_version: int = 0
    ended_ms: int = 0
    outcome: OutcomeID | None = None


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One upload: whose it is, its state and fence, its segments, its end.

    ``length`` is the announced size in bytes, ``size`` the durable one once it is committed.
    ``names`` are sealed under the metadata key named ``names_kid``.  ``heard_ms`` is when bytes of
    it were last noted, UTC, or 0.  ``door`` and ``dialect`` are
    words of the doors: an upload is continued only in the dialect that created it.  ``gone_ms`` is
    when the content of one that never became whole was gone, UTC, or 0; ``is_gone_told`` that
    control is told so.

    An upload that ``is_partial`` is a piece of others (tus concatenation): ``finals`` names those,
    and it stays until the last of them is gone.  One with ``partials`` consists of those, in this
    order, and of no bytes of its own.
    """

    upload: UploadID
    account: AccountID
    region: Region
    created_ms: int
    door: str = ""
    dialect: str = ""
    credential: CredentialID | None = None
    length: int | None = None
    names: bytes = b""
    names_kid: str = ""
    heard_ms: int = 0
    state: State = State.RECEIVING
    fence: int = 1
    segments: tuple[Segment, ...] = ()
    mark: Mark | None = None
    size: int = 0
    manifest: ManifestPlace | None = None
    ending: Ending = Ending()
    gone_ms: int = 0
    is_gone_told: bool = False
    is_partial: bool = False
    finals: tuple[UploadID, ...] = ()
    partials: tuple[UploadID, ...] = ()

    @property
    def last_heard_ms(self) -> int:
        """When its sender was last heard of, UTC: it began it, sent bytes of it, or ended it."""
        return max(self.created_ms, self.heard_ms, self.ending.ended_ms)

    @property
    def next_number(self) -> int:
        """The number of the segment that comes next."""
        return self.segments[-1].number + 1 if self.segments else 1

    @property
    def is_full(self) -> bool:
        """Whether no further segment fits."""
        return len(self.segments) >= SEGMENTS_PER_UPLOAD_MAX

    def claimed(self) -> "UploadRecord":
        """Return the record under a higher fence, which shuts out every older writer."""
        self._must_be(State.RECEIVING)
        return replace(self, fence=self.fence + 1)

    def scanned(self, mark: Mark) -> "UploadRecord":
        """Return the record whose newest segment ends at *mark*; an empty segment is dropped."""
        self._must_be(State.RECEIVING)
        newest = self.segments[-1]
        if mark.offset > newest.start:
            return replace(self, mark=replace(mark, is_end=True))
        return replace(self, segments=self.segments[:-1], mark=self._end_at(newest.start))

    def opened(self, segment: Segment, mark: Mark) -> "UploadRecord":
        """Return the record with a further *segment*, which is whole up to *mark*."""
        self._must_be(State.RECEIVING)
        if segment.fence != self.fence or self.is_full:
            raise WrongState("no further segment under this fence")
        if self.mark is not None and not self.mark.is_end:
            raise WrongState("the newest segment is still open")
        return replace(self, segments=(*self.segments, segment), mark=mark)

    def marked(self, mark: Mark) -> "UploadRecord":
        """Return the record whose newest segment is whole up to *mark*."""
        self._must_be(State.RECEIVING)
        return replace(self, mark=mark)

    def heard(self, now_ms: int) -> "UploadRecord":
        """Return the record of an upload that had bytes at *now_ms* (UTC); never goes back."""
        return replace(self, heard_ms=max(self.heard_ms, now_ms))

    def named(self, names: bytes, kid: str) -> "UploadRecord":
        """Return the record with *names*, sealed under the metadata key *kid*."""
        return replace(self, names=names, names_kid=kid)

    def announced(self, length: int) -> "UploadRecord":
        """Return the record with its size in bytes announced; once set it never changes."""
        self._must_be(State.RECEIVING)
        if self.length not in (None, length):
            raise WrongState("another length was announced before")
        return replace(self, length=length)

    def committed(self, manifest: ManifestPlace, size: int, ending: Ending) -> "UploadRecord":
        """Return the record of an upload that is whole, with all that its end stamps."""
        self._must_be(State.RECEIVING)
        if self.length not in (None, size):
            raise WrongState("the upload is not as long as was announced")
        state = State.PARTIAL if self.is_partial else State.COMMITTED
        return replace(self, state=state, manifest=manifest, size=size, ending=ending, mark=None)

    def named_by(self, final: UploadID) -> "UploadRecord":
        """Return the record of a partial of *final* too; raises :class:`WrongState`.

        For what is no partial, has ended, or has as many finals as it may have.
        """
        if not self.is_partial or self.state not in (State.RECEIVING, State.PARTIAL):
            raise WrongState(f"no open partial: the upload is {self.state}")
        if final in self.finals:
            return self
        if len(self.finals) >= FINALS_PER_PARTIAL_MAX:
            raise WrongState("it has too many finals")
        return replace(self, finals=(*self.finals, final))

    def left_by(self, final: UploadID, *, was_whole: bool) -> "UploadRecord":
        """Return the record of a partial of *final* no more; it goes with the last whole one.

        What no whole upload consists of stays its sender's, and expires as unfinished ones do.
        """
        if final not in self.finals:
            return self
        to = replace(self, finals=tuple(each for each in self.finals if each != final))
        return to.destroying() if was_whole and not to.finals else to

    def damaged(self) -> "UploadRecord":
        """Return the record of an upload that lost what was told, under a higher fence."""
        self._must_be(State.RECEIVING)
        return replace(self, state=State.DAMAGED, fence=self.fence + 1)

    def ended(self, ending: Ending) -> "UploadRecord":
        """Return the record stamped with an end other than a commit (cancelled, expired).

        Its size is what was durable of it, which its tombstone still knows.
        """
        return replace(self, ending=ending, size=self.mark.offset if self.mark else self.size)

    def destroying(self) -> "UploadRecord":
        """Return the record of an upload whose keys go now; nothing may be opened or added."""
        if self.state in (State.DESTROYING, State.DESTROYED):
            return self
        return replace(self, state=State.DESTROYING, fence=self.fence + 1)

    def destroyed(self) -> "UploadRecord":
        """Return the tombstone: no names, no segments, and no content anywhere."""
        self._must_be(State.DESTROYING)
        return replace(
            self,
            state=State.DESTROYED,
            names=b"",
            names_kid="",
            segments=(),
            mark=None,
            finals=(),
            partials=(),
        )

    def lacks_receipt(self) -> bool:
        """Say whether this is the tombstone of what never became whole, and nobody is told of it.

        One that stands for what never was has no account, and nobody to be told.
        """
        is_part = self.state is State.DESTROYED and self.manifest is None
        is_whose = self.account != "" and self.ending.outcome is not None and not self.is_partial
        return is_part and is_whose and not self.is_gone_told

    def gone(self, now_ms: int) -> "UploadRecord":
        """Return the tombstone with the time at which its content was gone; the first one stays."""
        self._must_be(State.DESTROYED)
        return self if self.gone_ms else replace(self, gone_ms=now_ms)

    def gone_told(self) -> "UploadRecord":
        """Return the tombstone of which nothing is left to be told."""
        self._must_be(State.DESTROYED)
        return replace(self, is_gone_told=True)

    def _must_be(self, state: State) -> None:
        if self.state is not state:
            raise WrongState(f"the upload is {self.state}")

    def _end_at(self, offset: int) -> "Mark | None":
        """Return the mark that says: the segments there are end at *offset*, by a claim."""
        if len(self.segments) == 1:
            return None
        return Mark(offset, 0, Walked.begin(offset), is_end=True)
