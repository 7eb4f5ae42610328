"""Digest the source code that a result depends on: of modules, and of the project's modules that they import.

Comments, docstrings and formatting do not count: what is digested is the syntax tree without them. The modules are
found by reading import statements, so that a new one is included without being listed.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent
VALUES = frozenset({"config", "records", "errors", "files", "progress", "source_digest"})
"""What holds or moves values and computes none of a result. Settings are part of a result's name as values."""


@functools.cache  # a process that outlives an edit has computed with the code that it loaded
def source_digest(*modules: str, package: Path = PACKAGE) -> str:
    """Return the sha256, in hex, of modules of the project and of all that they import from it, except `VALUES`.

    Args:
        modules: names such as ``pneumonia.modelling.training_loop``.
        package: folder of the package ``pneumonia``.

    Raises:
        ValueError: there is no such module.
    """
    state = hashlib.sha256()
    for name in sorted(imported_modules(*modules, package=package)):
        tree = _without_strings(_parse(_file(package, name)))
        state.update(f"{name}\n{ast.dump(tree)}\n".encode())
    return state.hexdigest()


def imported_modules(*modules: str, package: Path = PACKAGE) -> set[str]:
    """Return these modules and, transitively, those that they import from the package, except `VALUES`."""
    if missing := [name for name in modules if not _is_module(package, name)]:
        raise ValueError(f"{package}: has no module {', '.join(missing)}")
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[1] in VALUES:
            continue
        found.add(name)
        tree = _parse(_file(package, name))
        waiting += [target for target in _imports(tree) if _is_module(package, target)]
    return found


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield every name that may be a module; the project imports absolutely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_module(package: Path, name: str) -> bool:
    return name.startswith(f"{package.name}.") and _file(package, name).is_file()


def _file(package: Path, name: str) -> Path:
    path = package.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _parse(path: Path) -> ast.Module:
    """Parse a module with garbage collection off.

    A finalizer that parses too, in the midst of it, ends CPython up to 3.11.7 and 3.12.1 in "SystemError: AST
    constructor recursion depth mismatch" (python/cpython#106905).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_bytes())
    finally:
        if collecting:
            gc.enable()


def _without_strings(tree: ast.Module) -> ast.Module:
    """Remove the statements that are strings alone: docstrings, and those below attributes."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [statement for statement in statements if not _is_string(statement)])
    return tree


def _is_string(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
