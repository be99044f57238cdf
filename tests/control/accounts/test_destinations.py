import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.accounts.destinations import OFFERED, DestinationKind, address
from zentransfer.errors import Code, Error
from zentransfer.limits import DESTINATION_ADDRESS_CHARS_MAX

FOLDER = DestinationKind.FOLDER


@pytest.mark.parametrize("kind", sorted(set(DestinationKind) - OFFERED))
def test_a_kind_that_is_not_offered_is_refused_by_its_name(kind: DestinationKind) -> None:
    with pytest.raises(Error, match=kind.value) as caught:
        address(kind, "/srv/a", ("/",))
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relative",
        "/srv/../etc",
        "//srv/a",
        "/etc",
        "/srvs/a",
        "/srv\n",
        "/srv/a\0b",
        "~/a",
        "file:///srv/a",
    ],
)
def test_a_folder_outside_its_roots_is_refused(text: str) -> None:
    with pytest.raises(Error) as caught:
        address(FOLDER, text, ("/srv", "/mnt/nas"))
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("text", ["/srv", "/srv/a/b", "/mnt/nas/Désk 1", "/srv//a/./b/"])
def test_a_folder_below_a_root_is_taken(text: str) -> None:
    clean = address(FOLDER, text, ("/srv", "/mnt/nas"))
    assert address(FOLDER, clean, ("/srv", "/mnt/nas")) == clean


@given(st.text("/.as\\v r", max_size=12))
def test_whatever_is_taken_is_below_a_root(text: str) -> None:
    try:
        clean = address(FOLDER, text, ("/srv",))
    except Error:
        return
    assert clean == "/srv" or clean.startswith("/srv/")
    assert ".." not in clean.split("/")


@pytest.mark.reaches("DESTINATION_ADDRESS_CHARS_MAX")
def test_an_address_has_a_longest() -> None:
    longest = "/" + "a" * (DESTINATION_ADDRESS_CHARS_MAX - 1)
    assert address(FOLDER, longest, ("/",)) == longest
    with pytest.raises(Error):
        address(FOLDER, longest + "a", ("/",))
