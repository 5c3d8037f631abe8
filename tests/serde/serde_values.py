"""Classes and values that the tests of stored values share; golden files hold their stored forms."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import fractions
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import msgspec
import numpy as np
import pydantic


class Color(enum.Enum):
    RED = 1
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int = 0


@dataclasses.dataclass
class Item:
    name: str
    tags: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    part: int
    item: Color | None = None


class Model(pydantic.BaseModel):
    a: int
    b: list[Item] = []
    _private: int = pydantic.PrivateAttr(4)


class Record(msgspec.Struct, frozen=True):
    a: int
    b: tuple[int, ...] = ()


@attrs.frozen
class Attr:
    a: int
    b: list[int] = attrs.field(factory=list)


class Plain:
    def __init__(self, a: object) -> None:
        self.a = a

    def __repr__(self) -> str:
        return f"Plain({self.a!r})"


def everything(a: Color, b: Level, c: Right, d: Point, e: Item, f: Key, g: Model, h: Record, i: Attr, j: Plain) -> None:
    """Names the classes of this module, as a task would."""


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")

# What golden files hold. Add entries; never change one.
GOLDEN: dict[str, Any] = {
    "none": None,
    "true": True,
    "int": -7,
    "int64": 2**63 - 1,
    "uint64": 2**64 - 1,
    "bigint": 2**200,
    "negative bigint": -(2**200) - 1,
    "float": 0.1,
    "infinity": float("-inf"),
    "complex": 1 - 2j,
    "str": "grün 🙂",
    "surrogate": "a\ud800b",
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "list": [1, [2.5, None], "x"],
    "dict": {"a": {"b": [True]}, "c": {}},
    "dict with scalar keys": {1: "a", None: "b", 1.5: "c", b"k": "d"},
    "dict with tuple keys": {(1, 2): "a", "k": frozenset({3})},
    "tuple": (1, (2,), ()),
    "set": {1},
    "frozenset": frozenset({"a"}),
    "range": range(1, 10, 3),
    "slice": slice(None, 5, None),
    "deque": deque([1, 2], 5),
    "defaultdict": defaultdict(list, {"a": [1]}),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "counter": Counter({"x": 3}),
    "pattern": re.compile("a+", re.IGNORECASE),
    "datetime": dt.datetime(2024, 2, 29, 12, 30, 15, 123456),
    "datetime utc": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    "datetime fold": dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    "datetime offset": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2), "X")),
    "date": dt.date(1, 1, 1),
    "time": dt.time(23, 59, 59, 999999, tzinfo=dt.UTC),
    "timedelta": dt.timedelta(-1, 5, 7),
    "zone": BERLIN,
    "decimal": Decimal("-1.50E+3"),
    "fraction": fractions.Fraction(-1, 3),
    "uuid": uuid.UUID(int=2**127 + 1),
    "path": pathlib.PurePosixPath("a/b"),
    "windows path": pathlib.PureWindowsPath("c:\\x"),
    "ipv4": ipaddress.IPv4Address("127.0.0.1"),
    "ipv6 network": ipaddress.IPv6Network("fe80::/10"),
    "ellipsis": ...,
    "enum": Color.GREEN,
    "int enum": Level.LOW,
    "flag": Right.READ | Right.WRITE,
    "named tuple": Point(1),
    "dataclass": Item("a", [(1,)]),
    "slots": Key(1, Color.RED),
    "model": Model(a=1, b=[Item("x")]),
    "struct": Record(1, (2,)),
    "attrs": Attr(1, [2]),
    "array": np.arange(6, dtype="<i4").reshape(2, 3),
    "array of times": np.array(["2020-01-01"], dtype="<M8[D]"),
    "array of structs": np.zeros(2, dtype=[("a", "<i4"), ("b", "<f8", (2,))]),
    "numpy scalar": np.float64(1.5),
    "exception": ValueError("bad", 1),
    "os error": FileNotFoundError(2, "no such file", "f.txt"),
    "group": ExceptionGroup("several", [KeyError("a"), TypeError("b")]),
    "nested": [{"items": (Item("a", [{1, 2}]), None)}],
}


def same(a: Any, b: Any) -> bool:
    """Equal and of the same type, all the way down; nan is the same as nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(x, y) for (p, q) in zip(a.items(), b.items(), strict=True) for x, y in zip(p, q, strict=True)
        )
    if isinstance(a, (set, frozenset)):
        rest = list(b)
        for part in a:
            found = next((index for index, other in enumerate(rest) if same(part, other)), None)
            if found is None:
                return False
            del rest[found]
        return not rest
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, BaseExceptionGroup):
        return a.message == b.message and all(map(same, a.exceptions, b.exceptions))
    if isinstance(a, BaseException):
        return same(a.args, b.args) and same(vars(a), vars(b))
    if isinstance(a, Item):
        return same(vars(a), vars(b))
    if isinstance(a, Decimal):
        return repr(a) == repr(b)
    return bool(a == b)
