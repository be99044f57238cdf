import pytest

from edge.ftp.looking import LOOKS, looked_at
from edge.ftp.replies import refusal
from edge.ftp.session import RULES, Session
from edge.ftp.view import Entry, Stands, View
from tests.support.snapshots import Customer
from zentransfer.errors import Code, Error
from zentransfer.ids import UploadID


def signed_in() -> Session:
    session = Session()
    session.signed_in(Customer().shown)
    session.view = View(lambda: 1_000_000)
    return session


def said(session: Session, verb: str, argument: str = "") -> int:
    try:
        return LOOKS[verb](session, argument).code
    except Error as error:
        return refusal(error).code


def test_folders_are_made_and_entered_as_cameras_do() -> None:
    session = signed_in()
    assert LOOKS["MKD"](session, "A").lines == ('"/A" created',)
    assert said(session, "MKD", "A") == 550
    assert said(session, "MKD", "/") == 550
    assert said(session, "MKD", " ") == 501
    assert said(session, "XMKD", "A/DCIM/100EOSR5") == 257
    assert said(session, "MKD", "A/DCIM") == 550
    assert RULES["CWD"](session, "A/DCIM/100EOSR5").code == 250
    assert RULES["CWD"](session, "/never/made").code == 250
    assert RULES["CDUP"](session, "").code == 250
    assert RULES["XPWD"](session, "").lines == ('"/never"',)
    assert said(session, "MKD", "../x") == 501
    with pytest.raises(Error):
        RULES["CWD"](session, "a\x00b")
    assert RULES["PWD"](session, "").lines == ('"/never"',)
    assert said(session, "RMD", "/A") == 250
    assert said(session, "RMD", "/A") == 550


def test_a_listing_is_of_a_folder_a_file_or_nothing() -> None:
    session = signed_in()
    entry = Entry(UploadID("up_x"), 3, 1_000_000, 1_000_000, Stands.WHOLE)
    session.view.note(("A", "x y"), entry)
    assert looked_at(session, "") == ((), None)
    assert looked_at(session, "-la -R A") == (("A",), None)
    assert looked_at(session, "A/x y") == (("A", "x y"), entry)
    RULES["CWD"](session, "never")
    assert looked_at(session, "") == (("never",), None), "where it is there is a folder"
    with pytest.raises(Error) as raised:
        looked_at(session, "none")
    assert raised.value.code is Code.NOT_FOUND


def test_what_is_cut_has_the_size_that_is_held_and_no_other_name() -> None:
    session = signed_in()
    cut = Entry(UploadID("up_x"), 3, 1_000_000, 1_000_000, Stands.PARTIAL)
    session.view.note(("x",), cut)
    assert LOOKS["SIZE"](session, "x").lines == ("3",)
    assert said(session, "RNFR", "x") == 450
    assert session.renaming is None


def test_retr_is_refused_and_takes_its_rest_with_it() -> None:
    session = signed_in()
    RULES["REST"](session, "5")
    assert said(session, "RETR", "x") == 550
    assert session.take_restart() is None


def test_a_stranger_learns_nothing_by_stat() -> None:
    assert LOOKS["STAT"](Session(), "x").code == 211
