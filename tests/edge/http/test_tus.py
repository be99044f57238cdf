import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.checks import Check
from edge.http import tus
from edge.http.tus import Append, Standing
from zentransfer.errors import Code, Error
from zentransfer.ids import Capability, UploadID
from zentransfer.limits import (
    PARTIALS_PER_UPLOAD_MAX,
    UPLOAD_BYTES_MAX,
    UPLOAD_CONCAT_CHARS_MAX,
    UPLOAD_METADATA_CHARS_MAX,
)

TYPE = {"Content-Type": "application/offset+octet-stream"}
KEYS = st.from_regex("[!-+.-~/-]{1,20}", fullmatch=True)
PAIRS = st.dictionaries(KEYS, st.binary(max_size=40), max_size=8)
FOUND = Standing(5, 9, "filename YQ==", UploadID("up_a"), 1_000)


def refused(call: object) -> Code:
    with pytest.raises(Error) as raised:
        call()  # type: ignore[operator]
    return raised.value.code


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def metadata(**pairs: bytes) -> dict[str, str]:
    text = ",".join(f"{key} {encoded(value)}" for key, value in pairs.items())
    return {"Upload-Length": "3", "Upload-Metadata": text}


@given(st.text(max_size=20))
def test_t01_an_offset_is_a_number_or_refused(text: str) -> None:
    headers = {**TYPE, "Upload-Offset": text}
    if text.isascii() and text.isdigit() and len(text) <= 18:
        assert tus.append(headers) == Append(int(text), None)
    else:
        assert refused(lambda: tus.append(headers)) is Code.INVALID


@pytest.mark.parametrize("text", ["-1", "+1", "1.0", " 1", "1 ", "", "0x1", "\u0661"])
def test_t02_a_length_is_a_number_or_refused(text: str) -> None:
    assert refused(lambda: tus.incoming({"Upload-Length": text}, has_body=False)) is Code.INVALID
    headers = {**TYPE, "Upload-Offset": "0", "Upload-Length": text}
    assert refused(lambda: tus.append(headers)) is Code.INVALID


def test_t03_t06_t07_t30_options_say_what_is_spoken() -> None:
    answer = tus.options(77)
    assert answer.status == 204
    assert answer.headers == {
        "Tus-Version": "1.0.0",
        "Tus-Extension": (
            "checksum,concatenation,concatenation-unfinished,creation,creation-defer-length,"
            "creation-with-upload,expiration,termination"
        ),
        "Tus-Max-Size": "77",
        "Tus-Checksum-Algorithm": "sha1,sha256,sha512,md5,crc32c,xxh3",
    }


def test_t04_every_answer_says_the_version_in_use() -> None:
    answers = [
        tus.created(Capability("a"), FOUND, has_body=True),
        tus.found(FOUND),
        tus.appended(FOUND),
        tus.terminated(),
        tus.refusal(Error(Code.GONE)),
    ]
    assert [answer.headers["Tus-Resumable"] for answer in answers] == ["1.0.0"] * 5


@pytest.mark.parametrize("headers", [{}, {"Tus-Resumable": "0.2.2"}, {"Tus-Resumable": "1.0"}])
def test_t05_another_version_is_refused_with_ours(headers: dict[str, str]) -> None:
    with pytest.raises(Error) as raised:
        tus.check_version(headers)
    answer = tus.refusal(raised.value)
    assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert "Tus-Version" not in tus.refusal(Error(Code.GONE)).headers
    tus.check_version({"Tus-Resumable": "1.0.0"})


def test_t08_the_method_may_be_overridden() -> None:
    assert tus.verb("POST", {"X-HTTP-Method-Override": "patch"}) == "PATCH"
    assert tus.verb("POST", {}) == "POST"


def test_t10_t11_t13_t14_t47_head_says_where_it_stands() -> None:
    answer = tus.found(FOUND)
    assert answer.status == 200
    assert answer.headers["Upload-Offset"] == "5"
    assert answer.headers["Upload-Length"] == "9"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Upload-Metadata"] == "filename YQ=="
    assert "Upload-Defer-Length" not in answer.headers
    assert "Upload-Metadata" not in tus.found(Standing(0, 0)).headers
    assert tus.found(Standing(0, 0)).headers["Upload-Offset"] == "0"


@pytest.mark.parametrize("kind", [None, "", "application/octet-stream", "text/plain"])
def test_t20_a_patch_has_its_own_content_type(kind: str | None) -> None:
    headers = {"Upload-Offset": "0", **({} if kind is None else {"Content-Type": kind})}
    assert refused(lambda: tus.append(headers)) is Code.UNSUPPORTED_MEDIA
    assert tus.refusal(Error(Code.UNSUPPORTED_MEDIA)).status == 415


