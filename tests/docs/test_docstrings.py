"""Every module can be imported, and every ``>>>`` example in its docstrings prints what it says."""

from __future__ import annotations

import doctest
import gc
import importlib
import io
from pathlib import Path
from typing import Any

import pytest

from docpages import OPTIONS, ROOT

SOURCE = ROOT / "src"


def modules() -> list[str]:
    names = []
    for path in sorted((SOURCE / "durably").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


def marked(name: str) -> Any:
    """A module as a parameter; one whose examples count writes cannot be replayed."""
    once = [pytest.mark.once("counts the writes of a run")] if name == "durably.testing.crashes" else []
    return pytest.param(name, id=name, marks=once)


@pytest.mark.parametrize("name", [marked(name) for name in modules()])
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)  # else it looks for -v, which is pytest's
    for test in doctest.DocTestFinder().find(module, name):
        runner.run(test, out=report.write)
    if runner.tries:
        gc.collect()  # what an example forgot to close is reported here, and not by a later test
    if report.getvalue():
        pytest.fail(report.getvalue(), pytrace=False)


def test_there_are_modules() -> None:
    assert "durably.errors" in modules()
