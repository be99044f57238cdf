import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.accounts.buckets import bucket_address, endpoint, secret, store_region
from zentransfer.errors import Code, Error
from zentransfer.limits import DESTINATION_ENDPOINT_CHARS_MAX, DESTINATION_SECRET_CHARS_MAX
from zentransfer.reachable import is_public


def is_refused(make: object, *args: object, **options: object) -> bool:
    assert callable(make)
    try:
        make(*args, **options)
    except Error as refused:
        return refused.code is Code.INVALID and bool(refused.detail)
    return False


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("s3://desk", "s3://desk"),
        ("S3://desk/", "s3://desk"),
        ("s3://my.desk-1/a//b c/é/", "s3://my.desk-1/a/b c/é"),
    ],
)
def test_an_address_has_one_form(text: str, kept: str) -> None:
    assert bucket_address(text) == kept
    assert bucket_address(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        *("", "desk", "s3:desk", "s3://", "s3:///a", "https://desk.s3.amazonaws.com/"),
        *("s3://De", "s3://a", "s3://-desk", "s3://desk..x", "s3://de_sk", "s3://desk:80/a"),
        *("s3://user@desk/a", "s3://desk/../other", "s3://desk/./a", "s3://desk/a\nb"),
        "s3://desk/" + "x" * 1_024,
    ],
)
def test_what_is_no_bucket_is_refused(text: str) -> None:
    assert is_refused(bucket_address, text)


@given(st.text("/.as3:-\\%é ", max_size=14))
def test_no_prefix_leaves_its_bucket(text: str) -> None:
    if not is_refused(bucket_address, f"s3://desk/{text}"):
        kept = bucket_address(f"s3://desk/{text}")
        assert kept == "s3://desk" or kept.startswith("s3://desk/")
        assert not {"", ".", ".."} & set(kept.split("/")[3:])


def test_without_an_endpoint_it_is_amazons() -> None:
    assert endpoint(None, "eu-west-3", is_lab=False) == "https://s3.eu-west-3.amazonaws.com"
    assert endpoint("", "cn-north-1", is_lab=False) == "https://s3.cn-north-1.amazonaws.com.cn"
    assert store_region(None) == "us-east-1"
    assert store_region("auto") == "auto"


@pytest.mark.parametrize("text", ["EU", "eu west", "-eu", "e" * 64, "eu/../x", "eu.evil.com#"])
def test_what_is_no_region_is_refused(text: str) -> None:
    assert is_refused(store_region, text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://S3.Example.com/", "https://s3.example.com"),
        ("https://minio_1.example.com:8443", "https://minio_1.example.com:8443"),
        ("https://8.8.8.8", "https://8.8.8.8"),
        ("https://[2606:4700::6810:1]:8443", "https://[2606:4700::6810:1]:8443"),
    ],
)
def test_a_public_server_is_taken(text: str, kept: str) -> None:
    assert endpoint(text, "auto", is_lab=False) == kept
    assert endpoint(kept, "auto", is_lab=False) == kept


@pytest.mark.parametrize(
    "text",
    [
        *("http://s3.example.com", "ftp://s3.example.com", "s3.example.com", "//s3.example.com"),
        *("https://", "https://a@s3.example.com", "https://a:b@s3.example.com"),
        *("https://s3.example.com/bucket", "https://s3.example.com?x", "https://s3.example.com#x"),
        *("https://s3.example.com:x", "https://s3.example.com:99999", "https://s3 .example.com"),
        *("https://[::1", "https://exämple.com", "https://s3.example.com\\@evil.com"),
        *("https://-a.example.com", "https://a..b", "https://" + "a." * 150 + "com"),
    ],
)
def test_what_is_no_server_is_refused(text: str) -> None:
    assert is_refused(endpoint, text, "auto", is_lab=False)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.1", "[::1]", "10.0.0.1:8443", "169.254.169.254", "[fd00::1]"),
        *("[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "nas.local", "metadata.google.internal"),
        *("intranet", "x.localhost", "1.0.0.127.in-addr.arpa"),
    ],
)
def test_a_private_server_is_for_the_laboratory_only(host: str) -> None:
    assert is_refused(endpoint, f"https://{host}", "auto", is_lab=False)
    assert endpoint(f"http://{host}", "auto", is_lab=True) == f"http://{host}"


@given(st.ip_addresses())
def test_an_address_of_a_server_is_taken_only_if_it_is_public(address: object) -> None:
    shown = f"[{address}]" if ":" in str(address) else str(address)
    refused = is_refused(endpoint, f"https://{shown}", "auto", is_lab=False)
    assert refused is not is_public(address)  # type: ignore[arg-type]  # hypothesis' union


@pytest.mark.reaches("DESTINATION_ENDPOINT_CHARS_MAX")
def test_an_endpoint_has_a_longest() -> None:
    room = DESTINATION_ENDPOINT_CHARS_MAX - len("https:// ")
    assert is_refused(endpoint, "https://" + "a" * (room + 2), "auto", is_lab=False)


@pytest.mark.reaches("DESTINATION_SECRET_CHARS_MAX")
def test_a_key_is_printable_and_has_a_longest() -> None:
    longest = "k" * DESTINATION_SECRET_CHARS_MAX
    assert secret(longest, longest).secret_access_key == longest
    for wrong in ("", None, longest + "k", "a b", "a\n", "é"):
        assert is_refused(secret, "id", wrong)
        assert is_refused(secret, wrong, "key")
