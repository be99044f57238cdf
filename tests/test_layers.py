"""The list of pure modules in pyproject.toml is the list of modules that say so."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def modules_that_say_pure() -> set[str]:
    """Return the modules whose docstring holds the sentence ``Pure.``."""
    found = set[str]()
    for top in ("edge", "control", "geo", "ops", "proto/zentransfer"):
        for path in (ROOT / top).rglob("*.py"):
            if "_pb2" in path.name:
                continue
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            if "Pure." in docstring:
                name = path.relative_to(ROOT).as_posix().removeprefix("proto/").removesuffix(".py")
                found.add(name.removesuffix("/__init__").replace("/", "."))
    return found


def test_every_pure_module_is_held_to_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (pure,) = (
        contract["source_modules"]
        for contract in contracts["contracts"]
        if contract["name"] == "the pure core does no I/O"
    )
    assert set(pure) == modules_that_say_pure()
