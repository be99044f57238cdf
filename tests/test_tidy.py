"""The repository keeps the properties that no linter checks.

The sizes are a guide: what is better left whole gets a line in LONGER that says why.
"""

from pathlib import Path

from tests.support import tidy

ROOT = Path(__file__).parent.parent
LONGER: dict[str, str] = {
    "proto/zentransfer/limits.py": "every bound in one place; a test walks them all",
}


def test_a_module_says_what_it_is() -> None:
    assert tidy.modules_without_docstring(ROOT) == []


def test_nothing_rests_on_the_builtin_hash() -> None:
    assert tidy.builtin_hash_calls(ROOT) == []


def test_what_is_long_has_a_reason() -> None:
    long_things = set(tidy.long_things(ROOT))
    assert long_things - LONGER.keys() == set(), "split it, or say why not in LONGER"
    assert LONGER.keys() - long_things == set(), "no longer long: remove the reason"


def test_every_log_line_is_declared() -> None:
    assert tidy.undeclared_log_fields(ROOT) == []


def test_every_limit_is_reached_by_a_test() -> None:
    assert tidy.limits_without_tests(ROOT) == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    assert tidy.machine_paths(ROOT) == []


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    for name in (".venv-3.12/x.py", "node_modules/x.js", "var/us/x.bin", "edge/x_pb2.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("/" + "root/x\n")
    ours = tmp_path / ".ci" / "run"
    ours.parent.mkdir()
    ours.write_text("cd /" + "work/x\n")
    assert tidy.machine_paths(tmp_path) == [".ci/run:1: names a machine's own path or host"]


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    edge = tmp_path / "edge"
    edge.mkdir()
    (edge / "nothing.py").write_text("X = 1\n")
    (edge / "hashed.py").write_text('"""."""\nX = hash("x")\n')
    (edge / "long.py").write_text('"""."""\ndef f():\n' + "    x = 1\n" * 400)
    assert tidy.modules_without_docstring(tmp_path) == ["edge/nothing.py"]
    assert tidy.builtin_hash_calls(tmp_path) == ["edge/hashed.py:2: use a digest"]
    assert tidy.long_things(tmp_path) == ["edge/long.py", "edge/long.py::f"]


def test_a_log_call_that_the_scan_cannot_see_through_is_refused(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "said.py").write_text(
        '"""."""\n'
        "from zentransfer.log import fact\n"
        "from zentransfer import log as journal\n"
        'log.fact("process.ready")\n'
        'log.fact("process.ready", name="x")\n'
        'log.error("process.unheard", exc)\n'
        "log.fact(name)\n"
        'log.fact("process.ready", **fields)\n'
        "say = log.fact\n"
        'zentransfer.log.error("process.unheard", exc)\n'
        "import zentransfer.log as journal\n"
    )
    found = {line.split(":")[1] for line in tidy.undeclared_log_fields(tmp_path)}
    assert found == {"2", "3", "5", "6", "7", "8", "9", "10", "11"}


def test_a_limit_and_a_mark_must_meet(tmp_path: Path) -> None:
    limits = tmp_path / "proto" / "zentransfer" / "limits.py"
    limits.parent.mkdir(parents=True)
    limits.write_text("A_MAX: Final = 1\nB_MAX: Final = 2\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        '@pytest.mark.reaches("A_MAX", "C_MAX")\ndef test_x() -> None: ...\n'
        '@pytest.mark.reaches("B_MAX")\ndef helper() -> None: ...\n'
    )
    assert tidy.limits_without_tests(tmp_path) == [
        "B_MAX: no test reaches it",
        "C_MAX: is reached by a test and is no limit",
    ]
