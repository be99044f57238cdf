import io

import pytest

from ops.send.screen import Bars, Lines, screen


class Terminal(io.StringIO):
    """A text stream that says that a person looks at it."""

    def isatty(self) -> bool:
        return True


def test_bars_are_for_terminals_only() -> None:
    out, notes = io.StringIO(), io.StringIO()
    assert isinstance(screen(out, notes, in_json=False), Lines)
    assert isinstance(screen(Terminal(), Terminal(), in_json=True), Bars)


def shown(out: io.StringIO, notes: io.StringIO, *, in_json: bool) -> None:
    on = screen(out, notes, in_json=in_json)
    on.say("Sending 2 files")
    on.begin(2, 30)
    on.sending(0, "a[red]\x1b.jpg", 10)
    on.sending(1, "b.jpg", 20)
    on.at(0, 5)
    on.trouble(0, "the connection broke")
    on.trouble(0, "the connection broke")
    on.at(0, 3)
    on.trouble(0, "")
    on.at(0, 10)
    on.uploaded(0)
    on.ended(0, "a.jpg: delivered", is_good=True)
    on.trouble(0, "late")
    on.ended(1, "b.jpg: failed", is_good=False)
    on.end()
    on.say("1 delivered")


@pytest.mark.parametrize("in_json", [False, True])
def test_plain_output_is_whole_lines_without_control_characters(*, in_json: bool) -> None:
    out, notes = io.StringIO(), io.StringIO()
    shown(out, notes, in_json=in_json)
    lines = out.getvalue().splitlines()
    assert lines == ["Sending 2 files", "a.jpg: delivered", "b.jpg: failed", "1 delivered"]
    troubles = [] if in_json else ["a[red]\ufffd.jpg: the connection broke", ": late"]
    assert notes.getvalue().splitlines() == troubles
    assert "\x1b" not in out.getvalue() + notes.getvalue()


def test_on_a_terminal_results_stand_above_the_bars() -> None:
    both = Terminal()
    shown(both, both, in_json=False)
    text = both.getvalue()
    assert "all files" in text
    assert "a[red]\ufffd.jpg" in text
    assert "a.jpg: delivered" in text
    assert "2 of 2 done" in text


def test_results_go_to_a_file_while_bars_go_to_the_terminal() -> None:
    out, notes = io.StringIO(), Terminal()
    shown(out, notes, in_json=True)
    assert out.getvalue().splitlines()[1] == "a.jpg: delivered"
    assert "all files" in notes.getvalue()
    assert "a.jpg: delivered" not in notes.getvalue()


def test_a_line_for_a_program_is_never_broken() -> None:
    out = Terminal()
    line = '{"x": "' + 500 * "y" + '"}'
    Lines(out, None).say(line)
    assert out.getvalue() == line + "\n"
