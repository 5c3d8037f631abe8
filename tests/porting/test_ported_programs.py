"""Programs written for LangGraph's Functional API run after replacing one word in their imports.

What they have to see under LangGraph itself was taken from running them there: ``python tests/porting/ported.py langgraph``.
"""

from __future__ import annotations

from pathlib import Path

import ported
import pytest

COUNTING = pytest.mark.once("counts bodies or chunks")
COUNTED = ("ask_in_task", "graph_breakpoints", "stream_tasks")
PROGRAMS = [
    pytest.param(path, id=path.stem, marks=[COUNTING] if path.stem in COUNTED else []) for path in ported.programs()
]


@pytest.mark.parametrize("path", PROGRAMS)
def test_program_runs_ported(path: Path) -> None:
    seen, expected = ported.run(path, "durably")
    assert seen == expected
    assert type(seen) is type(expected)


def test_programs_are_written_for_langgraph() -> None:
    for path in ported.programs():
        source = path.read_text(encoding="utf-8")
        assert ported.IMPORTS.search(source), f"{path.name} imports nothing from langgraph"
        assert "from durably" not in source
        assert "import langgraph" not in ported.ported(source, "durably")
        assert "from langgraph" not in ported.ported(source, "durably")


def test_a_program_that_sees_something_else_is_found(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text("from langgraph.func import entrypoint\nseen = 1\nexpected = 2\n")
    assert ported.run(program, "durably") == (1, 2)


def test_only_imports_are_changed() -> None:
    source = 'from langgraph.func import task\nimport langgraph\nnot_this = "from langgraph"\n'
    assert ported.ported(source, "durably") == (
        'from durably.func import task\nimport durably\nnot_this = "from langgraph"\n'
    )
