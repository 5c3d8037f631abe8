"""Paths name scopes without ambiguity, whatever the tasks are called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from durably.engine.identity import (
    Key,
    body_of,
    body_path,
    branch_path,
    call_id,
    new_run_id,
    record_place,
    run_place,
)
from durably.engine.journal import in_body

names = st.one_of(st.text(min_size=1), st.text("%/~.=0ab", min_size=1))
numbers = st.integers(0, 10**6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), names, numbers),
        st.tuples(st.just("branch"), st.one_of(names, numbers), st.just(0)),
    ),
    max_size=6,
)


def scope_of(walk: list[tuple[str, str | int, int]]) -> str:
    scope = ""
    for kind, name, n in walk:
        scope = body_path(Key(scope, str(name), n)) if kind == "call" else branch_path(scope, name)
    return scope


@given(steps, steps)
def test_different_walks_have_different_paths(
    first: list[tuple[str, str | int, int]], second: list[tuple[str, str | int, int]]
) -> None:
    assert (scope_of(first) == scope_of(second)) is (first == second)


@given(steps, st.lists(st.one_of(names, numbers), max_size=4))
def test_a_branch_belongs_to_the_body_it_was_started_in(
    walk: list[tuple[str, str | int, int]], branches: list[str | int]
) -> None:
    while walk and walk[-1][0] == "branch":
        walk = walk[:-1]
    body = scope = scope_of(walk)
    for branch in branches:
        scope = branch_path(scope, branch)
    assert body_of(scope) == body


@given(steps, steps)
def test_in_body_is_the_prefix_of_the_walk(
    outer: list[tuple[str, str | int, int]], inner: list[tuple[str, str | int, int]]
) -> None:
    while outer and outer[-1][0] == "branch":
        outer = outer[:-1]
    assert in_body(Key(scope_of(outer + inner), "name", 0), scope_of(outer))


@given(names, numbers, names, numbers)
def test_siblings_are_not_in_one_another(name: str, n: int, other: str, m: int) -> None:
    body = body_path(Key("", name, n))
    sibling = body_path(Key("", other, m))
    assert in_body(Key(sibling, "x", 0), body) is ((name, n) == (other, m))
    assert not in_body(Key("", name, n), body)


@given(names, numbers, names, numbers)
def test_call_ids_tell_calls_apart(name: str, n: int, other: str, m: int) -> None:
    first, second = call_id("run", Key("", name, n)), call_id("run", Key("", other, m))
    assert (first == second) is ((name, n) == (other, m))
    assert len(first) == 32
    assert first != call_id("another run", Key("", name, n))


def test_surrogates_are_names_too() -> None:
    key = Key("\ud800", "\udfff", 0)
    assert call_id("run", key) == call_id("run", key)
    assert record_place("run", key) != record_place("run", Key("\ud801", "\udfff", 0))


def test_call_ids_stay_as_they_are() -> None:
    """They are handed to other systems as idempotency keys: no release may change them."""
    assert call_id("0" * 32, Key("check.1~0", "fetch", 2)) == "ab99c79aeed8f5362e9e75284220211d"


@given(names, numbers)
def test_a_call_is_never_stored_in_a_place_of_the_run_itself(name: str, n: int) -> None:
    places = {run_place("run", what) for what in ("input", "value", "saved", "error")}
    assert record_place("run", Key("", name, n)) not in places


def test_run_ids_are_new_and_sort_by_time() -> None:
    made = [new_run_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert [run[:14] for run in made] == sorted(run[:14] for run in made)
    assert {len(run) for run in made} == {32}
