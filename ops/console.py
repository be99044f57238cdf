"""What the launcher says to a person: colour on a terminal, plain whole lines elsewhere."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from rich.console import Console as Terminal
from rich.markup import escape
from rich.table import Table

_GAP: Final = "  "  # between the columns of plain text


class Console:
    """Lines and tables on *stream*; each is there when the call returns.

    A reader that went away is no reason to stop anything: what cannot be written is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # A terminal's own width only there: a pipe has none, and a line is never broken for it.
        self._terminal = Terminal(file=stream, highlight=False) if stream.isatty() else None

    def say(self, text: str, style: str = "") -> None:
        """Write one line, in the *style* of rich where there is colour."""
        if self._terminal is None:
            self._write(text)
            return
        with self._outliving_its_reader():
            self._terminal.print(escape(text), style=style or None)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table; every row has as many cells as the *head*."""
        if self._terminal is not None:
            table = Table(*head, box=None, pad_edge=False, header_style="bold")
            for row in rows:
                table.add_row(*map(escape, row))
            with self._outliving_its_reader():
                self._terminal.print(table)
            return
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self._write(_GAP.join(cells).rstrip())

    def _write(self, line: str) -> None:
        with self._outliving_its_reader():
            self._stream.write(line + "\n")
            self._stream.flush()

    @contextmanager
    def _outliving_its_reader(self) -> Generator[None]:
        try:
            yield
        except BrokenPipeError:
            # What the stream still holds is flushed once more as Python exits, and a failure
            # there would become our exit code: from here on it all goes nowhere.
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        except OSError:
            pass  # a full disk may have room for the next line
