"""Fingerprints and cache keys."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serde_values import GOLDEN, Item, everything

from durably.errors import EncodeError
from durably.serde import TypedSerializer, learn

learn(everything)
serializer = TypedSerializer()
fingerprint, cache_key = serializer.fingerprint, serializer.cache_key

DIFFERENT: list[list[object]] = [
    [], [None], [0], [1], [1.0], [True], ["1"], [b"1"], [bytearray(b"1")], [[1]], [(1,)], [{1}], [frozenset({1})],
    [{1: 1}], [{"1": 1}], [1, 1], [[1, 1]], [-0.0], [0.0], [2**64], [2**65], ["\ud800"], [Decimal(1)],
    [Item("a")], [Item("b")], [Item("a", [1])], [{"a": 1, "b": 2}], [{"a": 2, "b": 1}], [OrderedDict(a=1, b=2)],
    [OrderedDict(b=2, a=1)], ["x" * 100], ["x" * 101], [object()], [print], [[]], [{}], [()], [set()], [1, None],
]  # fmt: skip


def test_different_arguments_differ() -> None:
    seen = {bytes(fingerprint(arguments)) for arguments in DIFFERENT}
    assert len(seen) == len(DIFFERENT)


def test_a_fingerprint_has_at_most_16_bytes_and_a_short_one_holds_the_arguments() -> None:
    assert all(len(fingerprint(arguments)) <= 16 for arguments in DIFFERENT)
    assert serializer.loads(fingerprint([1, "abc", None])) == [1, "abc", None]
    assert len(fingerprint(["x" * 13])) == 15
    assert len(fingerprint(["x" * 14])) == 16


@given(st.dictionaries(st.one_of(st.text(), st.integers(), st.tuples(st.text())), st.sets(st.text()), max_size=5))
def test_the_order_of_dicts_and_sets_does_not_count(value: dict[Any, set[str]]) -> None:
    turned = {
        key: set().union(*({text} for text in sorted(part, reverse=True))) for key, part in reversed(value.items())
    }
    for wrap in (lambda x: [x], lambda x: [[{"k": x}]], lambda x: [(x,)], lambda x: [Item("", [x])]):
        assert fingerprint(wrap(value)) == fingerprint(wrap(turned))
        assert cache_key(wrap(value)) == cache_key(wrap(turned))


def test_a_list_and_a_tuple_of_arguments_are_alike() -> None:
    for arguments in DIFFERENT:
        assert fingerprint(arguments) == fingerprint(tuple(arguments))


def test_an_argument_that_cannot_be_stored_counts_as_its_type() -> None:
    assert fingerprint([object(), 1]) == fingerprint([object(), 1]) != fingerprint([object(), 2])
    assert fingerprint([[object()]]) == fingerprint([[1, object()]])  # the whole argument, not a part of it
    with pytest.raises(EncodeError) as caught:
        cache_key([1, [object()]])
    assert caught.value.path == "[1][0]"


def test_fingerprints_never_raise() -> None:
    class Nasty:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError

        def __hash__(self) -> int:
            raise RuntimeError

    loop: list[Any] = []
    loop.append(loop)
    deep: Any = None
    for _ in range(5_000):
        deep = [deep]
    for argument in (Nasty(), loop, deep, [Nasty()], type(Nasty.__name__ + "é", (), {})()):
        assert len(fingerprint([argument, 1])) <= 16


def test_chat_message_ids_do_not_count() -> None:
    messages = pytest.importorskip("langchain_core.messages")

    def chat(identity: str | None, text: str = "hi") -> list[Any]:
        return [[messages.HumanMessage(text, id=identity), {"m": (messages.AIMessage("yo", id=identity),)}]]

    assert fingerprint(chat("1")) == fingerprint(chat("2")) == fingerprint(chat(None)) != fingerprint(chat("1", "ho"))
    assert cache_key(chat("1")) == cache_key(chat(None))
    assert serializer.loads(serializer.dumps(chat("1"))) == chat("1")


def test_cache_keys_are_32_bytes_and_differ() -> None:
    keys = {cache_key([value]) for value in GOLDEN.values()}
    assert {len(key) for key in keys} == {32}
    assert len(keys) == len(GOLDEN)


def test_fingerprints_are_the_same_in_every_process() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; from durably.serde import TypedSerializer as T; "
        "v = [{'b', 'a', 'c', 1, (2,)}, {'x': {'p', 'q', 'r'}}, 2**70]; "
        "print(T().fingerprint(v).hex(), T().cache_key(v).hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


def test_pairs_of_arguments_do_not_run_into_each_other() -> None:
    parts = ["", "a", "ab", b"", b"a", [], ["a"], None]
    pairs = list(itertools.product(parts, repeat=2))
    assert len({fingerprint(pair) for pair in pairs}) == len(pairs)
