"""Codecs of the built-in types and of the light modules of the standard library."""

from __future__ import annotations

import datetime as dt
import re
import struct
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError
from .base import Refusal
from .walk import (
    ABSENT_CODE,
    BIGINT,
    BUILDERS,
    ENCODERS,
    PAIRS,
    SIMPLE,
    TEXT,
    Ext,
    Reader,
    Writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .walk import Wire

__all__ = ["FACTORIES", "MAX_PATTERN", "find_factory", "set_factory_lookup"]

MAX_PATTERN = 1000
"""The longest regular expression that is stored or compiled, in characters."""
MAX_PATTERNS = 10_000
"""All regular expressions of one value together: compiling a hostile one takes a millisecond a character."""
_MANY_KEYS = 1000

_COMPLEX, _BYTEARRAY, _DECIMAL, _UUID, _DATE, _TIMEDELTA, _SINGLE = 0x03, 0x04, 0x05, 0x06, 0x09, 0x0A, 0x0C
_TUPLE, _SET, _FROZENSET, _RANGE, _SLICE, _DEQUE = 0x20, 0x21, 0x22, 0x24, 0x25, 0x26
_DEFAULTDICT, _ORDERED, _COUNTER, _PATTERN = 0x27, 0x28, 0x29, 0x2B
_DATETIME, _TIME, _TIMEZONE = 0x2C, 0x2D, 0x2E
# No code serves for lone extensions and for marks: the first item of a plain list may be a lone extension.
_NAIVE_DATETIME, _NAIVE_TIME, _UTC = 0x0D, 0x0E, 0x0F


def _marked(code: int) -> Ext:
    return Ext(code, b"")


_M_TUPLE, _M_SET, _M_FROZENSET, _M_RANGE, _M_SLICE = map(_marked, (_TUPLE, _SET, _FROZENSET, _RANGE, _SLICE))
_M_DEQUE, _M_DEFAULTDICT, _M_ORDERED, _M_COUNTER = map(_marked, (_DEQUE, _DEFAULTDICT, _ORDERED, _COUNTER))
_M_PATTERN, _M_TIMEZONE = map(_marked, (_PATTERN, _TIMEZONE))


def _pairs(wire: list[Any], start: int) -> list[tuple[Any, Any]]:
    if (len(wire) - start) % 2:
        raise DecodeError("a key without a value")
    return list(zip(_keys(wire[start::2]), wire[start + 1 :: 2], strict=True))


def _keys(keys: list[Any]) -> list[Any]:
    """The keys of a dict or set, unless they were made to have the same hash, which takes quadratic time."""
    if len(keys) > _MANY_KEYS and len(set(map(hash, keys))) * 2 < len(keys):
        raise DecodeError("too many keys with the same hash")
    return keys


def _exactly(wire: list[Any], count: int) -> list[Any]:
    if len(wire) != count + 1:
        raise DecodeError(f"expected {count} parts, found {len(wire) - 1}")
    return wire[1:]


# --- containers -----------------------------------------------------------------------------------


def _tuple(reader: Reader, wire: list[Any]) -> tuple[Any, ...]:
    return tuple(reader.parts(wire)[1:])


def _set(reader: Reader, wire: list[Any]) -> set[Any]:
    return set(_keys(reader.parts(wire)[1:]))


def _frozenset(reader: Reader, wire: list[Any]) -> frozenset[Any]:
    return frozenset(_keys(reader.parts(wire)[1:]))


def _dict(reader: Reader, wire: list[Any]) -> dict[Any, Any]:
    return dict(_pairs(reader.parts(wire), 1))


def _ordered(reader: Reader, wire: list[Any]) -> OrderedDict[Any, Any]:
    return OrderedDict(_pairs(reader.parts(wire), 1))


def _counter(reader: Reader, wire: list[Any]) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, _pairs(reader.parts(wire), 1))
    return counter


def _range(reader: Reader, wire: list[Any]) -> range:
    start, stop, step = _exactly(reader.parts(wire), 3)
    return range(start, stop, step)


def _slice(reader: Reader, wire: list[Any]) -> slice:
    start, stop, step = _exactly(reader.parts(wire), 3)
    return slice(start, stop, step)


def _encode_deque(writer: Writer, value: deque[Any]) -> Wire:
    wires = writer.items(value, _M_DEQUE)
    wires.insert(1, value.maxlen)
    return wires


def _deque(reader: Reader, wire: list[Any]) -> deque[Any]:
    maxlen, *parts = reader.parts(wire)[1:]
    return deque(parts, maxlen)


