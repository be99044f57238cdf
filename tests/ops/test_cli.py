import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from geo.__main__ import main as geo_main
from ops.cli import main
from tests.ops.system import ordinary_user
from zentransfer.service import EXIT_CANNOT_START, inherited


@pytest.mark.parametrize("words", [[], ["up"], ["status"], ["geo"], ["geo", "explain"]])
def test_every_help_has_examples(words: list[str]) -> None:
    done = CliRunner().invoke(main, [*words, "--help"])
    assert done.exit_code == 0
    examples = [line for line in done.output.splitlines() if line.startswith("    zentransfer")]
    assert len(examples) >= 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "--regions", "us,de"], "'us,de': name regions out of us, fr, sg, each once."),
        (["up", "--regions", "us,us"], "each once"),
        (["up", "--base", "24001"], "'24001' is no whole number from 1 to 24000."),
        (["up", "--base", "abc"], "--base': 'abc' is no whole number from 1 to 24000."),
        (["up", "--workers", "many"], "'many' is no whole number from 1 to"),
        (["up", "--timeout", "0"], "0.0 is not in the range"),
        (["geo", "explain", "nowhere"], "nowhere"),
        (["sattus"], "No such command 'sattus'"),
    ],
)
def test_what_was_mistyped_is_named(words: list[str], said: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["up", "--settings", str(tmp_path / "none.toml")])
    assert done.exit_code == EXIT_CANNOT_START
    assert f"zentransfer up: {tmp_path}/none.toml: no such file" in done.output


def test_status_of_nothing_is_an_error_with_the_cure(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["status", "--dir", str(tmp_path)])
    assert done.exit_code == 1
    said = f"Nothing runs in {tmp_path}. Start it: zentransfer up --dir {tmp_path}\n"
    assert said in done.output


def test_a_folder_of_another_user_is_said_with_the_cure() -> None:
    def said() -> str:
        return CliRunner().invoke(main, ["status", "--dir", folder]).output

    with TemporaryDirectory() as folder:
        (Path(folder) / "ready.json").write_text("{}")
        (Path(folder) / "ready.json").chmod(0)
        Path(folder).chmod(0o755)
        told = ordinary_user(said)
    assert "ready.json cannot be read: Permission denied. Ask as the user who" in told


@pytest.mark.parametrize(
    "words", [["203.0.113.9", "--pin", "fr"], ["2001:db8::1", "--json"], ["x"], []]
)
def test_geo_explain_is_the_very_command_of_geo(words: list[str]) -> None:
    ours = CliRunner().invoke(main, ["geo", "explain", *words])
    theirs = CliRunner().invoke(geo_main, ["explain", *words])
    assert ours.exit_code == theirs.exit_code
    assert ours.output.replace("main geo explain", "main explain") == theirs.output


@pytest.mark.peer
def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "--version"],
        env=inherited(),
        capture_output=True,
        text=True,
        check=True,
        timeout=40,
    )
    assert done.stdout.startswith("zentransfer, version ")
