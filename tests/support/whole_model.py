"""What was sent and what was promised, kept beside a whole system and apart from it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from zentransfer.errors import Code
from zentransfer.ids import DestinationID, UploadID


class Violation(AssertionError):
    """A promise that was not kept."""


@dataclass(eq=False)
class Sent:
    """One file of a client, from its first byte to whatever became of it.

    ``is_whole`` once its sender has ended it cleanly; ``told`` is the highest offset that was
    acknowledged, ``is_acked`` that success was said.  ``reply`` is what a refusal said.
    """

    content: bytes
    name: str
    upload: UploadID | None = None
    is_whole: bool = False
    is_acked: bool = False
    told: int = 0
    reply: Code | None = None


@dataclass
class Model:
    """The promises: everything that a client, an owner or a destination can see."""

    sent: list[Sent] = field(default_factory=list[Sent])
    cancelled: set[UploadID] = field(default_factory=set[UploadID])
    versions: dict[int, frozenset[DestinationID]] = field(
        default_factory=dict[int, frozenset[DestinationID]]
    )
    broken: list[str] = field(default_factory=list[str])
    trace: list[str] = field(default_factory=list[str])

    def hold(self, kept: bool, promise: str) -> None:
        """Note *promise* as broken unless it was *kept*; never raises inside the system."""
        if not kept:
            self.broken.append(promise)
            self.trace.append(f"broken: {promise}")

    def check(self) -> None:
        """Raise ``Violation`` for the first promise that was broken."""
        if self.broken:
            raise Violation(self.broken[0])

    def begin(self, content: bytes, name: str) -> Sent:
        """Return a new file of a client; empty ones have names of their own."""
        number = len(self.sent)
        if content:
            content += number.to_bytes(3)  # no two are the same
        else:
            name = f"empty-{number}.JPG"
        made = Sent(content, name)
        self.sent.append(made)
        return made

    def acked(self, one: Sent, upload: UploadID, size: int) -> None:
        """Success was said to the sender of *one*."""
        self.hold(one.is_whole, "a part was acknowledged as whole")
        self.hold(size == len(one.content), "another size was acknowledged than was sent")
        one.upload = upload
        one.is_acked = True

    def claimed(self, one: Sent, offset: int) -> None:
        """A sender that came back was told to go on at *offset* (law 1)."""
        self.hold(offset >= one.told, "an acknowledged byte is lost")
        self.hold(offset <= len(one.content), "more bytes are counted than were sent")
        one.told = max(one.told, offset)

    def appeared(self, shown: Iterable[tuple[str, bytes]], path: str, content: bytes) -> None:
        """An object became visible at a destination that shows *shown* already (law 4)."""
        of = self._maybe_of(path, content)
        self.hold(of is not None, "an object appeared that nobody sent whole")
        for other, held in shown:
            if other == path:
                self.hold(held == content, "an object was overwritten")
            elif held == content:
                self.hold(not content, "an object was delivered twice")

    def of_upload(self, upload: str) -> Sent | None:
        """Return the file that became *upload*."""
        return next((one for one in self.sent if one.upload == upload), None)

    def must_be_there(self, upload: UploadID) -> bool:
        """Say whether *upload* has to be delivered: whole, and not given up by its owner."""
        return upload not in self.cancelled

    def _maybe_of(self, path: str, content: bytes) -> Sent | None:
        stem = path.rpartition(".")[0].partition(" (")[0]
        for one in self.sent:
            if one.is_whole and one.content == content and one.name.rpartition(".")[0] == stem:
                return one
        return None
