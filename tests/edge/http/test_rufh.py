import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from edge.facts import Door, Outcome, OutcomeState
from edge.http import rufh, tus
from edge.http.problem import Answer
from edge.http.rufh import NEWEST, VERSIONS, Limits, Refused, Standing, Version
from edge.upload import OffsetMismatch
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, Capability, OutcomeID, Region, UploadID

IANA = "https://iana.org/assignments/http-problem-types#"
LIMITS = Limits(77, 60)
OPEN = Standing(UploadID("up_a"), 5, 9, is_whole=False)
WHOLE = Standing(UploadID("up_a"), 9, 9, is_whole=True)
DIGEST = hashlib.sha256(b"abc").digest()
ENCODED = base64.b64encode(DIGEST).decode()
OUTCOME = Outcome(
    id=OutcomeID("ou_a"),
    upload_id=UploadID("up_a"),
    account_id=AccountID("ac_a"),
    credential_id=None,
    state=OutcomeState.COMMITTED,
    error=None,
    size_bytes=9,
    digest=None,
    region=Region.FR,
    door=Door.HTTP,
    name=None,
    workflow_id=None,
    workflow_version=0,
    created_ms=0,
    ended_ms=0,
)
every_version = pytest.mark.parametrize("spoken", [*VERSIONS.values(), NEWEST])


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in values.items()})


def refused(call: object) -> Code:
    with pytest.raises(Error) as raised:
        call()  # type: ignore[operator]
    return raised.value.code


def is_complete(answer: Answer, spoken: Version) -> bool | None:
    if spoken.is_inverted:
        assert "Upload-Complete" not in answer.headers
        return {"?0": True, "?1": False, None: None}[answer.headers.get("Upload-Incomplete")]
    assert "Upload-Incomplete" not in answer.headers
    return {"?1": True, "?0": False, None: None}[answer.headers.get("Upload-Complete")]


@pytest.mark.parametrize(
    ("named", "expected"),
    [(str(number), number) for number in range(3, 11)]
    + [("2", None), ("11", None), ("0", None), ("-8", None), ("8.0", None), ("8, 8", None)],
)
def test_r71_a_version_that_is_not_known_is_as_none(named: str, expected: int | None) -> None:
    spoken = rufh.version(headers(Upload_Complete="?1", Upload_Draft_Interop_Version=named))
    assert spoken.number == expected
    said = None if expected is None else {"Upload-Draft-Interop-Version": str(expected)}
    assert rufh.interim(spoken) == said


def test_who_names_no_version_is_served_by_the_newest_rules() -> None:
    assert rufh.version(headers()) == NEWEST
    assert rufh.version(headers(Upload_Complete="?1")) == NEWEST
    assert rufh.interim(NEWEST) is None


def test_version_3_says_what_is_incomplete() -> None:
    said = {"upload_draft_interop_version": "3"}
    for value, is_last in (("?0", True), ("?1", False)):
        found = rufh.creation("/in/x", headers(Upload_Incomplete=value, **said), 3)
        assert found.is_last is is_last
    # The draft changed the field's name before it changed the version.
    assert rufh.creation("/in/x", headers(Upload_Complete="?1", **said), 3).is_last
    assert rufh.version(headers(**said)).is_inverted
    assert rufh.version(headers(Upload_Incomplete="?1")).is_inverted


@pytest.mark.parametrize("value", ["?0", "?1", "?1;a=b", " ?0 "])
def test_r20_a_boolean_creates(value: str) -> None:
    assert rufh.is_creation(headers(Upload_Complete=value))
    assert rufh.is_creation(headers(Upload_Incomplete=value))


@given(st.text(max_size=8))
def test_r03_nothing_else_does(value: str) -> None:
    if value.strip(" ") not in ("?0", "?1"):
        assert not rufh.is_creation({"Upload-Complete": value})
        assert not rufh.is_creation({"Upload-Incomplete": value})
    assert not rufh.is_creation({})


