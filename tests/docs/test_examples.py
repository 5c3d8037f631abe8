"""Every program in examples/ runs from start to end.

An example that needs arguments to run by itself (a stand-in model, an answer to its question) says which, in
a line ``# test: python NAME.py ARGUMENTS``; several such lines run one after the other in the same folder. An
example with a test file of its own, ``tests/examples/test_NAME.py``, is left to that.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from docpages import ROOT

OWN_TESTS = ROOT / "tests" / "examples"
LIMIT = 120  # seconds; reached only by an example that hangs


def commands(path: Path) -> list[list[str]]:
    lines = re.findall(r"^# test: python (\S+\.py)(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(name == path.name for name, _ in lines), f"a test line of {path.name} names another program"
    return [shlex.split(arguments) for _, arguments in lines] or [[]]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    own = OWN_TESTS / f"test_{example.stem}.py"
    if own.exists():
        assert example.name in own.read_text(encoding="utf-8"), f"{own.name} does not run {example.name}"
        return
    for arguments in commands(example):
        done = subprocess.run(
            [sys.executable, "-W", "error", str(example), *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), f"{example.name} {shlex.join(arguments)} printed nothing"