# --- defaultdict ----------------------------------------------------------------------------------

FACTORIES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, deque)
} | {"Counter": Counter, "OrderedDict": OrderedDict, "Decimal": Decimal}
_FACTORY_NAMES = {kind: name for name, kind in FACTORIES.items()}

_lookup_name: Callable[[object], str | None] = lambda factory: None  # noqa: E731
_lookup_class: Callable[[str], type] = FACTORIES.__getitem__


def set_factory_lookup(name_of: Callable[[object], str | None], class_of: Callable[[str], type]) -> None:
    """Let the table of classes name and find factories that are not on the fixed list."""
    global _lookup_name, _lookup_class
    _lookup_name, _lookup_class = name_of, class_of


def find_factory(name: str) -> type:
    """The factory with a stored name: from the fixed list, else a class of the table."""
    if type(name) is not str:
        raise DecodeError("the name of a default factory is not a string")
    return FACTORIES[name] if name in FACTORIES else _lookup_class(name)


def _encode_defaultdict(writer: Writer, value: defaultdict[Any, Any]) -> Wire:
    factory = value.default_factory
    name = None
    if factory is not None:
        name = _FACTORY_NAMES.get(factory) if isinstance(factory, type) else None
        name = name or _lookup_name(factory)
        if name is None:
            raise Refusal(
                f"a defaultdict whose factory is {factory!r} cannot be stored; use a built-in type such as "
                "list, a class allowed with durably.serde.register, or store dict(value)"
            )
    return writer.pairs(value, _M_DEFAULTDICT, name)


def _defaultdict(reader: Reader, wire: list[Any]) -> defaultdict[Any, Any]:
    name = reader.parts(wire)[1]
    found: defaultdict[Any, Any] = defaultdict(None if name is None else find_factory(name))
    found.update(_pairs(wire, 2))
    return found


# --- patterns -------------------------------------------------------------------------------------

_FLAGS = int(re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.VERBOSE | re.UNICODE)


def _encode_pattern(writer: Writer, value: re.Pattern[Any]) -> Wire:
    if len(value.pattern) > MAX_PATTERN:
        raise Refusal(f"a compiled pattern of over {MAX_PATTERN} characters; store its text instead")
    writer.patterns += len(value.pattern)
    if writer.patterns > MAX_PATTERNS:
        raise Refusal(f"compiled patterns of over {MAX_PATTERNS} characters together; store their texts instead")
    if value.flags & ~_FLAGS:
        raise Refusal("a compiled pattern with debug or template flags; compile it without them")
    return [_M_PATTERN, writer.wire(value.pattern), value.flags]


def _pattern(reader: Reader, wire: list[Any]) -> re.Pattern[Any]:
    text, flags = _exactly(reader.parts(wire), 2)
    if type(text) not in (str, bytes) or len(text) > MAX_PATTERN:
        raise DecodeError("the text of a pattern is too long, or not text")
    reader.patterns += len(text)
    if reader.patterns > MAX_PATTERNS:
        raise DecodeError("too many compiled patterns in one value")
    if type(flags) is not int or flags & ~_FLAGS:
        raise DecodeError("a pattern with flags that are not allowed")
    return re.compile(text, flags)


# --- dates and times ------------------------------------------------------------------------------

_DAY = struct.Struct(">HBB")
_CLOCK = struct.Struct(">BBBIB")
_SPAN = struct.Struct(">iII")


def _clock(value: dt.datetime | dt.time) -> bytes:
    return _CLOCK.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)


def _encode_datetime(writer: Writer, value: dt.datetime) -> Wire:
    data = _DAY.pack(value.year, value.month, value.day) + _clock(value)
    if value.tzinfo is None:
        return Ext(_NAIVE_DATETIME, data)
    return [Ext(_DATETIME, data), writer.wire(value.tzinfo)]


def _naive_datetime(data: bytes) -> dt.datetime:
    *clock, fold = _CLOCK.unpack(data[4:])
    return dt.datetime(*_DAY.unpack(data[:4]), *clock, fold=fold)


def _datetime(reader: Reader, wire: list[Any]) -> dt.datetime:
    (zone,) = _exactly(reader.parts(wire), 1)
    return _naive_datetime(wire[0].data).replace(tzinfo=_zone(zone))


def _encode_time(writer: Writer, value: dt.time) -> Wire:
    if value.tzinfo is None:
        return Ext(_NAIVE_TIME, _clock(value))
    return [Ext(_TIME, _clock(value)), writer.wire(value.tzinfo)]


