import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.multipart import (
    Data,
    Event,
    FormEnd,
    FormParser,
    Part,
    PartEnd,
    boundary_of,
    form_file,
    form_folder,
    form_taken,
    is_form,
)
from zentransfer.errors import Code, Error
from zentransfer.limits import FORM_PART_HEAD_BYTES_MAX

B = b"xYzZY"


def form(*parts: tuple[str, bytes], boundary: bytes = B) -> bytes:
    """Return a form of *parts*, each the parameters of its disposition and its content."""
    made = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\nContent-Type: text/x\r\n\r\n%b\r\n"
        % (boundary, head.encode(), content)
        for head, content in parts
    )
    return made + b"--%b--\r\n" % boundary


def parsed(data: bytes, sizes: list[int] | None = None, boundary: bytes = B) -> list[Event]:
    """Return what a parser says of *data*, fed in pieces of *sizes*, with its data joined."""
    parser, found = FormParser(boundary), list[Event]()
    pieces, rest = list[bytes](), data
    for size in sizes or []:
        pieces.append(rest[:size])
        rest = rest[size:]
    for piece in (*pieces, rest):
        for event in parser.feed(piece):
            if isinstance(event, Data) and found and isinstance(found[-1], Data):
                found[-1] = Data(found[-1].data + event.data)
            else:
                found.append(event)
    assert parser.has_ended == (bool(found) and found[-1] == FormEnd())
    return found


def refused(call: object) -> Code:
    with pytest.raises(Error) as raised:
        call()  # type: ignore[operator]
    return raised.value.code


CONTENT = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"\r\n--", B, b"\r\n--xYz", b"-", b"a"]),
        max_size=20,
    ).map(b"".join),
)


@given(
    st.lists(CONTENT.filter(lambda data: b"\r\n--" + B not in b"\r\n" + data), max_size=5),
    st.lists(st.integers(0, 30), max_size=60),
)
def test_what_was_sent_is_what_is_read_however_it_is_cut(
    contents: list[bytes], sizes: list[int]
) -> None:
    wanted = list[Event]()
    for content in contents:
        wanted += [Part("a", "text/x"), *([Data(content)] if content else []), PartEnd()]
    data = form(*[('name="f"; filename="a"', content) for content in contents])
    assert parsed(data, sizes) == [*wanted, FormEnd()]


@given(st.integers(0, 400), st.lists(st.integers(0, 9), max_size=99))
def test_a_form_that_is_cut_never_ends_whole(count: int, sizes: list[int]) -> None:
    data = form(('name="f"; filename="a"', b"x" * 50), ('name="g"', b"y"))
    cut = data[: min(count, len(data) - 4)]
    events = parsed(cut, sizes)
    assert FormEnd() not in events
    begun = sum(isinstance(event, Part) for event in events)
    assert sum(isinstance(event, PartEnd) for event in events) in (begun, begun - 1)


@given(st.binary(max_size=300), st.lists(st.integers(0, 9), max_size=99))
def test_what_is_no_form_is_refused_or_waited_for(data: bytes, sizes: list[int]) -> None:
    try:
        assert FormEnd() not in parsed(data, sizes)
    except Error as error:
        assert error.code is Code.INVALID  # noqa: PT017 - or nothing at all


def test_what_stands_around_the_parts_is_passed_over() -> None:
    inner = form(('name="f"; filename="a"', b"x"))
    assert parsed(b"before\r\n--other\r\n" + inner + b"--" + B + b"\r\nafter")[-1] == FormEnd()
    padded = inner.replace(B + b"\r\n", B + b" \t \r\n")
    assert parsed(padded) == parsed(inner)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('name="f"; filename="IMG 1.JPG"', "IMG 1.JPG"),
        ('name="f"; filename="Grüße.jpg"', "Grüße.jpg"),
        ('name="f"; filename="a%22b.jpg"', 'a"b.jpg'),
        ('name="f"; filename="a\\"b.jpg"', 'a"b.jpg'),
        ('name="f"; filename="100%.jpg"', "100%.jpg"),
        ("name=f; filename=a.jpg", "a.jpg"),
        ("name=\"f\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ('name="f"; filename=""', ""),
        ('name="f"', ""),
        ('name="filename"', ""),
    ],
)
def test_a_file_is_a_part_with_a_file_name(head: str, name: str) -> None:
    (part, *_) = parsed(form((head, b"x")))
    assert part == Part(name, "text/x")


