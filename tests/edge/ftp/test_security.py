import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.security import BEGIN, Security
from zentransfer.errors import Code, Error


def encrypted(*, is_implicit: bool = False) -> Security:
    security = Security(has_tls=True, is_implicit=is_implicit)
    security.began()
    return security


@pytest.mark.parametrize("word", ["TLS", "tls", "TLS-C", "SSL", " TLS "])
def test_auth_may_name_tls_in_its_ways(word: str) -> None:
    assert Security(has_tls=True).auth(word) is BEGIN


@pytest.mark.parametrize("word", ["", "GSSAPI", "KERBEROS_V4", "TLS-P", "TLS TLS"])
def test_auth_by_another_mechanism_is_504(word: str) -> None:
    assert Security(has_tls=True).auth(word).code == 504


def test_auth_without_a_certificate_is_502_and_twice_503() -> None:
    assert Security(has_tls=False).auth("TLS").code == 502
    assert encrypted().auth("TLS").code == 503


def test_feat_lists_tls_only_where_there_is_any() -> None:
    assert Security(has_tls=True).features() == ("AUTH TLS", "PBSZ", "PROT")
    assert Security(has_tls=False).features() == ()


def test_in_clear_pbsz_and_prot_are_out_of_order_and_ccc_has_nothing_to_clear() -> None:
    security = Security(has_tls=True)
    with pytest.raises(Error) as size:
        security.pbsz("0")
    with pytest.raises(Error) as level:
        security.prot("P", must_be_private=False)
    assert size.value.code is level.value.code is Code.FAILED_PRECONDITION
    assert security.ccc().code == 533
    assert encrypted().ccc().code == 534


@pytest.mark.parametrize(
    ("level", "must", "code", "is_private"),
    [
        ("P", False, 200, True),
        ("p", True, 200, True),
        ("C", False, 200, False),
        ("C", True, 534, False),
        ("S", False, 536, False),
        ("E", True, 536, False),
        ("X", False, 504, False),
        ("", False, 504, False),
    ],
)
def test_prot(level: str, must: bool, code: int, is_private: bool) -> None:
    security = encrypted()
    with pytest.raises(Error):
        security.prot(level, must_be_private=must)
    assert security.pbsz("0").lines == ("PBSZ=0",)
    assert security.prot(level, must_be_private=must).code == code
    assert security.is_private is is_private


@pytest.mark.parametrize(
    ("size", "is_right"), [("0", True), ("16384", True), ("x", False), ("", False)]
)
def test_pbsz_agrees_on_nothing_but_0(size: str, is_right: bool) -> None:
    if is_right:
        assert encrypted().pbsz(size).lines == ("PBSZ=0",)
    else:
        with pytest.raises(Error):
            encrypted().pbsz(size)


def test_on_an_implicit_connection_data_is_private_unless_told_otherwise() -> None:
    security = encrypted(is_implicit=True)
    assert security.is_private
    assert security.prot("C", must_be_private=False).code == 200
    assert not security.is_private


@given(st.lists(st.sampled_from(["began", "ended", "pbsz", "P", "C", "S"]), max_size=12))
def test_data_is_private_only_on_an_encrypted_connection(steps: list[str]) -> None:
    security = Security(has_tls=True)
    for step in steps:
        try:
            match step:
                case "began":
                    security.began()
                case "ended":
                    security.ended()
                case "pbsz":
                    security.pbsz("0")
                case _:
                    security.prot(step, must_be_private=False)
        except Error:
            pass
        assert security.is_tls or not security.is_private
