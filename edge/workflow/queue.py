"""What is due now, by destination, and how many may run at a time.  Pure.

The rule: destinations take turns, so that a slow one or one with very many files holds up itself
only.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from zentransfer.ids import DeliveryID, DestinationID, UploadID


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do: a delivery's attempt; or, without a delivery, what the run itself needs."""

    upload: UploadID
    destination: DestinationID | None = None
    delivery: DeliveryID | None = None


class Queue:
    """Items that wait, and counts of those that run.

    It is bounded by what it holds: each item is of a run in the index, and stands here once.
    """

    def __init__(self, running_max: int, running_each_max: int) -> None:
        """Let at most *running_max* items run, and *running_each_max* of one destination."""
        self._running_max = running_max
        self._running_each_max = running_each_max
        self._waiting: OrderedDict[DestinationID | None, deque[Item]] = OrderedDict()
        self._running: dict[DestinationID | None, int] = {}
        self._known: set[Item] = set()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def running(self) -> int:
        """How many items run."""
        return sum(self._running.values())

    def push(self, item: Item, *, is_urgent: bool = False) -> None:
        """Let *item* wait, unless it waits or runs already; urgent ones go first."""
        if item in self._known:
            return
        self._known.add(item)
        waiting = self._waiting.setdefault(item.destination, deque())
        if is_urgent:
            waiting.appendleft(item)
        else:
            waiting.append(item)

    def maybe_pop(self, is_allowed: Callable[[DestinationID | None], bool]) -> Item | None:
        """Return the next item to run, which then counts until ``done``; ``None`` for none now."""
        if self.running >= self._running_max:
            return None
        for destination, waiting in self._waiting.items():
            running = self._running.get(destination, 0)
            if running >= self._running_each_max or not is_allowed(destination):
                continue
            item = waiting.popleft()
            self._waiting.move_to_end(destination)
            if not waiting:
                del self._waiting[destination]
            self._running[destination] = running + 1
            return item
        return None

    def done(self, item: Item) -> None:
        """Stop counting *item*; it may be pushed again."""
        self._known.discard(item)
        left = self._running[item.destination] - 1
        if left:
            self._running[item.destination] = left
        else:
            del self._running[item.destination]
