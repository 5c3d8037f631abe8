"""One direction of imports: the table of layers, and the check that reads it.

The rules:

1. A module imports only from its own unit or from units further down the table (see `LAYERS`).
2. No two modules import each other, directly or through others.
3. No import of the package's own modules inside a function: that would hide a circle.
4. What stands on top (`ON_TOP`) imports only what users may import too.
5. At module level only the packages in `ALLOWED` are imported beside the standard library. Everything else is
   an extra, imported in the function that needs it. `FORBIDDEN` packages are for the units named there.

Imports under ``if TYPE_CHECKING:`` do not run, and are free of all this.

``python tests/import_layers.py`` prints what breaks a rule; the exit status is 1 when something does.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "durably"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE

# Bottom to top. A unit is a module or a subpackage directly under the package. Units in one row may not
# import each other; a unit that is not in the table is an error.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "constants", "_lazy"),
    ("context", "parts"),
    ("types",),
    ("config",),
    ("runtime",),
    ("instruments",),
    ("serde",),
    ("_schema", "_wal"),
    ("moments",),
    ("_sqlite", "_postgres"),
    ("checkpoint",),
    ("store",),
    ("cache",),
    ("engine",),
    ("schema", "drawing", "arguments"),
    ("invocation",),
    ("state",),
    ("streaming", "submitting"),
    ("workflow",),
    ("func", "concurrency", "recording", "sleeping", "worker"),
    ("testing",),
    ("__init__",),
    ("graph", "cli", "server", "integrations"),
    ("__main__",),
)

ON_TOP = frozenset(unit for row in LAYERS[-2:] for unit in row)
PRIVATE = frozenset({"context", "engine"})  # what users, and so ON_TOP, do not import

ALLOWED = frozenset({"msgspec"})
FORBIDDEN = {
    "langgraph": frozenset[str](),
    "langchain": frozenset[str](),
    "langchain_core": frozenset({"serde", "graph", "integrations"}),  # a codec may import its own library
}

RANK = {unit: rank for rank, row in enumerate(LAYERS) for unit in row}


@dataclass(frozen=True)
class Import:
    """One import that runs: who imports which module, where, and whether inside a function."""

    importer: str
    imported: str
    line: int
    deferred: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


def check(source: Path = SOURCE) -> list[str]:
    """Everything that breaks a rule, one line each."""
    files = {name_of(path, source): path for path in sorted(source.rglob("*.py"))}
    imports = [found for name, path in files.items() for found in read(name, path, files)]
    first = [found for found in imports if within(found.imported)]
    third = [found for found in imports if not within(found.imported)]
    complaints = [complaint for found in first for complaint in judge(found)]
    complaints += [complaint for found in third for complaint in judge_third_party(found)]
    complaints += circles([found for found in first if not found.deferred])
    return list(dict.fromkeys(complaints))  # one line may import several names


def judge(found: Import) -> Iterator[str]:
    """Rules 1, 3 and 4."""
    lower, upper = unit_of(found.imported), unit_of(found.importer)
    unknown = [unit for unit in (lower, upper) if unit not in RANK]
    if unknown:
        yield f"{PACKAGE}.{unknown[0]} is in no layer; add it to LAYERS in {Path(__file__).name}"
        return
    if found.deferred:
        yield f"{found} inside a function, which would hide a circle"
    if lower != upper and RANK[lower] >= RANK[upper]:
        yield f"{found}, which is not below it"
    if upper in ON_TOP and lower != upper and (lower in PRIVATE or "._" in found.imported):
        yield f"{found}, which is private; only what users import may be used here"


def judge_third_party(found: Import) -> Iterator[str]:
    """Rule 5."""
    top, unit = found.imported.partition(".")[0], unit_of(found.importer)
    if top in FORBIDDEN and unit not in FORBIDDEN[top]:
        yield f"{found}, which the core does not use"
    elif not found.deferred and top not in ALLOWED | sys.stdlib_module_names and unit not in ON_TOP:
        yield f"{found} at module level; import it in the function that needs it"


def circles(imports: list[Import]) -> list[str]:
    """Rule 2: each circle of imports among modules, once."""
    edges: dict[str, set[str]] = {}
    for found in imports:
        edges.setdefault(found.importer, set()).add(found.imported)
    done: set[str] = set()
    complaints: list[str] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            complaints.append("circle: " + " -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(edges.get(name, ())):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return complaints


# ------------------------------------------------------------------------------------------- reading a module


def read(name: str, path: Path, files: dict[str, Path]) -> Iterator[Import]:
    """The imports of a module that run, with names imported from a package resolved to its modules."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node, deferred in walk(tree, deferred=False):
        for target in targets(node, package, files):
            yield Import(name, target, node.lineno, deferred)


def walk(node: ast.AST, deferred: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, deferred
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from walk(ast.Module([other], []), deferred)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, deferred or inside)


def targets(node: ast.Import | ast.ImportFrom, package: str, files: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        parts = parts[: len(parts) - node.level + 1]
        base = ".".join([*parts, base] if base else parts)
    for alias in node.names:
        whole = f"{base}.{alias.name}"
        yield whole if whole in files else base


def name_of(path: Path, source: Path) -> str:
    parts = [source.name, *path.relative_to(source).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def within(name: str) -> bool:
    return name == PACKAGE or name.startswith(PACKAGE + ".")


if __name__ == "__main__":
    found = check()
    sys.stdout.write("\n".join(found or ["imports go one way"]) + "\n")
    sys.exit(bool(found))
