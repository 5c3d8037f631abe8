"""Every Python example of the README and of docs/ runs and prints what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docpages import ROOT, blocks, pages, run_page

# Blocks that do not run. Each needs a good reason, and their number must not creep up.
MOST_NOT_RUN = 8


def marked(page: Path) -> Any:
    """A page as a parameter; one that counts what its bodies do cannot be replayed."""
    name = str(page.relative_to(ROOT))
    once = [pytest.mark.once("counts the lines its bodies write")] if name == "docs/how-to/ask-a-person.md" else []
    return pytest.param(page, id=name, marks=once)


@pytest.mark.parametrize("page", [marked(page) for page in pages()])
def test_page_runs_as_written(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    if "DATABASE_URL" in page.read_text(encoding="utf-8"):
        monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("postgres_server").database())
    run_page(page)


def test_blocks_that_do_not_run_are_few_and_say_why() -> None:
    left_out = [
        (f"{page.relative_to(ROOT)}:{block.line}", block.marks["no-run"])
        for page in pages()
        for block in blocks(page.read_text(encoding="utf-8"))
        if "no-run" in block.marks
    ]
    without_reason = [where for where, reason in left_out if len(reason.split()) < 3]
    assert not without_reason, f"say in a few words why these blocks do not run: {without_reason}"
    assert len(left_out) <= MOST_NOT_RUN, f"too many examples that nobody runs: {left_out}"


# ------------------------------------------------------------------------------------ the runner itself


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text.replace("'''", "```"), encoding="utf-8")
    return page


def test_blocks_of_one_page_share_a_namespace_and_an_event_loop(tmp_path: Path) -> None:
    run_page(
        write(
            tmp_path,
            """
'''python
import asyncio
first = asyncio.get_running_loop() if False else 1
loop = await asyncio.sleep(0, asyncio.get_running_loop())
'''

Then:

'''python
assert first == 1
assert loop is asyncio.get_running_loop()
await asyncio.sleep(0)
'''
""",
        )
    )


@pytest.mark.parametrize(
    "text",
    [
        "'''python\nraise ValueError\n'''",
        "'''python\nprint('a')\n'''\n\n'''text\nb\n'''",
        "'''python\nprint('a')\n'''\nThat prints:\n<!-- output -->\n'''text\nb\n'''",
        "'''python\n>>> 1 + 1\n3\n'''",
        "'''python\nx = 1\n'''\n<!-- new-program -->\n'''python\nx\n'''",
        "'''python\nraise ValueError\n",
    ],
    ids=["raises", "wrong output", "wrong marked output", "wrong prompt", "other program", "never closed"],
)
def test_a_wrong_page_fails(tmp_path: Path, text: str) -> None:
    with pytest.raises((AssertionError, NameError, ValueError)):
        run_page(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "'''python\nprint('a', object())\n'''\n\n'''text\na <object object at ...>\n'''",
        "'''python\nprint('a')\n'''\n\nNot its output:\n\n'''text\nb\n'''",
        "<!-- no-run: shows a mistake that crashes -->\n'''python\nraise ValueError\n'''",
        "'''toml\nraise ValueError\n'''",
        "- in a list:\n\n  '''python\n  x = 1\n  '''\n  and\n  '''python\n  >>> x\n  1\n\n  '''",
        "'''python\n>>> y = 2\n'''\n\n'''python\nassert y == 2\n'''",
        "'''python\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int'\nA(1)\n'''",
    ],
    ids=["dots", "not adjacent", "no-run", "not Python", "indented", "names of prompts", "dataclass"],
)
def test_a_right_page_passes(tmp_path: Path, text: str) -> None:
    run_page(write(tmp_path, text))


def test_a_traceback_shows_the_line_of_the_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        run_page(write(tmp_path, "one\n\n'''python\nx = 1\nraise ValueError(x)\n'''\n"))
    assert caught.traceback[-1].lineno + 1 == 5
