"""The rules of the house that a program can check: imports and their cost, style limits, the files around."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import import_layers

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "durably"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------ import direction


def test_imports_go_one_way() -> None:
    assert import_layers.check() == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"types.py": "from .engine.run import x", "engine/run.py": "x = 1"}, "not below it"),
        ({"types.py": "from durably import func", "func.py": ""}, "not below it"),
        ({"graph/a.py": "import durably.cli.b", "cli/b.py": ""}, "not below it"),
        ({"func.py": "def f():\n    from .errors import x", "errors.py": "x = 1"}, "inside a function"),
        ({"engine/a.py": "from . import b", "engine/b.py": "from .a import x"}, "circle: durably.engine.a"),
        ({"graph/a.py": "from ..engine.run import x", "engine/run.py": "x = 1"}, "private"),
        ({"extra.py": "from .errors import x", "errors.py": "x = 1"}, "in no layer"),
        ({"func.py": "import numpy"}, "at module level"),
        ({"func.py": "def f():\n    import langchain_core.messages"}, "does not use"),
        ({"func.py": "try:\n    import langgraph\nexcept ImportError:\n    pass"}, "does not use"),
    ],
)
def test_wrong_imports_are_found(files: dict[str, str], complaint: str, tmp_path: Path) -> None:
    found = import_layers.check(package(tmp_path, files))
    assert len(found) == 1
    assert complaint in found[0]


def test_right_imports_are_let_pass(tmp_path: Path) -> None:
    files = {
        "errors.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .func import task",
        "serde/codec.py": "def f():\n    import langchain_core\n    import numpy",
        "func.py": "import msgspec, sqlite3\nfrom .serde import codec\nfrom . import errors",
        "graph/message.py": "from ..func import task",
    }
    assert import_layers.check(package(tmp_path, files)) == []


def package(folder: Path, files: dict[str, str]) -> Path:
    source = folder / "durably"
    for name, code in {"__init__.py": "", **files}.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        (path.parent / "__init__.py").touch()
    return source


# ----------------------------------------------------------------------------------------------- import cost

# Counted in modules, which do not depend on how busy the machine is. About 60 of them are asyncio, which the engine
# is built on, and what that loads.
MOST_MODULES = 245
HEAVY = {
    "email",
    "http",
    "langchain_core",
    "langgraph",
    "multiprocessing",
    "numpy",
    "pydantic",
    "sqlite3",
    "urllib.request",
    "xml",
}


def test_import_is_light() -> None:
    code = "import sys, json; old = {*sys.modules}; import durably; print(json.dumps([*{*sys.modules} - old]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "durably" in loaded
    assert not HEAVY & set(loaded), "import durably loads what only some programs need"
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


@pytest.mark.parametrize("package", ["durably", "durably.drawing"])
def test_names_that_are_loaded_when_asked_for(package: str) -> None:
    code = f"import sys, {package} as face; old = {{*sys.modules}}; "
    code += "assert all(getattr(face, name) for name in face.__all__); assert {*sys.modules} - old; face.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith(f"AttributeError: module '{package}' has no attribute 'nothing'\n"), done.stderr


# ---------------------------------------------------------------------------------------------- style limits

MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 8

# Signatures that users know and that DESIGN fixes. Nothing else belongs here.
LONG_SIGNATURES = {"entrypoint.__init__", "Runtime.__init__", "StateGraph.add_node"}


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from functions(node, f"{prefix}{node.name}.")


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: the documentation of a function does not make it longer."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or 0) - first.lineno + 2


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def all_functions() -> Iterator[tuple[str, str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for name, function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(SOURCE)}: {name}", name, function


def test_modules_fit_in_one_reading() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    too_long = {str(path.relative_to(SOURCE)): n for path, n in sizes.items() if n > MOST_LINES_OF_A_MODULE}
    assert not too_long


def test_functions_fit_on_a_screen() -> None:
    sizes = {where: length(function) for where, _, function in all_functions()}
    assert not {where: n for where, n in sizes.items() if n > MOST_LINES_OF_A_FUNCTION}
    assert statistics.median(sizes.values()) < 10


def test_signatures_are_short() -> None:
    counts = {
        where: parameters(function)
        for where, name, function in all_functions()
        if name not in LONG_SIGNATURES and not is_overload(function)
    }
    assert not {where: n for where, n in counts.items() if n > MOST_PARAMETERS}


def is_overload(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in function.decorator_list)


# ------------------------------------------------------------------------------------- what is in the project


def committed() -> list[Path]:
    """The files of the project: those git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# Written in pieces, so that this file does not name them either.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
    )
]
LOCK_FILES = {
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "pylock.toml",
    "package-lock.json",
    "yarn.lock",
}


def test_no_package_registry_is_named() -> None:
    naming = {
        str(path.relative_to(ROOT)): host
        for path in committed()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    }
    assert not naming


def test_no_lock_file_is_committed() -> None:
    assert not [path for path in committed() if path.name in LOCK_FILES]


def test_no_path_of_one_machine_is_named() -> None:
    own = [str(ROOT).encode(), os.path.expanduser("~/").encode()]
    own = [path for path in own if len(path) > 5]
    naming = [path for path in committed() for name in own if name in path.read_bytes()]
    assert not naming


def test_files_around_the_code_exist() -> None:
    for name in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "AGENTS.md",
        ".ci/run",
    ):
        assert (ROOT / name).is_file(), f"{name} is missing"


def test_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[?([\w.]+)\]?", text_of("CHANGELOG.md"), re.MULTILINE)
    assert next(version for version in versions if version != "Unreleased") == PROJECT["version"]


def test_licence_is_the_one_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text_of("LICENSE")
    assert "Version 2.0, January 2004" in text_of("LICENSE")


def without_code(page: str) -> str:
    return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in committed()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", without_code(page.read_text(encoding="utf-8")))
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert not broken


def test_readme_gives_two_commands_and_the_second_runs_the_tests() -> None:
    listed = subprocess.run(
        [sys.executable, "scripts/fresh-clone", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = listed.stdout.splitlines()
    assert second == "scripts/test"
    assert any((ROOT / word).is_file() for word in shlex.split(first)), f"{first!r} runs nothing of this project"


def test_ci_runs_what_the_readme_says() -> None:
    lines = [line for line in text_of(".ci/run").splitlines() if line and not line.startswith("#")]
    assert len(lines) == 1
    assert lines[0].endswith('/scripts/test"')


@pytest.mark.parametrize("name", ["scripts/test", "scripts/fresh-clone", ".ci/run"])
def test_scripts_can_be_executed(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
