"""Properties of the code itself that no linter checks, as functions over a tree.

Each returns what is wrong, one line a fault, so that a gate can be run over a planted fault too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from zentransfer.log_facts import FACTS

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
SOURCE_FOLDERS = ("edge", "control", "geo", "ops", "proto")
# What is not ours to keep tidy: made by tools, or the user's own data.
FOREIGN = {".git", "node_modules", "var", "__pycache__", ".hypothesis", ".tools", ".cache"}
FOREIGN_NAMES = re.compile(r"\.venv.*|\..*_cache|.*\.egg-info|.*_pb2(_grpc)?\.pyi?|dist|build")

LOG_NAMES = ("log", "zentransfer.log")

# Put together here so that this file is not its own finding.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "deb" + ".debian.org")
MACHINE_PATH = re.compile(
    r"(?<![\w./-])/(" + "wo" + "rk|ro" + r"ot|ho" + r"me/[a-z_]\w*)(?=[/\s\"'`]|$)"
)


def files(root: Path) -> Iterator[Path]:
    """Yield every file of ours under *root*, in a fixed order."""
    for path in sorted(root.iterdir()):
        if path.is_symlink() or path.name in FOREIGN or FOREIGN_NAMES.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from files(path)
        elif path.is_file():
            yield path


def sources(root: Path) -> list[Path]:
    """Return the Python files of the planes."""
    folders = (root / name for name in SOURCE_FOLDERS)
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in files(folder)
        if path.suffix == ".py"
    ]


def tests(root: Path) -> list[Path]:
    """Return the Python files of the tests, their support included."""
    return [path for path in files(root / "tests") if path.suffix == ".py"]


def modules_without_docstring(root: Path) -> list[str]:
    """Return the modules that do not say what they are."""
    return [_name(root, path) for path in sources(root) if not ast.get_docstring(_tree(path))]


def long_things(root: Path) -> list[str]:
    """Return the names, file or file::function, of what exceeds the guide of sizes."""
    return [thing for path in sources(root) for thing in _long_things(root, path)]


def _long_things(root: Path, path: Path) -> Iterator[str]:
    if path.read_text(encoding="utf-8").count("\n") > FILE_LINES_MAX:
        yield _name(root, path)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{_name(root, path)}::{node.name}"


def builtin_hash_calls(root: Path) -> list[str]:
    """Return the calls of ``hash``, which differs from run to run for text (law 13)."""
    return [
        f"{_name(root, path)}:{node.lineno}: use a digest"
        for path in sources(root)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hash"
    ]


def undeclared_log_fields(root: Path) -> list[str]:
    """Return the calls of the log whose fact or field is not declared in ``zentransfer.log_facts``.

    The fact's name is a literal and the fields are keywords, so that this scan sees all of them;
    for the same reason the log is used as ``log.fact`` and ``log.error`` only.
    """
    return [
        f"{_name(root, path)}:{line}: {fault}"
        for path in sources(root)
        for line, fault in _log_faults(_tree(path))
    ]


def _log_faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_log(node.func)]
    called = {id(call.func) for call in calls}
    for call in calls:
        yield from ((call.lineno, fault) for fault in _call_faults(call))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_log(node) and id(node) not in called:
            yield node.lineno, "the log is called, and never handed on"
        if isinstance(node, ast.ImportFrom) and node.module == "zentransfer.log":
            taken = {"fact", "error"} & {alias.name for alias in node.names}
            yield from ((node.lineno, f"call log.{name} by that name") for name in sorted(taken))
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = (alias.name for alias in node.names if alias.asname)
            renamed = [name for name in names if name in {"log", "zentransfer.log"}]
            yield from ((node.lineno, "import log by its own name") for _ in renamed)


def _is_log(node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr not in {"fact", "error"}:
        return False
    return ast.unparse(node.value) in LOG_NAMES


def _call_faults(call: ast.Call) -> Iterator[str]:
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if not isinstance(name, str):
        yield "the fact is not a literal"
        return
    fact = FACTS.get(name)
    if fact is None:
        yield f"the fact {name!r} is not declared"
        return
    for keyword in call.keywords:
        if keyword.arg is None:
            yield f"{name}: fields are given by keyword, not unpacked"
        elif keyword.arg not in fact.fields:
            yield f"{name}: the field {keyword.arg!r} is not declared"


def limits_without_tests(root: Path) -> list[str]:
    """Return the limits that no test reaches, and the marks that name no limit (law 7).

    A test reaches a limit by the decorator ``@pytest.mark.reaches("NAME")``.
    """
    declared = _limits(root / "proto" / "zentransfer" / "limits.py")
    reached = {name for path in tests(root) for name in _reached(_tree(path))}
    return [
        *(f"{name}: no test reaches it" for name in sorted(declared - reached)),
        *(f"{name}: is reached by a test and is no limit" for name in sorted(reached - declared)),
    ]


def _limits(path: Path) -> set[str]:
    assigned = (node for node in _tree(path).body if isinstance(node, ast.AnnAssign))
    targets = (node.target for node in assigned)
    return {node.id for node in targets if isinstance(node, ast.Name) and node.id.isupper()}


def _reached(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.reaches":
                values = (arg.value for arg in mark.args if isinstance(arg, ast.Constant))
                yield from (value for value in values if isinstance(value, str))


def machine_paths(root: Path) -> list[str]:
    """Return the lines of text files that name a folder of one machine or a package registry."""
    found: list[str] = []
    for path in files(root):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # not text
        for number, line in enumerate(lines, 1):
            if MACHINE_PATH.search(line) or any(host in line for host in REGISTRIES):
                found.append(f"{_name(root, path)}:{number}: names a machine's own path or host")
    return found


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
