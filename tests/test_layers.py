"""Who may import whom, where import-linter's lists alone would let a new module slip through."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOPS = ("edge", "control", "geo", "ops", "proto/zentransfer")

# What a pure module may use of the standard library, and of others.
PURE_LIBRARY = {
    "array", "base64", "bisect", "calendar", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "difflib", "enum", "errno", "fnmatch", "fractions", "functools", "hashlib",
    "heapq", "hmac", "inspect", "io", "ipaddress", "itertools", "json", "math", "operator",
    "pathlib", "re", "statistics", "string", "struct", "sys", "tomllib", "types", "typing",
    "unicodedata", "urllib", "zlib", "zoneinfo",
    "crc32c", "cryptography", "msgpack", "xxhash",
}  # fmt: skip

# Translators and composition roots; whoever else needs a fact of the wire asks one of them.
WIRE = {
    "control.node", "control.rpc.facts", "control.rpc.fleet", "control.rpc.fleet_wire",
    "control.rpc.lanes", "control.rpc.session", "control.rpc.snapshot_wire",
    "control.rpc.snapshots", "edge.facts_wire", "edge.link", "edge.link_facts",
    "edge.link_snapshot", "edge.link_talk", "edge.link_wire", "edge.process",
    "edge.snapshot_wire",
}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module of ours by name, without what is generated."""
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            if "_pb2" in path.name:
                continue
            name = path.relative_to(ROOT).as_posix().removeprefix("proto/").removesuffix(".py")
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield name.removesuffix("/__init__").replace("/", "."), tree


def pure_modules() -> set[str]:
    """Return the modules whose docstring holds the sentence ``Pure.``."""
    return {name for name, tree in modules() if "Pure." in (ast.get_docstring(tree) or "")}


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield what *tree* imports at run time, by full name."""
    for node in tree.body:
        for inner in [node] if not isinstance(node, ast.If) else []:
            if isinstance(inner, ast.Import):
                yield from (alias.name for alias in inner.names)
            elif isinstance(inner, ast.ImportFrom) and inner.module:
                yield from (f"{inner.module}.{alias.name}" for alias in inner.names)


def contract(words: str) -> set[str]:
    """Return the source modules of the import-linter contract whose name holds *words*."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (found,) = (each for each in contracts["contracts"] if words in each["name"])
    return set(found["source_modules"])


def test_every_pure_module_is_held_to_it() -> None:
    assert contract("pure core") == pure_modules()


def test_a_pure_module_imports_only_what_is_pure() -> None:
    pure = pure_modules()
    ours = {name for name, _ in modules()}

    def is_pure(name: str) -> bool:
        if name.split(".", maxsplit=1)[0] in {"edge", "control", "geo", "ops", "zentransfer"}:
            module = name if name in ours else name.rpartition(".")[0]
            return module in pure
        return name.split(".", maxsplit=1)[0] in PURE_LIBRARY

    impure = {
        f"{name} imports {found}"
        for name, tree in modules()
        if name in pure
        for found in imports(tree)
        if not is_pure(found)
    }
    assert impure == set()


def test_only_translators_and_composition_roots_know_the_wire() -> None:
    knowing = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zentransfer.v1")
    }
    assert knowing <= WIRE


def test_pure_names_of_the_standard_library_are_real() -> None:
    third = {"crc32c", "cryptography", "msgpack", "xxhash"}
    assert PURE_LIBRARY - third <= sys.stdlib_module_names
