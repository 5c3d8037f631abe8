"""Random programs, stopped anywhere and resumed with other interleavings, end as a model says and repeat nothing.

With Hypothesis in memory here; `tests/chaos/programs.py` does the same on databases.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably import InMemorySaver
from durably.cache.memory import InMemoryCache
from random_programs import Life, Program, expected, random_program


@settings(max_examples=150)
@given(st.randoms(use_true_random=False), st.integers(0, 1 << 30), st.integers(0, 4), st.booleans())
def test_any_program_stopped_anywhere(shape: random.Random, seed: int, kills: int, is_async: bool) -> None:
    program, chance = random_program(shape), random.Random(seed)
    for _ in range(2):
        life = Life(program, chance, kills, InMemorySaver(), "t", InMemoryCache(), is_async=is_async)
        assert list(life.broken()) == [], program


def test_the_model_can_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that agreeing with it means something."""
    program = Program("gather", (Program("async"), Program("futures", (Program("task", (Program("sync"),)),))))
    life = Life(program, random.Random(0), 0, InMemorySaver(), "t", InMemoryCache())
    assert expected(program, "p", is_async=True) == ["p.0", [["p.1.0.0"]]]
    assert list(life.broken()) == []
    monkeypatch.setattr("random_programs.expected", lambda *_, **__: "something else")
    life = Life(program, random.Random(0), 0, InMemorySaver(), "t", InMemoryCache())
    assert len(list(life.broken())) == 1
