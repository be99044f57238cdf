import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from edge.http import structured
from edge.http.structured import (
    boolean,
    byte_sequence,
    dictionary,
    field,
    maybe_boolean,
    maybe_bytes,
    maybe_dictionary,
    maybe_integer,
    maybe_integers,
    maybe_size,
)

KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,10}", fullmatch=True)
NUMBERS = st.integers(-(10**15) + 1, 10**15 - 1)
PARAMETERS = st.sampled_from(["", ";a", "; b=1", ";c=?0;d=tok", ';e="x\\"y"', ";f=:AA==:"])


@given(NUMBERS, PARAMETERS)
def test_an_integer_is_read_as_it_was_written(number: int, parameters: str) -> None:
    assert maybe_integer(f"{number}{parameters}") == number
    assert maybe_size(f"{number}{parameters}") == (number if number >= 0 else None)


@given(st.booleans(), PARAMETERS)
def test_a_boolean_is_read_as_it_was_written(value: bool, parameters: str) -> None:
    assert maybe_boolean(boolean(value) + parameters) is value


@given(st.dictionaries(KEYS, NUMBERS, max_size=6))
def test_a_dictionary_of_integers_is_read_as_it_was_written(members: dict[str, int]) -> None:
    written = dictionary(dict(members))
    assert maybe_integers(written) == members
    assert list(maybe_integers(written) or {}) == list(members)


@given(st.dictionaries(KEYS, st.binary(max_size=70), max_size=4))
def test_a_dictionary_of_digests_is_read_as_it_was_written(members: dict[str, bytes]) -> None:
    found = maybe_dictionary(dictionary(dict(members)))
    assert found is not None
    assert {key: maybe_bytes(bare) for key, bare in found.items()} == members


@given(st.text(max_size=40) | st.text('?01:;=,"\\ \t()-.azAZ*%@', max_size=40))
def test_no_text_breaks_a_reader(text: str) -> None:
    maybe_integer(text)
    maybe_boolean(text)
    maybe_integers(text)
    for bare in (maybe_dictionary(text) or {}).values():
        maybe_bytes(bare)
    assert maybe_bytes(text) is None or text.startswith(":")


@pytest.mark.parametrize(
    "text",
    [
        *[None, "", "+1", "--1", "1.0", "1.", "1e3", "0x1", "1, 2", "1 2", "\u0661", "1;"],
        *["1;A=1", "9" * 16, '"1"', "?1", ":MQ==:", "a", "(1)", "\t1"],
    ],
)
def test_what_is_no_integer_is_none(text: str | None) -> None:
    assert maybe_integer(text) is None


def test_spaces_around_an_item_do_not_matter() -> None:
    assert maybe_integer("  42  ") == 42
    assert maybe_boolean(" ?1") is True


@pytest.mark.parametrize(
    "text", [None, "", "1", "?", "?2", "?01", "true", '"?1"', "?1, ?1", "(?1)"]
)
def test_what_is_no_boolean_is_none(text: str | None) -> None:
    assert maybe_boolean(text) is None


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (None, {}),
        ("", {}),
        ("  ", {}),
        ("a", {"a": "?1"}),
        ("a;x=1, b=2;y", {"a": "?1", "b": "2"}),
        ("a=1 ,\tb=(1 2);z", {"a": "1", "b": "(1 2)"}),
        ("a=1, a=2", {"a": "2"}),
        ('a="x, y=1", b=tok/en:x', {"a": '"x, y=1"', "b": "tok/en:x"}),
        ("a=1.5, b=@1659578233", {"a": "1.5", "b": "@1659578233"}),
        ('a=%"f%c3%bc"', {"a": '%"f%c3%bc"'}),
    ],
)
def test_a_dictionary_is_read_with_members_of_every_kind(
    text: str | None, members: dict[str, str]
) -> None:
    assert maybe_dictionary(text) == members


@pytest.mark.parametrize(
    "text",
    [
        *["a=1,", ",a=1", "a=1 b=2", "A=1", "1=a", "a==1", "a=", 'a="x', "a=(1", "a=1,,b=2"],
        *["a=:!:", "a=1;", "a\u00e9=1"],
    ],
)
def test_what_is_no_dictionary_is_none(text: str) -> None:
    assert maybe_dictionary(text) is None
    assert maybe_integers(text) is None


def test_r07_a_member_of_another_type_voids_a_dictionary_of_integers() -> None:
    assert maybe_integers("max-size=1, min-size=2") == {"max-size": 1, "min-size": 2}
    assert maybe_integers("max-size=1, min-size=2.0") is None
    assert maybe_integers("max-size=1, min-size") is None


@pytest.mark.parametrize(
    ("bare", "data"),
    [
        (":YWJj:", b"abc"),
        (":YWI=:", b"ab"),
        (":YWI:", b"ab"),
        ("::", b""),
        (":Y:", None),
        (":Y=WI:", None),
        ("YWJj", None),
        ("?1", None),
    ],
)
def test_a_byte_sequence_is_base64_with_or_without_its_padding(
    bare: str, data: bytes | None
) -> None:
    assert maybe_bytes(bare) == data
    if data is not None:
        assert maybe_bytes(byte_sequence(data)) == data


def test_the_lines_of_a_field_are_one_value() -> None:
    headers = CIMultiDict([("Upload-Offset", "1"), ("upload-offset", "2"), ("X", "3")])
    assert field(headers, "Upload-Offset") == "1, 2"
    assert field(headers, "x") == "3"
    assert field(headers, "Y") is None
    assert maybe_integer(field(headers, "Upload-Offset")) is None


def test_a_long_field_is_read_in_no_time() -> None:
    for text in ("a=(" + "1 " * 4_000, "a" * 8_000, '"' + "\\" * 8_000, ";a" * 4_000, ":" * 8_000):
        assert maybe_integer(text) is None
        maybe_dictionary(text)
    assert set(structured.boolean(True)) <= set(string.printable)
