import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geo.__main__ import main
from geo.explain import report
from tests.geo.databases import city_file

ROOT = Path(__file__).parents[2]


def run(*words: str) -> Result:
    return CliRunner(env={"ZT_GEO_DATABASE": "none"}).invoke(main, words)


def test_it_prints_the_report(tmp_path: Path) -> None:
    path = city_file(tmp_path)
    done = run("explain", "203.0.113.9", "--database", str(path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == report("203.0.113.9", database=path) + "\n"
    done = run("explain", "203.0.113.9", "--pin", "fr", "--json")
    assert (
        done.stdout == report("203.0.113.9", pin="fr", database=Path("none"), in_json=True) + "\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("203.0.113.9.9",),
        ("203.0.113.9", "--pin", "de"),
        ("203.0.113.9", "--json", "--database", "/nowhere"),
    ],
)
def test_a_bad_question_is_one_line_on_the_error_stream_and_2(words: tuple[str, ...]) -> None:
    done = run("explain", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("--help",), ("explain", "-h")])
def test_help_has_examples(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.exit_code == 0
    assert "  python -m geo explain 2001:db8::1 --pin fr\n" in done.stdout


@pytest.mark.peer
def test_it_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geo", "explain", "203.0.113.9", "--pin", "fr"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "reason      pinned" in done.stdout
    assert done.stderr == ""
