import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops import preflight
from ops.child import Child
from ops.cli import main
from ops.programs import Place
from ops.running import Register
from zentransfer.ids import Region
from zentransfer.limits import SEND_TOKEN_BYTES_MAX


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ZT_SEND_")]:  # noqa: TID251
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_text("x")


def sent(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(main, ["send", *words], env=variables)


def test_the_help_has_examples_and_says_what_the_codes_mean() -> None:
    done = sent("--help")
    assert done.exit_code == 0
    assert "zentransfer send -r shoot" in done.output
    assert "130 interrupted" in done.output
    assert "3 all taken but a delivery waits" in done.output
    assert "lab-client" not in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Name the files to send"),
        (["a.jpg", "--region", "de"], "'de' is not one of"),
        (["a.jpg", "--at-once", "0"], "--at-once"),
        (["-r", "empty"], "There is no file in what you named."),
        (["a.jpg", "--control", "zt.example", "--token", "t"], "--control is a URL"),
        (["a.jpg", "--control", "https://zt.example"], "There is no token; name --token-file"),
        (["a.jpg", "--token", "two words"], "The token is not one word"),
        (["a.jpg", "--token-file", "none"], "none: no such file or directory; correct"),
        (["a.jpg", "--token-file", "bytes"], "bytes: is no text; correct --token-file"),
        (["a.jpg", "--folder", "../x"], "Invalid value for --folder: '..' leads out"),
        (["a.jpg", "--settings", "none.toml"], "none.toml: no such file"),
    ],
)
def test_what_was_mistyped_is_named(words: list[str], said: str) -> None:
    Path("empty").mkdir()
    Path("bytes").write_bytes(b"\xff")
    done = sent(*words)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_variable_that_is_no_setting_is_named() -> None:
    done = sent("a.jpg", ZT_SEND_REGIONS="fr")
    assert done.exit_code == 2
    assert "did you mean ZT_SEND_REGION?" in done.output


def test_a_system_that_does_not_run_is_said_with_the_cure() -> None:
    done = sent("a.jpg", "--dir", "here")
    assert done.exit_code == 1
    assert done.output == (
        "Error: Nothing runs in here. For a system elsewhere name --control and --token-file."
        " Start it: zentransfer up --dir here\n"
    )


def test_while_control_is_away_files_are_sent_all_the_same(tmp_path: Path) -> None:
    preflight.make_folders(tmp_path / "here")
    place = Place(tmp_path / "here", 9, (Region.FR,), 1.0)
    serving = Child().started(1, 0.0).ready()
    names = ("fr-ingest-0", "fr-delivery-0")
    Register(place).write({"control": Child(), **dict.fromkeys(names, serving)})
    held = preflight.lock(tmp_path / "here")
    try:
        done = sent("a.jpg", "--dir", "here", "--token", "t")
    finally:
        os.close(held)
    assert "Note: control is away; files are sent all the same" in done.output
    assert "does not answer" in done.output  # it was tried: nothing refuses before


def test_a_control_that_does_not_answer_is_said(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n")
    words = ["--control", "http://127.0.0.1:9", "--token-file", "token", "--json"]
    done = sent("a.jpg", *words)
    assert done.exit_code == 1
    assert "http://127.0.0.1:9 does not answer: no connection" in done.output


def test_the_system_here_is_found_and_its_token_is_not_shown_to_others(tmp_path: Path) -> None:
    document = {
        "control": {"url": "http://127.0.0.1:9", "grpc": "", "pid": 1},
        "dashboard": None,
        "edges": {},
        "account": {"api_token": "here"},
        "mailbox": "",
        "delivered": "",
    }
    (tmp_path / "ready.json").write_text(json.dumps(document))
    assert "127.0.0.1:9 does not answer" in sent("a.jpg", "--dir", ".").output
    other = sent("a.jpg", "--dir", ".", "--control", "http://127.0.0.1:10")
    assert "There is no token" in other.output


@pytest.mark.reaches("SEND_TOKEN_BYTES_MAX")
def test_a_token_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * (SEND_TOKEN_BYTES_MAX + 1))
    done = sent("a.jpg", "--token-file", "token")
    assert (done.exit_code, "The token is not one word" in done.output) == (2, True)


def test_the_settings_are_shown_without_the_token() -> None:
    done = sent("--check", "--folder", "2026", ZT_SEND_TOKEN="secret", ZT_SEND_AT_ONCE="7")
    assert done.exit_code == 0
    assert 'folder = "2026"' in done.output
    assert "at_once = 7" in done.output
    assert "secret" not in done.output