@pytest.mark.parametrize(
    ("said", "count", "complete", "expected"),
    [
        (None, 3, "?1", 3),
        (None, 3, "?0", None),
        (None, None, "?1", None),
        ("3", 3, "?1", 3),
        ("9", 3, "?0", 9),
        ("9", None, "?1", 9),
        ("-9", 3, "?1", 3),
        ("nine", 3, "?0", None),
    ],
)
def test_r04_r23_a_length_is_said_or_implied(
    said: str | None, count: int | None, complete: str, expected: int | None
) -> None:
    given_headers = headers(Upload_Complete=complete, **({"Upload_Length": said} if said else {}))
    assert rufh.creation("/files/", given_headers, count).incoming.length == expected


def test_r05_two_lengths_must_be_one() -> None:
    wrong = headers(Upload_Complete="?1", Upload_Length="4", Upload_Offset="2")
    assert refused(lambda: rufh.creation("/files/", wrong, 3)) is Code.INCONSISTENT_LENGTH
    assert refused(lambda: rufh.append(wrong, 3, VERSIONS[5])) is Code.INCONSISTENT_LENGTH
    assert rufh.append(wrong, 2, VERSIONS[5]).length == 4


@every_version
def test_r40_an_append_says_its_type_its_offset_and_whether_it_is_the_last(spoken: Version) -> None:
    good = headers(
        Content_Type="application/partial-upload", Upload_Offset="3", Upload_Complete="?0"
    )
    assert rufh.append(good, 2, spoken) == rufh.Append(3, is_last=False, length=None, check=None)
    for name in ("Upload-Offset", "Upload-Complete"):
        less = good.copy()
        del less[name]
        assert refused(lambda less=less: rufh.append(less, 2, spoken)) is Code.INVALID
    other = good.copy()
    other["Content-Type"] = "application/offset+octet-stream"
    if spoken.has_type:
        assert refused(lambda: rufh.append(other, 2, spoken)) is Code.UNSUPPORTED_MEDIA
    else:
        assert rufh.append(other, 2, spoken).offset == 3


def test_r40_only_the_first_versions_have_no_type() -> None:
    assert [number for number, spoken in VERSIONS.items() if not spoken.has_type] == [3, 4, 5]
    assert NEWEST.has_type


def test_r28_the_type_of_a_part_is_not_the_file_s() -> None:
    said = {"upload_complete": "?0"}
    part = headers(Content_Type="application/partial-upload; x=y", **said)
    assert rufh.creation("/files/", part, 3).incoming.media_type == ""
    kind = headers(Content_Type="image/jpeg", Content_Encoding="br", **said)
    found = rufh.creation("/files/", kind, 3).incoming
    assert (found.media_type, found.content_encoding) == ("image/jpeg", "br")
    assert (found.door, found.dialect) == (Door.HTTP, "rufh")


def test_r80_r81_digests_are_of_the_whole_and_of_the_content() -> None:
    said = {"upload_complete": "?1"}
    of_both = headers(
        Repr_Digest=f"md5=:AA==:, sha-256=:{ENCODED}:",
        Content_Digest=f"sha-256=:{ENCODED}:",
        **said,
    )
    found = rufh.creation("/files/", of_both, 3)
    assert found.incoming.digest == DIGEST
    assert found.incoming.is_checked
    assert found.check is not None
    assert (found.check.algorithm, found.check.expected) == ("sha-256", DIGEST)
    best = f"sha-256=:{ENCODED}:, sha-512=:{base64.b64encode(bytes(64)).decode()}:"
    check = rufh.creation("/files/", headers(Content_Digest=best, **said), 3).check
    assert check is not None
    assert check.algorithm == "sha-512"
    none = rufh.creation("/files/", headers(Content_Digest="md5=:AA==:", **said), 3)
    assert none.check is None
    assert not none.incoming.is_checked


@pytest.mark.parametrize("name", ["Repr_Digest", "Content_Digest"])
@pytest.mark.parametrize(
    "value", ["sha-256=abc", "sha-256=:!:", "sha-256=:AAAA:", "sha-256", "a b"]
)
def test_r80_r81_a_digest_that_cannot_be_read_is_refused(name: str, value: str) -> None:
    wrong = headers(Upload_Complete="?1", **{name: value})
    assert refused(lambda: rufh.creation("/files/", wrong, 3)) is Code.INVALID


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[("sha-256=1", True), ("md5=9, sha-256=10", True), ("sha-256=0", False)],
        *[("md5=9", False), ("sha-256", False), ("sha-256=x", False), ("", False)],
    ],
)
def test_r80_a_wanted_digest_is_heard(value: str, expected: bool) -> None:
    assert rufh.wants_digest(headers(Want_Repr_Digest=value)) is expected