def _naive_time(data: bytes) -> dt.time:
    hour, minute, second, microsecond, fold = _CLOCK.unpack(data)
    return dt.time(hour, minute, second, microsecond, fold=fold)


def _time(reader: Reader, wire: list[Any]) -> dt.time:
    (zone,) = _exactly(reader.parts(wire), 1)
    return _naive_time(wire[0].data).replace(tzinfo=_zone(zone))


def _zone(zone: object) -> dt.tzinfo:
    if not isinstance(zone, dt.tzinfo):
        raise DecodeError("a time zone was expected")
    return zone


def _encode_timezone(writer: Writer, value: dt.timezone) -> Wire:
    if value is dt.UTC:
        return Ext(_UTC, b"")
    # The arguments as they were given: an unnamed zone and one named like its offset are told apart.
    return [_M_TIMEZONE, *writer.items(value.__getinitargs__())]  # type: ignore[attr-defined]


def _timezone(reader: Reader, wire: list[Any]) -> dt.timezone:
    return dt.timezone(*reader.parts(wire)[1:])


def _utc(data: bytes) -> dt.timezone:
    return dt.UTC


def _encode_timedelta(writer: Writer, value: dt.timedelta) -> Wire:
    return Ext(_TIMEDELTA, _SPAN.pack(value.days, value.seconds, value.microseconds))


# --- the tables -----------------------------------------------------------------------------------

_SINGLES: tuple[object, ...] = (..., NotImplemented)


def _absent(data: bytes) -> object:
    raise DecodeError("the mark of an absent field outside an object")


def _uuid(data: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=data)


def _decimal(data: bytes) -> Decimal:
    return Decimal(data.decode("ascii"))


ENCODERS.update(
    {
        list: lambda writer, value: writer.items(value),
        dict: lambda writer, value: writer.mapping(value),
        tuple: lambda writer, value: writer.items(value, _M_TUPLE),
        set: lambda writer, value: writer.unordered(value, _M_SET),
        frozenset: lambda writer, value: writer.unordered(value, _M_FROZENSET),
        range: lambda writer, value: writer.items((value.start, value.stop, value.step), _M_RANGE),
        slice: lambda writer, value: writer.items((value.start, value.stop, value.step), _M_SLICE),
        deque: _encode_deque,
        defaultdict: _encode_defaultdict,
        OrderedDict: lambda writer, value: writer.pairs(value, _M_ORDERED),
        Counter: lambda writer, value: writer.pairs(value, _M_COUNTER),
        bytearray: lambda writer, value: Ext(_BYTEARRAY, value),
        complex: lambda writer, value: Ext(_COMPLEX, struct.pack(">dd", value.real, value.imag)),
        Decimal: lambda writer, value: Ext(_DECIMAL, str(value).encode("ascii")),
        uuid.UUID: lambda writer, value: Ext(_UUID, value.bytes),
        re.Pattern: _encode_pattern,
        dt.date: lambda writer, value: Ext(_DATE, _DAY.pack(value.year, value.month, value.day)),
        dt.datetime: _encode_datetime,
        dt.time: _encode_time,
        dt.timedelta: _encode_timedelta,
        dt.timezone: _encode_timezone,
        type(...): lambda writer, value: Ext(_SINGLE, b"\x00"),
        type(NotImplemented): lambda writer, value: Ext(_SINGLE, b"\x01"),
    }
)
BUILDERS.update(
    {
        PAIRS: _dict,
        _TUPLE: _tuple,
        _SET: _set,
        _FROZENSET: _frozenset,
        _RANGE: _range,
        _SLICE: _slice,
        _DEQUE: _deque,
        _DEFAULTDICT: _defaultdict,
        _ORDERED: _ordered,
        _COUNTER: _counter,
        _PATTERN: _pattern,
        _DATETIME: _datetime,
        _TIME: _time,
        _TIMEZONE: _timezone,
    }
)
SIMPLE.update(
    {
        BIGINT: lambda data: int.from_bytes(data, signed=True),
        TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
        ABSENT_CODE: _absent,
        _BYTEARRAY: bytearray,
        _COMPLEX: lambda data: complex(*struct.unpack(">dd", data)),
        _DECIMAL: _decimal,
        _UUID: _uuid,
        _DATE: lambda data: dt.date(*_DAY.unpack(data)),
        _NAIVE_DATETIME: _naive_datetime,
        _NAIVE_TIME: _naive_time,
        _TIMEDELTA: lambda data: dt.timedelta(*_SPAN.unpack(data)),
        _UTC: _utc,
        _SINGLE: lambda data: _SINGLES[data[0]],
    }
)
