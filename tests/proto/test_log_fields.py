from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canaries import CANARIES
from zentransfer import log_fields as fields
from zentransfer.errors import Code
from zentransfer.ids import IdMaker, Kind
from zentransfer.log_fields import Field, Seconds, Text, Whole, Word, words

OFFERED = {
    name: value for name, value in vars(fields).items() if name[0].isupper() and name.isupper()
}
MAKE = IdMaker(Random(7).randbytes).make


@pytest.mark.parametrize("name", OFFERED)
def test_no_field_shows_a_canary(name: str) -> None:
    field: Field = OFFERED[name]
    for canary in CANARIES.values():
        shown = field.shown(canary)
        assert shown is None or (name == "MODULE" and shown == "other")


@pytest.mark.parametrize("kind", Kind)
def test_an_id_shows_ids_of_its_kind_only(kind: Kind) -> None:
    field = fields.id_of(kind)
    made = MAKE(kind)
    assert field.shown(made) == made
    assert not any(field.shown(canary) for canary in CANARIES.values())
    assert not any(field.shown(MAKE(other)) for other in Kind if other is not kind)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (fields.REGION, ["us", "fr", "sg"], ["de", "US", "us ", "", None, 1]),
        (fields.NODE, ["fr-1", "us-9999"], ["fr", "fr-0", "de-1", "fr-1\n", 1]),
        (fields.PROCESS, ["ingest-0", "delivery-12", "control"], ["nginx", "ingest", "ingest-"]),
        (fields.COUNT, [0, 2**63 - 1], [-1, 2**63, True, 1.0, "1"]),
        (fields.MS, [-5, 0, 5], [1.5, False, "5"]),
        (fields.PORT, [0, 65535], [65536, -1, "80"]),
        (fields.EXIT_STATUS, [0, 255], [256, -9]),
        (fields.SECONDS, [0, 1.5], [-1, float("nan"), float("inf"), True, "1"]),
        (fields.SIGNAL, ["SIGTERM", "SIGUSR1", "SIGRTMIN+1"], ["TERM", "sigterm", "SIG"]),
        (fields.FLAG, [True, False], [1, 0, "true"]),
        (fields.CODE, [Code.GONE, "gone"], ["lost", ""]),
        (fields.VERSION, ["1.2", "1.2.3", "0.1.0rc1", "1.2.3.dev4"], ["1", "1.2.3.4", "v1.2"]),
        (fields.FINGERPRINT, ["0123456789abcdef" * 2], ["0" * 31, "G" * 32]),
        (fields.CLASS, [ValueError], ["ValueError", ValueError("x")]),
    ],
)
def test_a_field_shows_what_fits_it(field: Field, good: list[object], bad: list[object]) -> None:
    assert all(field.shown(value) is not None for value in good)
    assert all(field.shown(value) is None for value in bad)


def test_what_is_shown_is_plain() -> None:
    assert fields.CODE.shown(Code.GONE) == "gone"
    assert type(fields.CODE.shown(Code.GONE)) is str
    assert fields.SECONDS.shown(1.23456) == 1.235
    assert fields.CLASS.shown(ValueError) == "ValueError"
    assert words(Code).shown("gone") == "gone"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("collections.abc", "collections.abc"),
        ("logging.192.0.2.77", "logging"),
        ("jane.doe", "other"),
        ("", "other"),
        (None, "other"),
    ],
)
def test_a_librarys_logger_shrinks_to_an_imported_module(name: object, shown: str) -> None:
    assert fields.MODULE.shown(name) == shown


@given(st.text())
def test_text_is_shown_whole_or_not_at_all(text: str) -> None:
    field = Text("[a-z]{1,8}")
    is_fit = 1 <= len(text) <= 8 and all("a" <= letter <= "z" for letter in text)
    assert field.shown(text) == (text if is_fit else None)
    assert Word("good", "bad").shown(text) == (text if text in {"good", "bad"} else None)


@given(st.integers() | st.floats() | st.booleans() | st.none() | st.binary() | st.lists(st.text()))
def test_no_field_fails_on_any_value(value: object) -> None:
    shows: list[Callable[[object], object]] = [field.shown for field in OFFERED.values()]
    shows += [Whole(0, 9).shown, Seconds().shown]
    assert all(
        show(value) is None or isinstance(value, int | float) or show(value) == "other"
        for show in shows
    )
