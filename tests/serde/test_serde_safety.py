"""Bytes from storage give values or a DecodeError: no imports, no lookups by name, no code of the program."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import sys
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serde_values import GOLDEN, Item, everything

from durably.errors import DeclarationError, DecodeError, EncodeError
from durably.serde import MAX_DEPTH, TypedSerializer, learn, register
from durably.serde.walk import BUILDERS, SIMPLE

learn(everything)
serializer = TypedSerializer()
Ext = msgspec.msgpack.Ext
OBJECT, EXCEPTION, DEFAULTDICT, PATTERN, ZONE, ARRAY = 0x40, 0x41, 0x27, 0x2B, 0x2F, 0x30


def hostile(wire: object, classes: object = None) -> bytes:
    root = [Ext(0x7F, b"\x01"), wire] + ([] if classes is None else [classes])
    return msgspec.msgpack.encode(root)


def marked(code: int, *parts: object, data: bytes = b"") -> list[object]:
    return [Ext(code, data), *parts]


def read(data: bytes) -> object:
    """The value, or None for a DecodeError; anything else fails the test."""
    try:
        return serializer.loads(data)
    except DecodeError:
        return None


STORED = [serializer.dumps(value) for value in GOLDEN.values()]


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    read(data)
    read(b"\x92\xd4\x7f\x01" + data)
    read(b"\xc1Z" + data)


@given(st.sampled_from(STORED), st.data())
def test_damaged_values(stored: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(stored) - 1))
    read(stored[:at])
    read(stored[:at] + bytes([stored[at] ^ (1 << draw.draw(st.integers(0, 7)))]) + stored[at + 1 :])
    read(stored + stored)


wires = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), st.text(max_size=8), st.binary(max_size=8)
    )
    | st.builds(Ext, st.integers(0, 127), st.binary(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(lambda code, parts: marked(code, *parts), st.sampled_from(sorted(BUILDERS)), st.lists(inner)),
    ),
    max_leaves=15,
)


@given(wires, st.lists(st.tuples(st.just("serde_values:Item"), st.lists(st.text(max_size=4)), st.integers(0, 3))))
def test_well_formed_nonsense(wire: object, classes: object) -> None:
    read(hostile(wire, classes))


def test_no_code_is_both_a_mark_and_a_lone_extension() -> None:
    assert not BUILDERS.keys() & SIMPLE.keys()


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1k", b"\xdd\x00\x00\x00\x01", b"\x92\xc7\x00\x20"])
def test_nesting_bombs(opening: bytes) -> None:
    for count in (MAX_DEPTH * 2, 5_000, 300_000):
        for start in (b"", b"\x92\xd4\x7f\x01"):
            # How deep C code may recurse is the interpreter's to say: 1,000 levels up to Python 3.11, more since.
            assert read(start + opening * count + b"\xc0") is None or count < 10_000


@pytest.mark.parametrize("opening", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"])
def test_declared_lengths_are_checked_before_memory_is_taken(opening: bytes) -> None:
    for start in (b"", b"\x92\xd4\x7f\x01"):
        with pytest.raises(DecodeError):
            serializer.loads(start + opening + b"\xff\xff\xff\xff" + b"\x00" * 100)


def test_an_array_may_not_be_larger_than_its_data() -> None:
    for shape in ([2**40], [-1], [2**62, 2**62], [1.5], "x", [0] * 65):
        with pytest.raises(DecodeError):
            serializer.loads(hostile(marked(ARRAY, "<i8", shape, False, b"12345678")))


@pytest.mark.parametrize("dtype", ["|O", "O", "object", "<i8,|O", "datetime64", "os.system", ["O", [2]], "<f999999999"])
def test_dtypes_come_from_a_fixed_set(dtype: object) -> None:
    with pytest.raises(DecodeError):
        serializer.loads(hostile(marked(ARRAY, dtype, [1], False, b"12345678")))


def test_objects_in_arrays_are_refused_when_written() -> None:
    for array in (np.array([object()]), np.zeros(1, [("a", object)])):
        with pytest.raises(EncodeError, match="has no stored form"):
            serializer.dumps(array)


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:eval", "subprocess:Popen", "builtins:object", "builtins:type", "json:JSONDecoder",
     "serde_values:everything", "serde_values:BERLIN", "serde_values:Item.tags", "this:anything", "antigravity:x", "x"],
)  # fmt: skip
def test_names_find_nothing_outside_the_table(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(DecodeError, match="not known here"):
        serializer.loads(hostile(marked(OBJECT, data=b"\x00"), [[name, [], 0]]))
    assert set(sys.modules) == before


def test_lazy_module_attributes_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["serde_values"]
    touched: list[str] = []
    monkeypatch.setattr(module, "__getattr__", touched.append, raising=False)
    with pytest.raises(DecodeError):
        serializer.loads(hostile(marked(OBJECT, data=b"\x00"), [["serde_values:Lazy", [], 0]]))
    assert not touched


@pytest.mark.parametrize("name", ["eval", "os:system", "serde_values:everything", 5, [1], "object", "type"])
def test_factories_of_defaultdicts_come_from_a_fixed_list(name: object) -> None:
    with pytest.raises(DecodeError):
        serializer.loads(hostile(marked(DEFAULTDICT, name, "a", 1)))


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/localtime", "Europe/Atlantis", "posix/UTC", "\x00"])
def test_zone_keys_are_known_ones(key: str) -> None:
    with pytest.raises(DecodeError, match="time zone"):
        serializer.loads(hostile(Ext(ZONE, key.encode())))


def test_patterns_are_limited_in_size_and_flags() -> None:
    for text, flags in (("a" * 1001, 32), ("a", int(re.DEBUG)), ("(", 32), (5, 32), ("a", "x")):
        with pytest.raises(DecodeError):
            serializer.loads(hostile(marked(PATTERN, text, flags)))
    with pytest.raises(EncodeError, match="store its text"):
        serializer.dumps(re.compile("a" * 1001))


def test_compiling_patterns_has_a_budget() -> None:
    patterns = [re.compile(f"{n:04}" + "a" * 900) for n in range(12)]
    with pytest.raises(EncodeError, match="together"):
        serializer.dumps(patterns)
    with pytest.raises(DecodeError, match="too many compiled patterns"):
        serializer.loads(hostile([marked(PATTERN, pattern.pattern, 32) for pattern in patterns]))


@pytest.mark.parametrize("code", [0x21, 0x22, 0x23, 0x28, 0x29])
def test_keys_made_to_collide_are_refused(code: int) -> None:
    modulus = sys.hash_info.modulus
    numbers = [Ext(1, (modulus * n).to_bytes(12, "big", signed=True)) for n in range(20_000)]
    with pytest.raises(DecodeError, match="same hash"):
        parts = numbers if code < 0x23 else [part for number in numbers for part in (number, 1)]
        serializer.loads(hostile(marked(code, *parts)))


def test_large_fractions_are_read_without_looking_for_divisors() -> None:
    value = Fraction(3**200_000, 2**300_000)
    assert serializer.loads(serializer.dumps(value)) == value
    for parts in ((1, 0), (1, -1), (1.0, 2), (1,)):
        with pytest.raises(DecodeError):
            serializer.loads(hostile(marked(0x2A, *parts)))


def test_a_stored_exception_name_finds_only_loaded_exceptions() -> None:
    for name in ("os:system", "builtins:dict", "builtins:object", 7):
        with pytest.raises(DecodeError, match="not loaded"):
            serializer.loads(hostile(marked(EXCEPTION, name, [], {}, None, None, False)))


# --- no code of the program runs ---------------------------------------------------------------------------------

ran: list[str] = []


def trap(name: str) -> Any:
    def method(self: object, *args: object, **kwargs: object) -> Any:
        ran.append(name)
        return None

    return method


@dataclasses.dataclass
class WithPostInit:
    a: int = 1
    b: list[int] = dataclasses.field(default_factory=lambda: ran.append("factory") or [])

    __post_init__ = trap("__post_init__")
    __getstate__ = trap("__getstate__")
    __setstate__ = trap("__setstate__")
    __init_subclass__ = classmethod(trap("__init_subclass__"))
    __reduce__ = trap("__reduce__")


class ModelWithHooks(pydantic.BaseModel):
    a: int

    def model_post_init(self, context: object) -> None:
        ran.append("model_post_init")

    @pydantic.field_validator("a")
    @classmethod
    def check(cls, value: int) -> int:
        ran.append("validator")
        return value


class StructWithHooks(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        ran.append("__post_init__")


class Tone(enum.Enum):
    LOW = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ran.append("_missing_")


class Rights(enum.Flag):
    A = 1
    B = 2

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ran.append("_missing_")
        return super()._missing_(value)


class Failure(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("failed")
        self.code = code
        ran.append("__init__")

    def __new__(cls, *args: object, **kwargs: object) -> Failure:
        ran.append("__new__")
        return super().__new__(cls)

    __setattr__ = trap("__setattr__")
    __setstate__ = trap("__setstate__")


class Plain:
    def __init__(self) -> None:
        ran.append("__init__")
        self.a = 1

    @property
    def b(self) -> int:
        raise AssertionError

    __getattr__ = trap("__getattr__")


def task(a: WithPostInit, b: ModelWithHooks, c: StructWithHooks, d: Tone, e: Rights, f: Plain) -> None: ...


@pytest.mark.parametrize(
    "make",
    [WithPostInit, functools.partial(ModelWithHooks, a=1), functools.partial(StructWithHooks, 1), lambda: Tone.LOW,
     lambda: Rights(3), lambda: Rights(0), functools.partial(Failure, code=1), Plain],
)  # fmt: skip
def test_reading_runs_no_method_of_the_class(make: Any) -> None:
    learn(task)
    value = make()
    data = serializer.dumps([value])
    Rights._value2member_map_.pop(3, None)
    ran.clear()
    (found,) = serializer.loads(data)
    assert ran == []
    assert type(found) is type(value)


def test_members_are_found_by_name_only() -> None:
    learn(task)
    for wire in ("HIGH", 1, None, ["LOW"], "_missing_", "__class__"):
        with pytest.raises(DecodeError):
            serializer.loads(hostile(marked(OBJECT, wire, data=b"\x00"), [["test_serde_safety:Tone", [], 0]]))
    assert ran == []


@pytest.mark.parametrize("name", ["__new__", "__del__", "__setattr__", "__hash__", "__eq__"])
def test_classes_with_dangerous_methods_need_register(name: str) -> None:
    methods = {name: trap(name)}
    if name == "__new__":
        methods[name] = lambda cls, *args: object.__new__(cls)
    if name == "__setattr__":
        methods[name] = lambda self, key, value: object.__setattr__(self, key, value)
    cls = dataclasses.make_dataclass("Risky", ["a"], namespace=methods, eq=name != "__eq__")
    cls.__module__, cls.__qualname__ = __name__, f"Risky_{name}"

    def uses(a: Any) -> None: ...

    uses.__annotations__["a"] = cls
    learn(uses)
    with pytest.raises(EncodeError, match=rf"defines {name} by hand.*durably.serde.register\(Risky\)"):
        serializer.dumps(cls(1))
    register(cls)
    ran.clear()
    assert type(serializer.loads(serializer.dumps(cls(1)))) is cls


def test_register_refuses_what_cannot_be_stored() -> None:
    for cls in (object, type(sys), type("Text", (str,), {})):
        with pytest.raises(DeclarationError, match="cannot be stored"):
            register(cls)
    with pytest.raises(DeclarationError, match="takes a class"):
        register(5)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("value", "path"),
    [(object(), ""), ([1, object()], "[1]"), ({"rows": [0, Item("a", [print])]}, '["rows"][1].tags[0]'),
     ({(1, 2): object()}, "[<tuple>]"), ({"a": lambda: 1}, '["a"]')],
)  # fmt: skip
def test_refusals_say_where(value: object, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        serializer.dumps(value)
    assert caught.value.path == path
    assert not path or path in str(caught.value)


def test_structs_whose_hooks_would_run_are_refused() -> None:
    class Loud(msgspec.Struct):
        def __init_subclass__(cls, **kwargs: Any) -> None:
            ran.append("__init_subclass__")
            super().__init_subclass__(**kwargs)

        def __post_init__(self) -> None:
            ran.append("__post_init__")

    ran.clear()
    with pytest.raises(DeclarationError, match="cannot be stored"):
        register(Loud)
    assert ran == []