def test_t20_parameters_and_case_of_the_type_do_not_matter() -> None:
    kind = "Application/Offset+Octet-Stream; charset=x"
    assert tus.append({"Content-Type": kind, "Upload-Offset": "3"}) == Append(3, None)


def test_t21_a_patch_without_an_offset_is_refused() -> None:
    assert refused(lambda: tus.append(TYPE)) is Code.INVALID


def test_t22_a_patch_is_answered_with_the_new_offset() -> None:
    answer = tus.appended(FOUND)
    assert (answer.status, answer.headers["Upload-Offset"], answer.body) == (204, "5", b"")


def test_t40_t50_t60_t70_t80_t90_t100_t110_the_extensions_are_told() -> None:
    told = tus.options(1).headers["Tus-Extension"].split(",")
    assert told == sorted(told)
    assert {"creation", "creation-with-upload", "termination"} <= set(told)
    assert {"creation-defer-length", "expiration", "checksum"} <= set(told)
    assert {"concatenation", "concatenation-unfinished"} <= set(told)
    assert "checksum-trailer" not in told, "no trailer of a request reaches us (T85)"


@pytest.mark.parametrize("digits", [19, 100, 8_000])
def test_t02_t44_a_length_beyond_all_bounds_is_a_length_all_the_same(digits: int) -> None:
    length = tus.incoming({"Upload-Length": "1" * digits}, has_body=False).length
    assert length is not None
    assert length > UPLOAD_BYTES_MAX
    assert tus.incoming({"Upload-Length": "0" * digits + "7"}, has_body=False).length == 7


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512", "md5", "crc32c", "xxh3"])
def test_t81_t82_a_checksum_is_an_algorithm_and_base64(name: str) -> None:
    digest = Check(name, b"").hasher().digest()
    text = f"{name} {base64.b64encode(digest).decode()}"
    assert tus.check({"Upload-Checksum": text}) == Check(name, digest)
    assert tus.check({}) is None
    assert name == name.lower()


@pytest.mark.parametrize(
    "text", ["", "sha1", "sha1 ", "sha1 %", "sha1 YQ==", "SHA1 YQ==", "sha3 YQ==", "sha1  YQ=="]
)
def test_t82_t84_a_checksum_that_could_match_nothing_is_refused(text: str) -> None:
    assert refused(lambda: tus.check({"Upload-Checksum": text})) is Code.INVALID


@pytest.mark.parametrize("trailer", ["Upload-Checksum", "x, upload-checksum", "UPLOAD-CHECKSUM ,x"])
def test_t85_a_digest_in_a_trailer_is_refused_because_nobody_could_compare_it(trailer: str) -> None:
    assert refused(lambda: tus.check({"Trailer": trailer})) is Code.INVALID
    assert tus.check({"Trailer": "x-upload-checksum"}) is None


@pytest.mark.parametrize(
    "headers",
    [{}, {"Upload-Length": "1", "Upload-Defer-Length": "1"}, {"Upload-Metadata": "a"}],
)
def test_t41_a_creation_says_its_length_or_that_it_comes_later(headers: dict[str, str]) -> None:
    assert refused(lambda: tus.incoming(headers, has_body=False)) is Code.INVALID
    assert tus.incoming({"Upload-Length": "7"}, has_body=False).length == 7
    assert tus.incoming({"Upload-Defer-Length": "1"}, has_body=False).length is None


@pytest.mark.parametrize("value", ["0", "2", "", "true"])
def test_t42_a_deferred_length_is_1(value: str) -> None:
    headers = {"Upload-Defer-Length": value}
    assert refused(lambda: tus.incoming(headers, has_body=False)) is Code.INVALID


def test_t43_a_creation_is_answered_with_its_address() -> None:
    answer = tus.created(Capability("abc"), FOUND, has_body=False)
    assert (answer.status, answer.headers["Location"]) == (201, "/files/abc")
    for host, address in (
        ("edge.example:8200", "http://edge.example:8200/files/abc"),
        ("[::1]:8200", "http://[::1]:8200/files/abc"),
        ("a b", "/files/abc"),
        ("evil/..", "/files/abc"),
    ):
        told = tus.created(Capability("abc"), FOUND, has_body=False, host=host, scheme="http")
        assert told.headers["Location"] == address
    assert answer.headers["ZT-Upload-Id"] == "up_a"
    assert "Upload-Offset" not in answer.headers


