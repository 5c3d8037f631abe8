"""The tests that the threat model names are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent


def test_every_named_test_exists() -> None:
    claims = (TESTS.parent / "SECURITY.md").read_text().partition("## Which test shows what")[2]
    named = set(re.findall(r"`(test_\w+)`", claims))
    text = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
    assert len(named) > 20
    assert named - there == set()
