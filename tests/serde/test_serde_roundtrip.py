"""Every value comes back equal and of the same type."""

from __future__ import annotations

import datetime as dt
import functools
import gc
import os
import pathlib
import subprocess
import sys
import threading
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serde_values import GOLDEN, Item, Model, Plain, Point, everything, same

from durably.errors import DecodeError, EncodeError
from durably.serde import MAX_DEPTH, TypedSerializer, learn
from durably.serde.collector import paused
from durably.serde.delta import compress

learn(everything)
serializer = TypedSerializer()


def there_and_back(value: object) -> object:
    return serializer.loads(serializer.dumps(value))


anything_str = st.text(st.characters(exclude_categories=()), max_size=20)
zones = st.one_of(st.none(), st.just(dt.UTC), st.sampled_from(["Europe/Berlin", "Asia/Tokyo"]).map(zoneinfo.ZoneInfo))
hashable_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats(),
    st.complex_numbers(),
    anything_str,
    st.binary(max_size=20),
    st.decimals().filter(lambda d: not d.is_snan()),
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=zones),
    st.times(),
    st.timedeltas(),
    st.ip_addresses(),
    st.sampled_from([..., range(3), GOLDEN["enum"], GOLDEN["flag"], pathlib.Path("a/b"), GOLDEN["slots"]]),
)
hashables = st.recursive(
    hashable_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4), st.builds(Point, inner, inner)
    ),
    max_leaves=5,
)
values = st.recursive(
    st.one_of(hashables, st.binary().map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.sets(hashables, max_size=5),
        st.dictionaries(hashables, inner, max_size=5),
        st.dictionaries(anything_str, inner, max_size=5),
        st.dictionaries(hashables, inner, max_size=3).map(OrderedDict),
        st.dictionaries(hashables, inner, max_size=3).map(lambda d: defaultdict(list, d)),
        st.lists(inner, max_size=4).map(lambda parts: deque(parts, 9)),
        st.builds(Item, anything_str, st.lists(inner, max_size=3)),
        st.lists(inner, max_size=3).map(lambda parts: ValueError(*parts)),
    ),
    max_leaves=20,
)


@given(values)
def test_any_value_comes_back_the_same(value: object) -> None:
    assert same(there_and_back(value), value)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    )
)
def test_plain_values_are_bare_msgpack(value: object) -> None:
    assert same(there_and_back(value), value)


@pytest.mark.parametrize("name", GOLDEN)
def test_each_listed_type_alone_and_nested(name: str) -> None:
    value = GOLDEN[name]
    for wrapped in (value, [value], (value,), {"k": value}, {("k", 1): value}, Item("x", [value]), Plain(value)):
        found = there_and_back(wrapped)
        if isinstance(wrapped, Plain):
            assert isinstance(found, Plain)
            found, wrapped = found.a, wrapped.a
        elif isinstance(wrapped, Item):
            assert type(found) is Item
            found, wrapped = found.tags, wrapped.tags
        assert same(found, wrapped)


@pytest.mark.parametrize(
    "value", [True, 1, 1.0, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: 1}, Counter([1]), deque([1])], ids=repr
)
def test_types_are_told_apart(value: object) -> None:
    assert type(there_and_back(value)) is type(value)
    assert type(there_and_back([value])[0]) is type(value)  # type: ignore[index]


def test_integers_around_the_limits_of_64_bits() -> None:
    for power in (31, 32, 63, 64, 65, 1000):
        for near in (-2, -1, 0, 1, 2):
            for sign in (1, -1):
                assert there_and_back(sign * (2**power + near)) == sign * (2**power + near)


def test_a_deque_keeps_its_limit_and_a_defaultdict_its_factory() -> None:
    assert there_and_back(deque([1], 3)).maxlen == 3  # type: ignore[attr-defined]
    assert there_and_back(deque([1])).maxlen is None  # type: ignore[attr-defined]
    for factory in (list, int, None, Item):
        assert there_and_back(defaultdict(factory)).default_factory is factory  # type: ignore[attr-defined]


def test_zones_keep_their_identity() -> None:
    value = dt.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    assert there_and_back(value).tzinfo is value.tzinfo  # type: ignore[attr-defined]
    assert there_and_back(value.replace(tzinfo=dt.UTC)).tzinfo is dt.UTC  # type: ignore[attr-defined]


def test_a_value_that_occurs_twice_comes_back_twice() -> None:
    shared = [1, (2,)]
    assert there_and_back([shared, shared, {"again": shared}]) == [shared, shared, {"again": shared}]


def test_models_keep_what_was_set_and_their_private_parts() -> None:
    model = Model(a=1)
    model._private = 9
    found = there_and_back(model)
    assert isinstance(found, Model)
    assert (found.model_fields_set, found._private) == ({"a"}, 9)


def test_a_cached_property_is_computed_again() -> None:
    class Circle:
        def __init__(self) -> None:
            self.r = 2

        @functools.cached_property
        def area(self) -> object:
            return object()  # has no stored form

    def task() -> Circle: ...

    task.__annotations__["return"] = Circle
    learn(task)
    circle = Circle()
    circle.area
    assert vars(there_and_back(circle)) == {"r": 2}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "i1", ">u4", "f2", "f8", "c16", "U3", "S4", "M8[ns]", "m8[25s]", "V3"])
def test_arrays_keep_dtype_shape_and_content(dtype: str, order: str) -> None:
    for shape in ((), (0,), (3,), (2, 0), (2, 3)):
        array = np.zeros(shape, dtype, order=order)  # type: ignore[call-overload]
        found = there_and_back(array)
        assert same(found, array)
        assert found.flags.writeable  # type: ignore[attr-defined]
    every_other = np.arange(10)[::2]
    assert same(there_and_back(every_other), every_other)


