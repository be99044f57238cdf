"""What an owner wants done to an upload, on its way to the node that has it.

The rule: control decides whether it may be asked, the node whether it can be done; a command is the
same command however often it arrives, by its id.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CommandID, NodeID, Region, UploadID
from zentransfer.limits import COMMANDS_QUEUED_MAX, DATABASE_RETRY_AFTER_S


class CommandKind(StrEnum):
    """What is asked for: give up an upload, or try a delivery again."""

    CANCEL = "cancel"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Command:
    """One command for the delivery processes of *region*.

    *argument* is the id of the upload or delivery; *node* is where it was seen last.
    """

    id: CommandID
    kind: CommandKind
    argument: str
    account_id: AccountID
    upload_id: UploadID
    region: Region
    node: NodeID


class Commands(Protocol):
    """The way to the nodes."""

    async def send(self, command: Command, /) -> None:
        """Take *command* for delivery; raises ``Error``: OVERLOADED, UNAVAILABLE."""
        ...


class MemoryCommands:
    """Keeps commands until somebody takes them; those of a dead control are asked for again."""

    def __init__(self) -> None:
        self._queued = OrderedDict[CommandID, Command]()

    async def send(self, command: Command, /) -> None:
        """Queue *command*; raises ``Error(OVERLOADED)`` when too many wait."""
        if len(self._queued) >= COMMANDS_QUEUED_MAX:
            raise Error(Code.OVERLOADED, "too many commands wait", DATABASE_RETRY_AFTER_S)
        self._queued[command.id] = command

    def take(self, region: Region) -> list[Command]:
        """Return and forget what waits for *region*, the oldest first."""
        taken = [one for one in self._queued.values() if one.region is region]
        for one in taken:
            del self._queued[one.id]
        return taken
