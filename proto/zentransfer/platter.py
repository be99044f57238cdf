"""What a simulated disk holds: what its readers see, what is durable, and what waits in between.

The rule: what was not flushed may be there after a crash or not, in any combination that a file
system could leave.  Bytes are kept or lost by the sector, each in any version since the last
flush; names change by the whole operation, and an operation that builds on a lost one is lost.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

Choose = Callable[[int], int]
"""Picks what a crash leaves: of *count* candidates, oldest first, the index of one.

0 is what was durable, the last is what readers saw."""

SECTOR_BYTES: Final = 512  # what a disk writes wholly or not at all


def keep_none(_count: int) -> int:
    """Leave only what was flushed."""
    return 0


def keep_all(count: int) -> int:
    """Leave everything, as if it had been flushed."""
    return count - 1


def keep_some(random: Random) -> Choose:
    """Leave a seeded mixture; nothing, half, everything and anything between are all likely."""
    newest = random.choice((0.0, 0.0, 0.5, 1.0, random.random()))
    older = random.choice((keep_none, random.randrange))

    def choose(count: int) -> int:
        return count - 1 if count == 1 or random.random() < newest else older(count - 1)

    return choose


class Content:
    """The bytes of one file; ``seen`` is what every reader sees at once."""

    def __init__(self, sector: int) -> None:
        """Start empty and durable; *sector* is the size in bytes of what survives as a whole."""
        self.seen = bytearray()
        self.allocated = 0  # bytes reserved from the start
        self.links = 0
        self.opens = 0
        self.charged = 0  # bytes that the platter counts for this file
        self.holder: object = None  # whoever holds this file as a lock
        self._sector = sector
        self._durable: dict[int, bytes] = {}  # sector number -> bytes; a missing one reads as zeros
        self._durable_size = 0
        self._waiting: dict[int, list[tuple[int, bytes]]] = {}  # versions since, with their moment
        self._waiting_sizes: list[tuple[int, int]] = []
        self._lost: dict[int, None] = {}  # seen, not durable, and no flush will try again

    @property
    def room(self) -> int:
        """Return the bytes of whole sectors that the file takes up."""
        size = max(self.allocated, len(self.seen))
        return -(-size // self._sector) * self._sector

    def write(self, data: bytes | memoryview, position: int, moment: int) -> None:
        """Put *data* at *position* (bytes) as of *moment*."""
        if not data:
            return
        end = position + len(data)
        if end > len(self.seen):
            self.seen.extend(bytes(end - len(self.seen)))
            self._waiting_sizes.append((moment, end))
        self.seen[position:end] = data
        self._written(position, end, moment)

    def truncate(self, size: int, moment: int) -> None:
        """Cut to *size* bytes or grow by zeros, as of *moment*."""
        before = len(self.seen)
        del self.seen[size:]
        self.seen.extend(bytes(max(0, size - before)))
        self.allocated = 0
        if size != before:
            self._waiting_sizes.append((moment, size))
            self._written(size, max(size, before), moment)

    def flushed(self, until: int) -> None:
        """Make durable what was written up to the moment *until*."""
        for number, version in self._taken(until):
            self._durable[number] = version
        sizes = [size for moment, size in self._waiting_sizes if moment <= until]
        if sizes:
            self._durable_size = sizes[-1]
            del self._waiting_sizes[: len(sizes)]

    def failed(self, until: int) -> None:
        """Lose what was written up to *until*: seen as before, and never to be written."""
        # The size stays on its way: the next flush makes a file of the right size full of zeros.
        for number, _ in self._taken(until):
            if number not in self._waiting:
                self._lost[number] = None

    def drop_cache(self) -> None:
        """Show what is durable in place of what a failed flush lost."""
        for number in self._lost:
            start = number * self._sector
            length = len(self.seen[start : start + self._sector])
            self.seen[start : start + length] = self._on_disk(number)[:length]
        self._lost.clear()

    def after_crash(self, choose: Choose | None, random: Random) -> "Content":
        """Return the file as a crash leaves it, with nothing waiting."""
        of_size, of_bytes = choose or keep_some(random), choose or keep_some(random)
        left = Content(self._sector)
        sizes = [self._durable_size, *(size for _, size in self._waiting_sizes)]
        left.seen = bytearray(sizes[of_size(len(sizes))])
        for number in sorted({**self._durable, **self._waiting}):
            start = number * self._sector
            version = self._version(number, of_bytes, random)
            if start < len(left.seen):
                length = min(self._sector, len(left.seen) - start)
                left.seen[start : start + length] = version[:length]
        left._durable_size = len(left.seen)
        left._durable = {
            start // self._sector: left._sectored(start)
            for start in range(0, len(left.seen), self._sector)
        }
        return left

    def _version(self, number: int, choose: Choose, random: Random) -> bytes:
        versions = [self._on_disk(number)]
        if number in self._waiting and number * self._sector >= self._durable_size:
            # A block given to the file before its bytes arrived shows what it held before.
            versions.append(random.randbytes(self._sector))
        versions += [version for _, version in self._waiting.get(number, ())]
        return versions[choose(len(versions))]

    def _on_disk(self, number: int) -> bytes:
        return self._durable.get(number, bytes(self._sector))

    def _sectored(self, start: int) -> bytes:
        return bytes(self.seen[start : start + self._sector]).ljust(self._sector, b"\0")

    def _written(self, start: int, end: int, moment: int) -> None:
        for number in range(start // self._sector, -(-end // self._sector)):
            version = (moment, self._sectored(number * self._sector))
            self._waiting.setdefault(number, []).append(version)
            self._lost.pop(number, None)

    def _taken(self, until: int) -> list[tuple[int, bytes]]:
        """Take out of the waiting the last version up to *until* of each sector."""
        taken: list[tuple[int, bytes]] = []
        for number, versions in list(self._waiting.items()):
            later = [version for version in versions if version[0] > until]
            if len(later) < len(versions):
                taken.append((number, versions[len(versions) - len(later) - 1][1]))
            if later:
                self._waiting[number] = later
            else:
                del self._waiting[number]
        return taken


class Folder:
    """The names in one folder."""

    def __init__(self) -> None:
        """Start empty and durable."""
        self.seen: dict[str, Content | Folder] = {}
        self.durable: dict[str, Content | Folder] = {}


@dataclass(frozen=True, slots=True)
class Move:
    """One name of one folder that means something else from now on; ``None`` is no name."""

    folder: Folder
    name: str
    before: Content | Folder | None
    after: Content | Folder | None


@dataclass(frozen=True, slots=True)
class Change:
    """One operation on names, whole or not at all; ``emptied`` must be durably empty before it."""

    moment: int
    moves: tuple[Move, ...]
    emptied: Folder | None = None

    @property
    def folders(self) -> list[Folder]:
        """Return the folders whose names change."""
        return [move.folder for move in self.moves]

    @property
    def is_across(self) -> bool:
        """Say whether it takes a name from one folder to another: then both must last."""
        return any(folder is not self.moves[0].folder for folder in self.folders)

    def makes(self, folders: Sequence[Folder]) -> bool:
        """Say whether one of *folders* gets its name here."""
        return any(move.after is folder for move in self.moves for folder in folders)

    def builds_on(self, earlier: "Change") -> bool:
        """Say whether this one makes sense only after *earlier*."""
        return any(
            move.folder is self.emptied
            or any(move.folder is mine.folder and move.name == mine.name for mine in self.moves)
            for move in earlier.moves
        )


@dataclass
class Platter:
    """One disk with all its files; processes share it and a crash ends it."""

    random: Random
    sector: int = SECTOR_BYTES
    capacity: int = 1 << 40  # bytes
    root: Folder = field(default_factory=Folder)
    used: int = 0  # bytes in whole sectors, of files that have a name or are open
    moment: int = 0  # counts changes, so that a flush knows what came before it
    _waiting: list[Change] = field(default_factory=list[Change])

    def tick(self) -> int:
        """Return the next moment."""
        self.moment += 1
        return self.moment

    def find(self, names: Sequence[str]) -> Content | Folder:
        """Return what *names* lead to; raises ``FileNotFoundError``, ``NotADirectoryError``."""
        node: Content | Folder = self.root
        for name in names:
            if isinstance(node, Content):
                raise NotADirectoryError(errno.ENOTDIR, "a file is no folder")
            if name not in node.seen:
                raise FileNotFoundError(errno.ENOENT, "there is no such name")
            node = node.seen[name]
        return node

    def folder(self, names: Sequence[str]) -> Folder:
        """Return the folder that *names* lead to; raises as ``find`` does."""
        node = self.find(names)
        if isinstance(node, Content):
            raise NotADirectoryError(errno.ENOTDIR, "a file is no folder")
        return node

    def file(self, names: Sequence[str]) -> Content:
        """Return the file that *names* lead to; raises as ``find``, and ``IsADirectoryError``."""
        node = self.find(names)
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, "a folder is no file")
        return node

    def change(self, *moves: Move, emptied: Folder | None = None) -> None:
        """Do one operation on names: seen at once, durable later."""
        self._waiting.append(Change(self.tick(), moves, emptied))
        for move in moves:
            _set(move.folder.seen, move)
            for node, links in ((move.before, -1), (move.after, 1)):
                if isinstance(node, Content):
                    node.links += links
                    self.charge(node)

    def flushed(self, folder: Folder, until: int) -> None:
        """Make the names of *folder* durable as of the moment *until*."""
        for change in self._take(folder, until):
            for move in change.moves:
                _set(move.folder.durable, move)

    def failed(self, folder: Folder, until: int) -> None:
        """Lose the changes of names of *folder* up to *until*: seen, but not after a crash."""
        self._take(folder, until)

    def charge(self, content: Content) -> None:
        """Count the room of a file that has a name or is open."""
        room = content.room if content.links or content.opens else 0
        self.used += room - content.charged
        content.charged = room

    def after_crash(self, choose: Choose | None) -> "Platter":
        """Return the disk as a crash leaves it; without *choose* a seeded mixture."""
        of_names = choose or keep_some(self.random)
        for change in self._waiting:
            if of_names(2) and self._fits(change):
                for move in change.moves:
                    _set(move.folder.durable, move)
        left = Platter(self.random, self.sector, self.capacity)
        self._settle(self.root, left, left.root, choose, {})
        return left

    def _fits(self, change: Change) -> bool:
        """Say whether what *change* builds on is durable."""
        return (
            all(move.folder.durable.get(move.name) is move.before for move in change.moves)
            and not (change.emptied and change.emptied.durable)
            and not (change.is_across and any(not self._leads_to(f) for f in change.folders))
        )

    def _leads_to(self, folder: Folder) -> bool:
        """Say whether *folder* would be found after a crash."""
        ways = [self.root]
        for way in ways:
            ways += [node for node in way.durable.values() if isinstance(node, Folder)]
        return folder in ways

    def _settle(
        self,
        folder: Folder,
        left: "Platter",
        into: Folder,
        choose: Choose | None,
        known: dict[Content, Content],
    ) -> None:
        """Copy what is durable in *folder* to *into*; a file with two names stays one file."""
        for name, node in folder.durable.items():
            if isinstance(node, Folder):
                below = Folder()
                into.seen[name] = into.durable[name] = below
                self._settle(node, left, below, choose, known)
                continue
            if node not in known:
                known[node] = node.after_crash(choose, self.random)
            into.seen[name] = into.durable[name] = known[node]
            known[node].links += 1
            left.charge(known[node])

    def _take(self, folder: Folder, until: int) -> list[Change]:
        """Take the changes of *folder* up to *until* out of the waiting, and what they build on."""
        taken: list[Change] = []  # latest first
        left: list[Change] = []
        lasting: list[Folder] = []  # where a file that was durable elsewhere has gone
        for change in reversed(self._waiting):
            makes = change.makes(lasting)
            asked = change.moment <= until and folder in change.folders
            if not (asked or makes or any(later.builds_on(change) for later in taken)):
                left.append(change)
                continue
            taken.append(change)
            if makes or change.is_across:
                lasting += change.folders
        self._waiting = left[::-1]
        return taken[::-1]


def _set(names: dict[str, Content | Folder], move: Move) -> None:
    if move.after is None:
        names.pop(move.name, None)
    else:
        names[move.name] = move.after