@given(PAIRS)
def test_t46_metadata_are_pairs_of_a_key_and_base64(pairs: dict[str, bytes]) -> None:
    text = ",".join(f"{key} {encoded(value)}" for key, value in pairs.items())
    assert tus.parsed(text) == pairs
    assert tus.parsed(text.replace(",", ", ")) == pairs


def test_t46_a_value_may_be_empty_and_its_space_left_out() -> None:
    assert tus.parsed("a,b ,c YQ==") == {"a": b"", "b": b"", "c": b"a"}


@pytest.mark.parametrize(
    "text",
    [",", "a,,b", "a YQ==,a YQ==", "\u00e4 YQ==", "a Y", "a YQ", "a Y=Q=", "a YQ== YQ==", "a\tb"],
)
def test_t46_t48_malformed_metadata_are_refused(text: str) -> None:
    headers = {"Upload-Length": "1", "Upload-Metadata": text}
    assert refused(lambda: tus.incoming(headers, has_body=False)) is Code.INVALID


@given(st.text(max_size=60))
def test_t48_what_is_answered_again_could_always_stand_in_a_header(text: str) -> None:
    try:
        tus.parsed(text)
    except Error:
        return
    assert text.isascii()
    assert text == "" or text.isprintable()


@pytest.mark.reaches("UPLOAD_METADATA_CHARS_MAX")
def test_metadata_are_bounded() -> None:
    key = "k" * (UPLOAD_METADATA_CHARS_MAX - 5)
    assert tus.parsed(f"{key} YQ==") == {key: b"a"}
    assert refused(lambda: tus.parsed(f"k{key} YQ==")) is Code.INVALID


def test_t51_a_deferred_length_is_said_while_it_is_unknown() -> None:
    headers = tus.found(Standing(3, None)).headers
    assert headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in headers


def test_t52_a_patch_may_bring_the_length() -> None:
    headers = {**TYPE, "Upload-Offset": "3", "Upload-Length": "9"}
    assert tus.append(headers) == Append(3, 9)


def test_t61_a_creation_with_a_body_has_the_content_type_of_a_patch() -> None:
    headers = {"Upload-Length": "3"}
    assert refused(lambda: tus.incoming(headers, has_body=True)) is Code.UNSUPPORTED_MEDIA
    assert tus.incoming({**headers, **TYPE}, has_body=True).length == 3
    assert tus.incoming({**headers, "Content-Type": "text/html"}, has_body=False).length == 3


def test_t62_a_creation_with_a_body_says_its_offset() -> None:
    headers = tus.created(Capability("abc"), FOUND, has_body=True).headers
    assert headers["Upload-Offset"] == "5"


