import errno
import io
import os
import pty
import subprocess
import sys

from ops.console import Console

HEAD = ("where", "address")
ROWS = (("control", "http://localhost:8000"), ("us", "[not markup]" + "x" * 100))


def test_plain_text_has_whole_lines_and_no_colour() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.say("[bold]" + "y" * 200, "red")
    console.table(HEAD, ROWS)
    assert stream.getvalue().splitlines() == [
        "[bold]" + "y" * 200,
        "where    address",
        "control  http://localhost:8000",
        "us       [not markup]" + "x" * 100,
    ]


def test_a_terminal_gets_colour_and_the_same_words() -> None:
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as stream:
        console = Console(stream)
        console.say("[b]ready", "green")
        console.table(HEAD, ROWS[:1])
        said = ""
        while ROWS[0][1] not in said:  # what was written may come in pieces
            said += os.read(reading, 65_536).decode()
    os.close(reading)
    assert "\x1b[" in said
    assert "[b]ready" in said


class Broken(io.StringIO):
    """A pipe whose reader went away."""

    def write(self, _: str, /) -> int:
        raise BrokenPipeError(errno.EPIPE, "gone")


def test_a_reader_that_went_away_ends_nothing() -> None:
    console = Console(Broken())
    console.say("on")
    console.table(HEAD, ROWS)


def test_a_reader_that_went_away_does_not_change_the_exit_code() -> None:
    words = "import sys; from ops.console import Console; Console(sys.stdout).say('on')"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-c", words], stdout=writing, check=False)
    finally:
        os.close(writing)
    assert done.returncode == 0
