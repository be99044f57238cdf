import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.upload import TABLE, OffsetMismatch, State, Upload, UploadEnded
from zentransfer.errors import Code, Error
from zentransfer.limits import UPLOAD_BYTES_MAX

SIZES = st.integers(0, 1 << 20)


def code_of(raised: pytest.ExceptionInfo[Error]) -> Code:
    return raised.value.code


def test_an_upload_is_expected_at_its_offset_and_nowhere_else() -> None:
    upload = Upload(size_max=100).written(7)
    assert upload.expect(7) is upload
    with pytest.raises(OffsetMismatch) as raised:
        upload.expect(6)
    assert raised.value.expected == 7


@given(st.lists(SIZES, max_size=20))
def test_the_offset_is_the_sum_of_what_was_written_and_never_goes_back(counts: list[int]) -> None:
    upload = Upload(size_max=UPLOAD_BYTES_MAX)
    for count in counts:
        before = upload.offset
        upload = upload.written(count)
        assert upload.offset == before + count >= before
    assert upload.offset == sum(counts)


@given(SIZES, SIZES, SIZES)
def test_more_than_announced_or_allowed_is_never_taken(
    size_max: int, length: int, count: int
) -> None:
    upload = Upload(size_max=size_max, length=length)
    if count <= min(size_max, length):
        assert upload.written(count).left == min(size_max, length) - count
        return
    with pytest.raises(Error) as raised:
        upload.written(count)
    assert code_of(raised) is (Code.SIZE_EXCEEDED if length <= size_max else Code.TOO_LARGE)


def test_a_length_once_announced_stays() -> None:
    upload = Upload(size_max=100).written(10).announced(20)
    assert upload.announced(20) == upload
    assert upload.left == 10
    for wrong in (21, 9):
        with pytest.raises(Error) as raised:
            upload.announced(wrong)
        assert code_of(raised) is Code.INCONSISTENT_LENGTH
    with pytest.raises(Error) as raised:
        Upload(size_max=100).announced(101)
    assert code_of(raised) is Code.TOO_LARGE


def test_a_part_never_looks_whole() -> None:
    upload = Upload(size_max=100, length=10).written(9)
    assert not upload.is_complete
    with pytest.raises(Error) as raised:
        upload.committed()
    assert code_of(raised) is Code.PEER_GONE
    assert upload.written(1).committed().state is State.COMMITTED


def test_an_upload_without_a_length_is_as_long_as_what_came() -> None:
    assert Upload(size_max=100).written(9).committed().length == 9
    assert Upload(size_max=100).committed().length == 0


@given(st.sampled_from(["committed", "aborted"]), st.sampled_from(["committed", "aborted"]))
def test_there_is_exactly_one_end(first: str, second: str) -> None:
    ended = getattr(Upload(size_max=100), first)()
    assert TABLE[ended.state] == frozenset()
    with pytest.raises(UploadEnded):
        getattr(ended, second)()
    for late in ("written", "expect", "announced"):
        with pytest.raises(UploadEnded):
            getattr(ended, late)(0)