def test_deep_values_up_to_the_limit_and_not_beyond() -> None:
    for wrap in (lambda value: [value], lambda value: (value,), lambda value: {"k": value}, lambda v: Item("", [v])):
        value: object = None
        for _ in range(MAX_DEPTH // 2 - 1):
            value = wrap(value)
        assert there_and_back(value) == value
        for _ in range(MAX_DEPTH):
            value = wrap(value)
        with pytest.raises(EncodeError, match=f"deeper than {MAX_DEPTH} levels"):
            serializer.dumps(value)


def test_a_value_that_contains_itself_is_refused_with_its_path() -> None:
    loop: list[object] = [1]
    loop.append({"again": (loop,)})
    with pytest.raises(EncodeError, match="contains itself") as caught:
        serializer.dumps({"start": loop})
    assert caught.value.path == '["start"][1]["again"][0]'
    item = Item("a")
    item.tags.append(item)
    with pytest.raises(EncodeError, match="contains itself") as caught:
        serializer.dumps(item)
    assert caught.value.path == ".tags[0]"


def test_values_that_share_parts_exponentially_are_refused_not_written_out() -> None:
    value: list[object] = [0]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(EncodeError):
        TypedSerializer(max_bytes=10_000).dumps(value)


def test_a_large_part_that_is_shared_often_is_refused_before_it_is_written_out() -> None:
    value = [[0] * 1_000] * 1_000
    with pytest.raises(EncodeError, match="more parts than the size limit allows"):
        TypedSerializer(max_bytes=100_000).dumps(value)


def test_one_part_in_many_that_is_not_plain_keeps_its_type() -> None:
    for place in (0, 499, 500, 501, 999):
        value: list[object] = [[{"n": n}] for n in range(1_000)]
        value[place] = [{"n": (place,)}]
        assert there_and_back(value) == value


def test_the_size_limit_holds_both_ways() -> None:
    small = TypedSerializer(max_bytes=1000)
    with pytest.raises(EncodeError, match=r"over the limit of 1,000.*max_bytes"):
        small.dumps("x" * 1001)
    assert small.loads(small.dumps("x" * 900)) == "x" * 900
    from durably.errors import DecodeError

    with pytest.raises(DecodeError, match=r"over the limit of 1,000"):
        small.loads(serializer.dumps("x" * 1001))


def test_large_bytes_are_stored_as_they_are() -> None:
    data = os.urandom(1_000_000)
    assert len(serializer.dumps(data)) == len(data) + 5
    assert there_and_back(data) == data


def test_chat_messages_need_no_annotation_and_no_import() -> None:
    messages = pytest.importorskip("langchain_core.messages")
    chat = [
        messages.HumanMessage("hi", id="1"),
        messages.AIMessage("yo", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "x"}]),
        messages.ToolMessage("r", tool_call_id="x", artifact=(1, 2)),
        messages.SystemMessage([{"type": "text", "text": "be nice"}]),
        messages.AIMessageChunk(content="c"),
        messages.RemoveMessage(id="3"),
    ]
    data = serializer.dumps(chat)
    found = serializer.loads(data)
    assert found == chat
    assert [type(message) for message in found] == [type(message) for message in chat]
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; from durably.serde import TypedSerializer as T; "
        "print([type(m).__name__ for m in T().loads(sys.stdin.buffer.read())])"
    )
    output = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout
    assert eval(output) == [type(message).__name__ for message in chat]


def test_writing_leaves_the_value_as_it_was() -> None:
    value = {"a": [1, (2,)], "b": Item("x", [{"y": (3,)}])}
    before = repr(value)
    serializer.dumps(value)
    serializer.fingerprint([value])
    assert repr(value) == before


# The garbage collector.


@contextmanager
def collections() -> Iterator[list[str]]:
    """What the garbage collector does in the block."""
    seen: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        seen.append(phase)

    gc.callbacks.append(note)
    try:
        yield seen
    finally:
        gc.callbacks.remove(note)


LARGE = [[{"n": [n]}] for n in range(100_000)]


@pytest.mark.parametrize("value", [LARGE, [*LARGE, ()]], ids=["plain", "typed"])
@pytest.mark.parametrize("pack", [bytes, compress])
def test_nothing_is_collected_while_a_large_value_is_read(value: object, pack: Callable[[bytes], bytes]) -> None:
    data = pack(serializer.dumps(value))
    with collections() as seen:
        before = len(seen)
        found = serializer.loads(data)
        assert len(seen) - before <= 2  # behind it, where the collector is on again
    assert gc.isenabled()
    assert found == value


def test_the_collector_stays_as_it_was() -> None:
    data = serializer.dumps(LARGE)
    with pytest.raises(DecodeError):
        serializer.loads(data[:-1])
    assert gc.isenabled()
    gc.disable()
    try:
        serializer.loads(data)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_is_off_until_the_last_of_several_threads_has_read() -> None:
    inner = threading.Event()
    go_on = threading.Event()

    def read() -> None:
        with paused:
            inner.set()
            assert go_on.wait(10)

    thread = threading.Thread(target=read)
    with paused:
        thread.start()
        assert inner.wait(10)
    assert not gc.isenabled()
    go_on.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_collector_is_on_in_a_child_that_was_forked_while_a_thread_reads() -> None:
    program = """if True:
        import gc, os
        from durably.serde.collector import paused

        with paused:  # the child has no thread that would leave it
            child = os.fork()
            if not child:
                with paused:
                    held = not gc.isenabled()
                os._exit(0 if held and gc.isenabled() else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
