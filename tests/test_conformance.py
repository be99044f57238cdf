import io
import re
import shutil
from pathlib import Path

import pytest

from ops.conformance import PAGE, TESTS, Shown, collected, faults, groups, main, page, shown_in
from ops.conformance_lines import RUFH, TUS
from ops.console import Console

ROOT = Path(__file__).parent.parent
EVERY = (*groups(TUS), *groups(RUFH))


def ran(root: Path, *arguments: str) -> tuple[int, str]:
    said = io.StringIO()
    return main(arguments, root, Console(said)), said.getvalue()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of what the page is made of."""
    shutil.copytree(ROOT / TESTS, tmp_path / TESTS, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / PAGE).parent.mkdir()
    return tmp_path


def test_every_requirement_is_shown_and_the_page_says_so() -> None:
    assert ran(ROOT, "--check") == (0, "")


def test_a_number_without_a_test_and_a_test_without_a_requirement_are_faults() -> None:
    tests = [test for test in collected(ROOT) if "T85" not in test.numbers]
    planted = Shown("tests/edge/http/test_x.py", "test_t10_r999_x")
    assert faults(EVERY, [*tests, planted]) == [
        "T85: no test shows it",
        "tests/edge/http/test_x.py: test_t10_r999_x: there is no R999",
    ]


def test_a_page_that_is_not_what_the_tests_show_is_refused_and_made_anew(copy: Path) -> None:
    assert ran(copy, "--check")[0] == 1, "it is not there"
    assert ran(copy) == (0, "")
    assert ran(copy, "--check") == (0, "")
    made = (copy / PAGE).read_text()
    (copy / PAGE).write_text(made.replace("MUST", "SHOULD", 1))
    status, said = ran(copy, "--check")
    assert (status, "python -m ops.conformance" in said) == (1, True)
    assert ran(copy) == (0, "")
    assert (copy / PAGE).read_text() == made


def test_a_fault_leaves_the_page_as_it_was(copy: Path) -> None:
    (copy / PAGE).write_text("as it was\n")
    (copy / TESTS / "test_more.py").write_text("def test_t999_x() -> None: ...\n")
    status, said = ran(copy)
    assert (status, said) == (1, f"{TESTS}/test_more.py: test_t999_x: there is no T999\n")
    assert (copy / PAGE).read_text() == "as it was\n"


def test_another_argument_is_refused(copy: Path) -> None:
    assert ran(copy, "--chek")[0] == 2
    assert not (copy / PAGE).exists()


def test_numbers_stand_at_the_beginning_of_a_test_s_name() -> None:
    source = (
        "class TestX:\n"
        "    async def test_t04_t05_r10_a_name(self): ...\n"
        "def test_r7_short(): ...\n"
        "def test_a_t08_in_the_middle(): ...\n"
        "def t09_no_test(): ...\n"
        "def test_t10x_no_number(): ...\n"
    )
    found = shown_in("x.py", source)
    assert [test.numbers for test in found] == [("T04", "T05", "R10"), ("R7",)]


@pytest.mark.parametrize(
    "text", ["T01 must words", "T1 MUST words", "X01 MUST words", "T01 MUST a\nT01 MAY b"]
)
def test_a_line_that_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no requirement|twice"):
        groups(text)


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = set(re.findall(r"\]\(\.\./([^)]+)\)", page(collected(ROOT))))
    assert len(links) > 10
    assert {link for link in links if not (ROOT / link).is_file()} == set()