@given(st.integers(0, 4_000_000_000_000))
def test_t72_an_expiry_is_a_date_of_http(at_ms: int) -> None:
    text = tus.http_date(at_ms)
    assert parsedate_to_datetime(text) == datetime.fromtimestamp(at_ms // 1000, UTC)
    assert text.endswith(" GMT")
    assert tus.appended(Standing(1, 2, expires_ms=at_ms)).headers["Upload-Expires"] == text


def test_t71_what_is_whole_does_not_expire() -> None:
    assert "Upload-Expires" not in tus.appended(Standing(2, 2)).headers


def test_t90_a_termination_is_answered_without_a_word() -> None:
    assert (tus.terminated().status, tus.terminated().body) == (204, b"")


def test_t101_a_part_says_so_and_a_whole_names_its_parts() -> None:
    part = tus.incoming({"Upload-Length": "3", "Upload-Concat": "partial"}, has_body=False)
    assert (part.is_partial, part.concat, part.length) == (True, "partial", 3)
    whole = {"Upload-Concat": "final;/files/abc http://x.example:1/files/def?x=1 /files/abc"}
    found = tus.incoming(whole, has_body=False)
    assert (found.is_partial, found.concat) == (False, whole["Upload-Concat"])
    assert tus.partials(whole) == ("abc", "def", "abc")
    assert tus.partials({"Upload-Concat": "partial"}) == tus.partials({}) == ()


@pytest.mark.parametrize(
    "addresses",
    ["", " ", "/files/", "/files/a  /files/b", "/in/a", "abc", "http://[/files/a"],
)
def test_t101_a_whole_that_names_no_parts_is_refused(addresses: str) -> None:
    headers = {"Upload-Concat": f"final;{addresses}"}
    assert refused(lambda: tus.partials(headers)) is Code.INVALID


@pytest.mark.parametrize(
    "text", ["Partial", "final", "whole", "partial;/files/a", "final /files/a"]
)
def test_t101_another_word_is_refused(text: str) -> None:
    headers = {"Upload-Length": "3", "Upload-Concat": text}
    assert refused(lambda: tus.incoming(headers, has_body=False)) is Code.INVALID


def test_t102_a_whole_brings_neither_a_length_nor_bytes() -> None:
    whole = {"Upload-Concat": "final;/files/abc", "Content-Type": "application/offset+octet-stream"}
    assert tus.incoming(whole, has_body=False).length is None
    for headers, has_body in (
        (whole | {"Upload-Length": "3"}, False),
        (whole | {"Upload-Defer-Length": "1"}, False),
        (whole, True),
    ):
        assert refused(lambda h=headers, b=has_body: tus.incoming(h, has_body=b)) is Code.INVALID


@pytest.mark.reaches("PARTIALS_PER_UPLOAD_MAX")
def test_t101_the_parts_are_counted() -> None:
    parts = " ".join(["/files/a"] * PARTIALS_PER_UPLOAD_MAX)
    assert len(tus.partials({"Upload-Concat": f"final;{parts}"})) == PARTIALS_PER_UPLOAD_MAX
    more = {"Upload-Concat": f"final;{parts} /files/a"}
    assert refused(lambda: tus.partials(more)) is Code.INVALID


@pytest.mark.reaches("UPLOAD_CONCAT_CHARS_MAX")
def test_t109_what_is_echoed_is_bounded_and_could_always_stand_in_a_header() -> None:
    longest = "final;/files/" + "a" * (UPLOAD_CONCAT_CHARS_MAX - 13)
    assert tus.incoming({"Upload-Concat": longest}, has_body=False).concat == longest
    for text in (longest + "a", "final;/files/a\x7f", "final;/files/\u00e4"):
        assert refused(lambda t=text: tus.incoming({"Upload-Concat": t}, has_body=False)) is (
            Code.INVALID
        )


def test_t106_t107_t108_t109_head_tells_of_parts_and_of_what_waits_for_them() -> None:
    waiting = tus.found(Standing(None, 9, concat="final;/files/a")).headers
    assert "Upload-Offset" not in waiting
    assert "Upload-Defer-Length" not in waiting
    assert (waiting["Upload-Length"], waiting["Upload-Concat"]) == ("9", "final;/files/a")
    assert "Upload-Length" not in tus.found(Standing(None, None, concat="final;x")).headers
    done = tus.found(Standing(9, 9, concat="final;/files/a")).headers
    assert (done["Upload-Offset"], done["Upload-Length"]) == ("9", "9")
    assert tus.found(Standing(3, 9, concat="partial")).headers["Upload-Offset"] == "3"


@pytest.mark.parametrize(
    ("offset", "count", "length", "fits"),
    [(0, 3, 3, True), (1, 3, 3, False), (3, 0, 3, True), (9, 9, None, True), (9, None, 3, True)],
)
def test_t122_announced_bytes_past_the_length_are_refused(
    offset: int, count: int | None, length: int | None, fits: bool
) -> None:
    if fits:
        tus.check_fits(offset, count, length)
    else:
        assert refused(lambda: tus.check_fits(offset, count, length)) is Code.SIZE_EXCEEDED


def test_the_name_and_type_come_from_the_metadata() -> None:
    found = tus.incoming(
        metadata(filename="desk/IMG ä.jpg".encode(), filetype=b"image/jpeg"), has_body=False
    )
    assert (found.name.folder, found.name.name) == ("desk", "IMG ä.jpg")
    assert (found.media_type, found.dialect, found.door) == ("image/jpeg", "tus", "http")
    assert tus.incoming(metadata(name=b"b", type=b"a/b"), has_body=False).name.name == "b"
    assert tus.incoming(metadata(other=b"b"), has_body=False).name.name == "upload"
    assert tus.incoming(metadata(filename=b""), has_body=False).name.name == "upload"
    assert tus.incoming(metadata(filetype=b"\x00\xff"), has_body=False).media_type == ""


@pytest.mark.parametrize("name", [b"..", b"a/../b", b"\x00", b"a\nb", b"\xe4", b" . "])
def test_a_name_that_no_destination_should_see_is_refused(name: bytes) -> None:
    assert refused(lambda: tus.incoming(metadata(filename=name), has_body=False)) is Code.INVALID


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/files", ""),
        ("/files/", ""),
        ("/files/abc", "abc"),
        ("/files/abc?x=y", "abc"),
        ("http://here/files/abc?x", "abc"),
        ("/files/a/b", "a/b"),
    ],
)
def test_an_address_names_the_collection_or_an_upload(target: str, shown: str) -> None:
    assert tus.is_ours(target)
    assert tus.shown_capability(target) == shown
    assert not tus.is_ours("/in/x")
    assert not tus.is_ours("/filesystem")