@every_version
def test_r07_r30_a_standing_is_told_in_the_client_s_words(spoken: Version) -> None:
    for answer, status in (
        (rufh.found(OPEN, LIMITS, spoken), 204),
        (rufh.appended(OPEN, LIMITS, spoken), 204),
        (rufh.created(OPEN, LIMITS, spoken, "/files/a"), 201),
    ):
        assert (answer.status, answer.headers["Upload-Offset"]) == (status, "5")
        assert is_complete(answer, spoken) is False
        age = {"": None, "expires": "max-size=77, expires=60"}
        expected = age.get(spoken.age, "max-size=77, max-age=60")
        assert answer.headers.get("Upload-Limit") == expected
    found = rufh.found(WHOLE, LIMITS, spoken)
    assert is_complete(found, spoken) is True
    assert found.headers["Upload-Length"] == "9"
    assert found.headers["Cache-Control"] == "no-store"
    assert "Upload-Limit" not in found.headers


def test_r07_the_age_has_another_name_in_the_version_that_began_it() -> None:
    ages = {number: spoken.age for number, spoken in VERSIONS.items()}
    newer = dict.fromkeys((7, 8, 9, 10), "max-age")
    assert ages == {**dict.fromkeys((3, 4, 5), ""), 6: "expires", **newer}
    assert rufh.limited(Limits(5, None), NEWEST) == {"Upload-Limit": "max-size=5"}


@every_version
def test_r42_what_is_whole_is_answered_as_by_the_plain_dialect(spoken: Version) -> None:
    answer = rufh.completed(OUTCOME, DIGEST, spoken)
    assert answer.status == 201
    assert json.loads(answer.body) == {"id": "up_a", "size": 9, "region": "fr"}
    assert is_complete(answer, spoken) is True
    assert answer.headers["Repr-Digest"] == f"sha-256=:{ENCODED}:"
    assert "Location" not in answer.headers
    assert rufh.completed(OUTCOME, None, spoken, "/files/a").headers["Location"] == "/files/a"


@every_version
def test_r41_a_mismatch_tells_both_offsets(spoken: Version) -> None:
    answer = rufh.refusal(OffsetMismatch(5), Refused(spoken, LIMITS, provided=7, is_append=True))
    document = json.loads(answer.body)
    assert (answer.status, document["type"]) == (409, IANA + "mismatching-upload-offset")
    assert (document["expected-offset"], document["provided-offset"]) == (5, 7)
    assert answer.headers["Upload-Offset"] == "5"
    assert is_complete(answer, spoken) is False


@pytest.mark.parametrize("code", list(Code))
@every_version
def test_every_refusal_is_a_problem_with_a_registered_status(code: Code, spoken: Version) -> None:
    answer = rufh.refusal(Error(code), Refused(spoken, LIMITS, is_append=True))
    document = json.loads(answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert document["status"] == answer.status != 460
    assert is_complete(answer, spoken) is False
    has_limit = answer.status == 413 and bool(spoken.age)
    assert ("Upload-Limit" in answer.headers) is has_limit
    bare = rufh.refusal(Error(code), Refused(spoken, LIMITS))
    assert is_complete(bare, spoken) is None


def test_a_time_to_come_back_is_told() -> None:
    error = Error(Code.DRAINING, retry_after_s=5.0)
    answer = rufh.refusal(error, Refused(NEWEST, LIMITS), stretch=1.5)
    assert answer.headers["Retry-After"] == "8"


def test_r25_an_address_is_absolute_where_the_host_is_known() -> None:
    capability = Capability("c")
    assert tus.location(capability, "a.example:8", "https") == "https://a.example:8/files/c"
    assert tus.location(capability, "[::1]:8", "http") == "http://[::1]:8/files/c"
    for host in ("", "a b", "a\r\nX: y", "a/b"):
        assert tus.location(capability, host, "http") == "/files/c"


def test_r10_options_tell_the_limits_and_what_else_is_spoken() -> None:
    answer = rufh.options(LIMITS, {"Tus-Version": "1.0.0"})
    assert answer.status == 204
    assert answer.headers["Upload-Limit"] == "max-size=77, max-age=60"
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert rufh.cancelled().status == 204
