"""Runs the Python in a Markdown page as a reader would: block after block, in one namespace.

What a page may say:

- A ``python`` block runs. With ``await`` outside a function it runs on an event loop, one for the whole page.
- A ``python`` block with ``>>>`` prompts is compared with what it shows, as a doctest.
- A ``text`` block straight after a ``python`` block, or one marked ``<!-- output -->``, is what that prints.
- ``<!-- no-run: reason -->`` before a block keeps it from running; every one of them is listed by a test.
- ``<!-- new-program -->`` before a block starts an empty namespace, as a second program would.
- ``...`` in expected output stands for anything.

Blocks of other languages are left alone.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import gc
import inspect
import io
import linecache
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
PYTHON = ("python", "py")

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)[^\n`]*$")
_MARK = re.compile(r"^ *<!--\s*(?P<name>no-run|new-program|output)\b:?\s*(?P<reason>.*?)\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line of code has the number `line` in the page."""

    language: str
    code: str
    line: int
    marks: dict[str, str]  # the comments right before it, with what they say
    adjacent: bool  # nothing but blank lines and comments since the block before it


def pages(root: Path = ROOT) -> list[Path]:
    """Every page whose examples are run."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = text.splitlines()
    marks: dict[str, str] = {}
    adjacent, number = False, 0
    while number < len(lines):
        if fence := _FENCE.match(lines[number]):
            end = closing(lines, number, fence)
            width = len(fence["indent"])
            code = "".join(line[width:] + "\n" for line in lines[number + 1 : end])
            yield Block(fence["language"], code, number + 2, marks, adjacent)
            marks, adjacent, number = {}, True, end + 1
            continue
        if mark := _MARK.match(lines[number]):
            marks[mark["name"]] = mark["reason"]
        elif lines[number].strip():
            marks, adjacent = {}, False
        number += 1


def closing(lines: list[str], start: int, fence: re.Match[str]) -> int:
    for number in range(start + 1, len(lines)):
        stripped = lines[number].strip()
        if stripped.startswith(fence["ticks"]) and not stripped.strip("`"):
            return number
    raise AssertionError(f"line {start + 1}: this block is never closed")


def run_page(path: Path) -> None:
    """Run a page's Python blocks; raises what a block raises, or AssertionError where its output differs."""
    with Page(path) as page:
        for block in blocks(path.read_text(encoding="utf-8")):
            if block.language in PYTHON and "no-run" not in block.marks:
                page.run(block)
            elif block.language == "text" and (block.adjacent or "output" in block.marks):
                page.compare(block)
            else:
                page.forget()


class Page:
    """The program that the blocks of one page form."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = "page_" + re.sub(r"\W", "_", path.stem)
        self.module = types.ModuleType(self.name)
        self.printed: str | None = None  # by the last block that ran
        self.loop = asyncio.Runner()

    def __enter__(self) -> Page:
        self._begin()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.close()
        sys.modules.pop(self.name, None)
        self.module.__dict__.clear()
        gc.collect()  # what the page forgot to close is reported here, and not by a later test

    def _begin(self) -> None:
        """Type hints and pickling tools look a function's module up by name, so the page is a real one."""
        self.module = sys.modules[self.name] = types.ModuleType(self.name)

    def run(self, block: Block) -> None:
        if "new-program" in block.marks:
            self._begin()
        if ">>>" in block.code:
            self.run_prompts(block)
            self.printed = None
            return
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.run_code(block)
        self.printed = output.getvalue()

    def run_code(self, block: Block) -> None:
        """Padded with blank lines, so that a traceback shows the page's own line numbers."""
        source = "\n" * (block.line - 1) + block.code
        name = f"<{self.path.name}:{block.line}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            self.loop.run(eval(code, self.module.__dict__))
        else:
            exec(code, self.module.__dict__)

    def run_prompts(self, block: Block) -> None:
        namespace = self.module.__dict__
        test = doctest.DocTestParser().get_doctest(block.code, namespace, self.name, str(self.path), block.line - 1)
        test.globs = namespace  # the parser made a copy, but later blocks use what this one defines
        report = io.StringIO()
        doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=report.write, clear_globs=False)
        if report.getvalue():
            raise AssertionError(report.getvalue())

    def compare(self, block: Block) -> None:
        if self.printed is None:
            return
        same = doctest.OutputChecker().check_output(block.code, self.printed, OPTIONS)
        assert same, f"{self.path.name}, line {block.line}: expected\n{block.code}\nbut it printed\n{self.printed}"
        self.forget()

    def forget(self) -> None:
        self.printed = None
