"""What is seen while files go: bars on a terminal, whole plain lines elsewhere.

The rule: what is said for good goes to standard output, one line a file; what only passes goes to
standard error, and is drawn only on a terminal.
"""

from contextlib import suppress
from typing import Final, Protocol, TextIO

import click
from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from ops.console import Console
from ops.send.names import shown

_STYLES: Final = {True: "green", False: "red"}
_REDRAWN_PER_S: Final = 8
_NAME_COLUMNS: Final = 28


class Screen(Protocol):
    """Where progress is shown; files are known by their numbers."""

    def begin(self, files: int, size: int) -> None:
        """Show that *files* of *size* bytes in all are to go."""
        ...

    def sending(self, number: int, name: str, size: int) -> None:
        """Show that a file of *size* bytes is on its way."""
        ...

    def at(self, number: int, offset: int) -> None:
        """Show that a file is given away up to *offset*."""
        ...

    def trouble(self, number: int, words: str) -> None:
        """Show what keeps a file from going on; empty: nothing any more."""
        ...

    def uploaded(self, number: int) -> None:
        """Show that a file is whole at its node."""
        ...

    def ended(self, number: int, said: str, *, is_good: bool) -> None:
        """Say for good how it ended for a file."""
        ...

    def say(self, said: str, style: str = "") -> None:
        """Say something for good."""
        ...

    def end(self) -> None:
        """Show nothing more that passes."""
        ...


class Lines:
    """Lines only: results to *out*, troubles of files to *notes* if that is given."""

    def __init__(self, out: TextIO, notes: TextIO | None) -> None:
        self._out, self._stream = Console(out), out
        self._notes = None if notes is None else Console(notes)
        self._names: dict[int, str] = {}
        self._last: dict[int, str] = {}

    def begin(self, files: int, size: int) -> None:
        """Say nothing: the results will."""

    def sending(self, number: int, name: str, size: int) -> None:
        """Remember the name for later."""
        self._names[number] = shown(name)

    def at(self, number: int, offset: int) -> None:
        """Say nothing of what passes."""

    def trouble(self, number: int, words: str) -> None:
        """Note a trouble, once while it lasts."""
        if self._notes is not None and words and words != self._last.get(number):
            self._notes.say(f"{self._names.get(number, '')}: {shown(words)}")
        self._last[number] = words

    def uploaded(self, number: int) -> None:
        """Say nothing: the result will."""

    def ended(self, number: int, said: str, *, is_good: bool) -> None:
        """Write the line of a file."""
        self._names.pop(number, None)
        self._last.pop(number, None)
        self.say(said, _STYLES[is_good])

    def say(self, said: str, style: str = "") -> None:
        """Write a line; on a terminal in the *style* of rich."""
        if said.startswith("{") and self._stream.isatty():  # one line for a program stays one
            with suppress(OSError):
                click.echo(said, file=self._stream)
            return
        self._out.say(said, style)

    def end(self) -> None:
        """Do nothing: every line is there already."""


class Bars:
    """Bars on the terminal *notes*; what is said for good is written above them.

    With *out*, which is then no terminal, results are written there instead.
    """

    def __init__(self, notes: TextIO, out: TextIO | None) -> None:
        self._terminal = Terminal(file=notes, highlight=False)
        self._lines = None if out is None else Lines(out, None)
        self._progress = Progress(
            TextColumn(
                "{task.description}", table_column=Column(max_width=_NAME_COLUMNS, no_wrap=True)
            ),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[words]}", table_column=Column(ratio=1, no_wrap=True)),
            console=self._terminal,
            refresh_per_second=_REDRAWN_PER_S,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._total: TaskID | None = None
        self._bars: dict[int, TaskID] = {}
        self._at: dict[int, int] = {}
        self._files = self._up = self._over = 0

    def begin(self, files: int, size: int) -> None:
        """Draw the bar of all files."""
        self._files = files
        self._total = self._progress.add_task("[bold]all files", total=size, words="")
        self._progress.start()
        self._count()

    def sending(self, number: int, name: str, size: int) -> None:
        """Draw the bar of a file."""
        self._bars[number] = self._progress.add_task(escape(shown(name)), total=size, words="")
        self._at[number] = 0

    def at(self, number: int, offset: int) -> None:
        """Move the bars."""
        by, self._at[number] = offset - self._at[number], offset
        self._progress.update(self._bars[number], completed=offset)
        if self._total is not None:
            self._progress.advance(self._total, by)

    def trouble(self, number: int, words: str) -> None:
        """Write the trouble beside the bar."""
        if number in self._bars:
            self._progress.update(self._bars[number], words=escape(shown(words)))

    def uploaded(self, number: int) -> None:
        """Take the file's bar away: only its deliveries are missing."""
        self._up += 1
        self._remove(number)
        self._count()

    def ended(self, number: int, said: str, *, is_good: bool) -> None:
        """Write the line of a file above the bars."""
        self._over += 1
        self._remove(number)
        self._count()
        self.say(said, _STYLES[is_good])

    def say(self, said: str, style: str = "") -> None:
        """Write a line above the bars, or where results go."""
        if self._lines is not None:
            self._lines.say(said)
        else:
            with suppress(OSError):
                self._terminal.print(Text(said, style=style), soft_wrap=True)

    def end(self) -> None:
        """Take the bars away."""
        with suppress(OSError):
            self._progress.stop()

    def _remove(self, number: int) -> None:
        bar = self._bars.pop(number, None)
        if bar is not None:
            self._progress.remove_task(bar)

    def _count(self) -> None:
        if self._total is not None:
            waiting = self._up - self._over
            following = f", {waiting} being delivered" if waiting > 0 else ""
            words = f"{self._over} of {self._files} done{following}"
            self._progress.update(self._total, words=words)


def screen(out: TextIO, notes: TextIO, *, in_json: bool) -> Screen:
    """Return the screen for results on *out* and what passes on *notes*."""
    if not notes.isatty():
        return Lines(out, None if in_json else notes)
    return Bars(notes, None if out.isatty() and not in_json else out)
