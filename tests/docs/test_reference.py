"""The reference names what there is, and the pages point at what exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import durably
from docpages import ROOT, pages
from durably import errors

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

# Whose __all__ users import from. `base` modules of stores and checkpointers also hold what only backends need.
MODULES = (
    "func",
    "types",
    "config",
    "runtime",
    "instruments",
    "recording",
    "integrations.langchain",
    "concurrency",
    "workflow",
    "worker",
    "state",
    "constants",
    "graph",
    "graph.message",
    "graph.state",
    "moments",
    "serde",
    "testing",
)
BACKENDS = (
    "checkpoint.memory",
    "checkpoint.sqlite",
    "checkpoint.sqlite.aio",
    "checkpoint.postgres",
    "checkpoint.postgres.aio",
    "store",
    "store.memory",
    "store.sqlite",
)
CACHES = ("store.sqlite.aio", "cache", "cache.memory", "cache.sqlite", "cache.redis")


def words(page: str) -> set[str]:
    return set(re.findall(r"\w+", (REFERENCE / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [*MODULES, *BACKENDS, *CACHES])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    module = importlib.import_module(f"durably.{name}")
    assert set(module.__all__) <= words("api.md")


def test_names_of_the_package_are_marked() -> None:
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    marked = set(re.findall(r"\*\*`@?(\w+)[^`]*`\*\*(?=[^.*\n]{0,3}●)", text))
    assert marked == set(durably.__all__)


def test_every_exception_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)`", (REFERENCE / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    signals = {"GraphBubbleUp", "GraphInterrupt", "ParentCommand", "Stop"}
    assert set(rows) | signals | {"DurablyError"} == set(errors.__all__)


def test_the_tree_of_exceptions_is_right() -> None:
    tree = (REFERENCE / "errors.md").read_text(encoding="utf-8").split("\n## ")[0]
    parents: list[type[BaseException]] = []
    for line in re.findall(r"^    [│├└─ ]*\w+.*$", tree, re.MULTILINE):
        bars, name = re.match(r"    ([│├└─ ]*)(\w+)", line).groups()  # type: ignore[union-attr]
        kind = getattr(errors, name)
        depth = len(bars) // 4
        if depth:
            assert kind.__bases__[0] is parents[depth - 1], line
        also = re.search(r"also (\w+)", line)
        builtins = [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"]
        assert not depth or builtins == ([also[1]] if also else []), line
        parents[depth:] = [kind]


def headings(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text.replace("\n", " ")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


def test_the_index_lists_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    listed = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)\)", index)}
    assert {page.resolve() for page in DOCS.rglob("*.md") if page.name != "README.md"} <= listed
