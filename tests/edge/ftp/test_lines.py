from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.lines import TOO_LONG, Command, Lines, parse
from zentransfer.limits import FTP_LINE_BYTES_MAX


def fed(*pieces: bytes) -> list[Command]:
    lines = Lines()
    return [command for piece in pieces for command in lines.feed(piece)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_the_pieces_that_bytes_come_in_change_nothing(data: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(ends)]
    assert fed(*pieces) == fed(data)


@given(st.binary(max_size=300))
def test_anything_is_read_and_nothing_raises(data: bytes) -> None:
    found = fed(data + b"\r\nNOOP\r\n")
    assert found[-1] == Command("NOOP", "")
    assert all(
        command.verb == command.verb.upper() and "\n" not in command.argument for command in found
    )


@given(st.binary(max_size=60).filter(lambda name: not set(name) & set(b"\n\r\xff")))
def test_every_name_comes_through_byte_for_byte(name: bytes) -> None:
    (command,) = fed(b"stor " + name + b"\r\n")
    assert command.verb == "STOR"
    assert command.argument.encode(errors="surrogateescape") == name


@pytest.mark.reaches("FTP_LINE_BYTES_MAX")
@pytest.mark.parametrize("piece", [1_000, 70_000])
def test_a_line_that_is_too_long_costs_itself_and_no_memory(piece: int) -> None:
    lines = Lines()
    longest = b"STOR " + b"x" * (FTP_LINE_BYTES_MAX - len("STOR "))
    assert [command.verb for command in lines.feed(longest + b"\n")] == ["STOR"]
    for _ in range(70_000 // piece):
        assert lines.feed(b"x" * piece) == []
        assert len(lines._held) <= FTP_LINE_BYTES_MAX
    assert lines.feed(b"\r\nNOOP\r\n") == [TOO_LONG, Command("NOOP", "")]
    assert fed(longest + b"x\n") == [TOO_LONG]


@pytest.mark.parametrize(
    "line",
    [
        b"ABOR\r",
        b"abor",
        b"\xff\xf4\xff\xf2ABOR\r",  # IAC IP, IAC DM (RFC 959 section 4.1.3)
        b"\xff\xfb\x03\xff\xfd\x01ABOR\r",
    ],
)
def test_abor_is_heard_with_the_words_of_telnet_before_it(line: bytes) -> None:
    assert parse(line) == Command("ABOR", "")


def test_a_byte_255_is_a_letter_be_it_doubled_or_not() -> None:
    for sent in (b"CWD \xff\xffa", b"CWD \xffa"):
        assert parse(sent).argument.encode(errors="surrogateescape") == b"\xffa"


@pytest.mark.parametrize("line", [b"", b" ", b"\x00", b"\xff", b"A", b"STOR\tx", b"ABCDEFGH x"])
def test_what_is_no_verb_is_none(line: bytes) -> None:
    assert parse(line).verb == ""


def test_an_argument_keeps_its_spaces() -> None:
    assert parse(b"STOR  a  b .jpg ") == Command("STOR", " a  b .jpg ")
