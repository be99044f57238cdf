from hypothesis import given
from hypothesis import strategies as st

from ops.doctor.answers import is_begun, is_good, maybe_date_ms, maybe_mdtm_ms, maybe_place
from ops.doctor.seen import Lost, Said


@given(st.tuples(*[st.integers(0, 255)] * 4), st.integers(1, 65_535))
def test_what_pasv_announces_is_read(host: tuple[int, ...], port: int) -> None:
    numbers = ",".join(map(str, [*host, port >> 8, port & 255]))
    found = (".".join(map(str, host)), port)
    assert maybe_place(Said(227, f"Entering Passive Mode ({numbers})")) == found
    assert maybe_place(Said(227, f"go to {numbers} please")) == found


@given(st.integers(1, 65_535), st.sampled_from("|!~"))
def test_what_epsv_announces_is_read(port: int, mark: str) -> None:
    text = f"Entering Extended Passive Mode ({mark * 3}{port}{mark})"
    assert maybe_place(Said(229, text)) == ("", port)


@given(st.one_of(st.builds(Said, st.integers(100, 599), st.text()), st.sampled_from(Lost)))
def test_no_answer_makes_it_stumble(answer: Said | Lost) -> None:
    place = maybe_place(answer)
    assert place is None or 0 < place[1] <= 65_535
    maybe_mdtm_ms(answer)
    assert not (is_good(answer) and is_begun(answer))


def test_what_is_no_place_is_none() -> None:
    assert maybe_place(Said(227, "(1,2,3,4,0,0)")) is None
    assert maybe_place(Said(227, "(1,2,3,400,4,0)")) is None
    assert maybe_place(Said(229, "(|||0|)")) is None
    assert maybe_place(Said(229, "(|||99999|)")) is None
    assert maybe_place(Said(500, "(1,2,3,4,5,6)")) is None
    assert maybe_place(Lost.SILENT) is None


def test_times_are_read_in_utc() -> None:
    assert maybe_mdtm_ms(Said(213, "20261123012345")) == 1_795_397_025_000
    assert maybe_mdtm_ms(Said(213, "20261123012345.250")) == 1_795_397_025_000
    assert maybe_mdtm_ms(Said(213, "20261399012345")) is None
    assert maybe_mdtm_ms(None) is None
    head = b"HTTP/1.1 404 Not Found\r\nServer: x\r\ndate: Mon, 23 Nov 2026 01:23:45 GMT\r\n\r\n"
    assert maybe_date_ms(head) == 1_795_397_025_000
    assert maybe_date_ms(b"HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n") is None
    assert maybe_date_ms(b"220 ready\r\n") is None
