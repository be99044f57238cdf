import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from edge.facts import Door, Outcome, OutcomeState
from edge.http.plain import (
    check_target,
    created,
    expects_continue,
    incoming,
    maybe_shown,
)
from edge.incoming import Incoming
from zentransfer.credential import Shown, token
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialName, OutcomeID, Region, UploadID
from zentransfer.sealed_name import FileName

NAME, SECRET = CredentialName("abcdefgh"), "k7f3q2m9c4d8w5x6y2z3"
DIGEST = hashlib.sha256(b"abc").digest()
SHA256 = f"sha-256=:{base64.b64encode(DIGEST).decode()}:"


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in values.items()})


def refused(target: str, length: int | None = 1, **values: str) -> str:
    with pytest.raises(Error) as raised:
        incoming(target, headers(**values), length)
    assert raised.value.code is Code.INVALID
    return raised.value.detail


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_bearer_token_is_shown(scheme: str) -> None:
    assert maybe_shown(f"{scheme} {token(NAME, SECRET)}") == Shown(NAME, SECRET)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic eA==",
        f"Bearer {NAME}",
        f"zt_{NAME}_{SECRET}",
        f"Bearer zt_{NAME}_{SECRET} x",
        f"Bearer zt_{NAME}_{SECRET}\x00",
        "Bearer zt_\u00e9_x",
    ],
)
def test_anything_else_shows_nothing(value: str | None) -> None:
    assert maybe_shown(value) is None


def test_a_request_becomes_what_comes_in() -> None:
    found = incoming(
        "/in/desk/IMG%20%C3%A4.jpg?x=1",
        headers(content_type="image/jpeg", content_encoding="gzip", repr_digest=SHA256),
        3,
    )
    assert found == Incoming(
        FileName("desk", "IMG \u00e4.jpg"),
        Door.HTTP,
        "plain",
        length=3,
        media_type="image/jpeg",
        content_encoding="gzip",
        digest=DIGEST,
    )


def test_chunks_need_no_length_and_nothing_at_all_is_ambiguous() -> None:
    assert incoming("/in/x", headers(transfer_encoding="chunked"), None).length is None
    assert incoming("/in/x", headers(), 0).length == 0
    assert "Content-Length" in refused("/in/x", None)


@pytest.mark.parametrize("target", ["/in/", "/in/%00", "/in/..", "/in/%ff", "/in/x/"])
def test_a_bad_name_is_refused(target: str) -> None:
    refused(target)


def test_the_absolute_form_is_read_like_the_other() -> None:
    assert incoming("http://fr-1:8200/in/a/x?y", headers(), 1).name == FileName("a", "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SHA256, DIGEST),
        (f"md5=:AAAA:, {SHA256} ", DIGEST),
        (f"{SHA256}, sha-512=:AAAA:", DIGEST),
        ("sha-512=:AAAA:", None),
        ("", None),
    ],
)
def test_a_digest_is_found_among_others(value: str, expected: bytes | None) -> None:
    assert incoming("/in/x", headers(repr_digest=value), 1).digest == expected
    assert incoming("/in/x", headers(content_digest=value), 1).digest == expected


def test_two_digests_that_differ_and_one_that_is_none_are_refused() -> None:
    other = f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"
    assert incoming("/in/x", headers(repr_digest=SHA256, content_digest=SHA256), 1).digest
    refused("/in/x", repr_digest=SHA256, content_digest=other)
    refused("/in/x", repr_digest="sha-256=:AAAA:")
    refused("/in/x", repr_digest="sha-256=:A:")
    refused("/in/x", repr_digest="sha-256=abc")
    refused("/in/x", repr_digest=f"{SHA256}, SHA-256=abc")


def test_a_part_of_a_file_is_never_taken_for_the_whole() -> None:
    refused("/in/x", content_range="bytes 0-4/10")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("sha-256=1", True), ("md5=9, sha-256=10", True), ("sha-256=0", False), ("md5=9", False)],
)
def test_a_wanted_digest_is_heard(value: str, expected: bool) -> None:
    assert incoming("/in/x", headers(want_repr_digest=value), 1).wants_digest is expected


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_header_breaks_the_reader(digest: str, kind: str) -> None:
    given = headers(repr_digest=digest, want_repr_digest=digest, content_type=kind)
    try:
        found = incoming("/in/x", given, 1)
    except Error:
        return
    assert found.media_type in (kind, "")
    assert found.media_type.isascii()
    assert len(found.media_type) <= 255


def test_only_its_own_expectation_is_known() -> None:
    assert expects_continue(headers(expect="100-Continue"))
    assert not expects_continue(headers(expect="a miracle"))
    assert not expects_continue(headers())


@pytest.mark.parametrize("target", ["/in/x", "*", "http://fr-1:8200/in/x", "HTTP://FR-1:8200/"])
def test_what_is_for_us_passes(target: str) -> None:
    check_target(target, headers(host="fr-1:8200"))


@pytest.mark.parametrize(
    ("target", "values"),
    [
        ("http://evil/in/x", {"host": "fr-1:8200"}),
        ("http://fr-1:8200@evil/in/x", {"host": "fr-1:8200"}),
        ("http://fr-1/in/x", {"host": "fr-1:8200"}),
        ("fr-1:443", {"host": "fr-1:8200"}),
        ("/in/x", {"host": "fr-1:8200", "upgrade": "websocket"}),
        ("/in/x", {"host": "fr-1:8200", "upgrade": "h2c"}),
    ],
)
def test_what_is_for_another_is_refused(target: str, values: dict[str, str]) -> None:
    with pytest.raises(Error) as raised:
        check_target(target, headers(**values))
    assert raised.value.code is Code.INVALID


def test_success_names_the_upload_and_the_digest_that_was_asked_for() -> None:
    outcome = Outcome(
        id=OutcomeID("oc_a"),
        upload_id=UploadID("up_a"),
        account_id=AccountID("ac_a"),
        credential_id=None,
        state=OutcomeState.COMMITTED,
        error=None,
        size_bytes=3,
        digest=None,
        region=Region.FR,
        door=Door.HTTP,
        name=None,
        workflow_id=None,
        workflow_version=0,
        created_ms=0,
        ended_ms=0,
    )
    answer = created(outcome, None)
    assert answer.status == 201
    assert json.loads(answer.body) == {"id": "up_a", "size": 3, "region": "fr"}
    assert answer.headers["ZT-Upload-Id"] == "up_a"
    assert "Repr-Digest" not in answer.headers
    assert created(outcome, DIGEST).headers["Repr-Digest"] == SHA256