@pytest.mark.parametrize(
    "data",
    [
        b"--xYzZY\r\n\r\nx\r\n--xYzZY--\r\n",
        b"--xYzZY\r\nContent-Disposition: attachment; filename=a\r\n\r\nx\r\n--xYzZY--\r\n",
        b"--xYzZY\r\nContent-Disposition: form-data; filename=\xff\r\n\r\nx\r\n--xYzZY--\r\n",
        b"--xYzZYa\r\n\r\n",
        b"--xYzZY" + b" " * 99,
    ],
)
def test_a_part_that_does_not_say_what_it_is_is_refused(data: bytes) -> None:
    assert refused(lambda: parsed(data)) is Code.INVALID


@pytest.mark.reaches("FORM_PART_HEAD_BYTES_MAX")
def test_the_headers_of_a_part_are_bounded_also_while_they_come() -> None:
    data = form(('name="f"; filename="a"; x="' + "y" * FORM_PART_HEAD_BYTES_MAX + '"', b"x"))
    assert refused(lambda: parsed(data)) is Code.INVALID
    endless = b"--xYzZY\r\n" + b"X: y" * FORM_PART_HEAD_BYTES_MAX
    assert refused(lambda: parsed(endless, [99] * 400)) is Code.INVALID


def test_no_more_is_held_than_the_beginning_of_a_boundary() -> None:
    parser = FormParser(B)
    list(parser.feed(form(('name="f"; filename="a"', b""))[: -len(B) - 8]))
    random = Random(1)
    for _ in range(200):
        list(parser.feed(random.randbytes(1_000) + b"\r\n--xYzZ"))
        assert len(parser._held) <= len(B) + 4


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; BOUNDARY="a b:c"', b"a b:c"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
    ],
)
def test_the_boundary_is_what_the_type_says(text: str, boundary: bytes) -> None:
    assert is_form(text)
    assert boundary_of(text) == boundary


@pytest.mark.parametrize(
    "text",
    ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="a "',
     "multipart/form-data; boundary=" + "a" * 71, "multipart/form-data; boundary=ä",
     'multipart/form-data; boundary="a\r\n"', "text/plain; boundary=a", ""],
)  # fmt: skip
def test_a_form_without_a_boundary_is_refused(text: str) -> None:
    assert refused(lambda: boundary_of(text)) is Code.INVALID
    assert is_form(text) == text.startswith("multipart")


def test_files_go_to_the_folder_of_the_address() -> None:
    assert form_folder("/in/") == ""
    assert form_folder("/in/cup/final%20day/?x=1") == "cup/final day"
    found = form_file("cup", Part("day\\IMG.JPG", "image/jpeg"))
    assert (found.name.folder, found.name.name) == ("cup/day", "IMG.JPG")
    assert found.media_type == "image/jpeg"
    assert form_file("", Part("x", "a" * 999)).media_type == ""
    for target in ("/in/x", "/in/../", "/in/%00/"):
        assert refused(lambda t=target: form_folder(t)) is Code.INVALID
    assert refused(lambda: form_file("", Part("..", ""))) is Code.INVALID


def test_a_form_that_ends_early_tells_what_was_taken() -> None:
    answer = form_taken([], Error(Code.PEER_GONE))
    page = json.loads(answer.body)
    assert (answer.status, page["code"], page["uploads"]) == (408, "peer_gone", [])
    assert json.loads(form_taken([]).body) == {"uploads": []}
