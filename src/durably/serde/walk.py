"""The typed form: a tree of msgpack values in which extension types mark everything that msgpack lacks.

A part without parts of its own is ``Ext(code, data)``; a container or object is a list that starts with one:
``[Ext(code, b""), part, ...]``. A list or map without such a mark is a plain list or dict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ..errors import DecodeError
from .base import MAX_BYTES, MAX_DEPTH, Refusal
from .plain import SCALARS, all_scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

__all__ = [
    "ABSENT",
    "BUILDERS",
    "ENCODERS",
    "FINDERS",
    "LEARNED",
    "SIMPLE",
    "Ext",
    "Reader",
    "Writer",
    "find_encoder",
]

Ext = msgspec.msgpack.Ext
Wire: TypeAlias = Any  # a tree of msgpack values
Encode: TypeAlias = "Callable[[Writer, Any], Wire]"

ENCODERS: dict[type, Encode] = {}
"""How values of an exact type become wire values."""
LEARNED: dict[type, Encode] = {}
"""The same for classes of the program; the table of classes adds and removes them."""
BUILDERS: dict[int, Callable[[Reader, list[Wire]], object]] = {}
"""By extension code: how a marked list becomes a value. The list still has its mark at index 0."""
SIMPLE: dict[int, Callable[[bytes], object]] = {}
"""By extension code: how the data of a lone extension becomes a value."""
FINDERS: list[Callable[[type], Encode | None]] = []
"""Asked in turn for the encoder of a type that is not in `ENCODERS`."""

TEXT, BIGINT, ABSENT_CODE, PAIRS = 0x02, 0x01, 0x0B, 0x23
ABSENT = Ext(ABSENT_CODE, b"")
"""Stands for a field that an object does not have at the moment."""
_PAIRS = Ext(PAIRS, b"")
_NESTED = frozenset({list, dict, Ext})
_AFTER_MARK = 1


def find_encoder(kind: type) -> Encode:
    """The encoder for an exact type; raises `Refusal` where there is none."""
    for finder in FINDERS:
        found = finder(kind)
        if found is not None:
            return found
    raise Refusal(f"a value of type {kind.__module__}.{kind.__qualname__} has no stored form")


def _label(key: object) -> str:
    # The repr of anything but a scalar may be long, or the caller's code.
    text = repr(key) if type(key) in SCALARS else f"<{type(key).__qualname__}>"
    if type(key) is str:
        text = '"' + text[1:-1] + '"'
    return f"[{text if len(text) <= 60 else text[:57] + '...'}]"


class Writer:
    """Turns one value into its wire tree.

    Args:
        careful: look at every string and integer, after msgpack has refused one.
        limit: how many containers and objects the value may have.
    """

    message_ids = True
    """Whether the ids of chat messages are written."""

    def __init__(self, careful: bool = False, limit: int = MAX_BYTES // 4) -> None:
        self.careful = careful
        self._left = limit
        self.classes: list[Wire] = []
        self.chain = 0
        self.patterns = 0
        self._marks: dict[object, Ext] = {}
        self._open: set[int] = set()

    def wire(self, value: object) -> Wire:
        """The wire form of any value."""
        kind = type(value)
        if kind in SCALARS:
            return _scalar(value) if self.careful else value
        encode = ENCODERS.get(kind) or LEARNED.get(kind) or find_encoder(kind)
        key = id(value)
        if key in self._open:
            raise Refusal("the value contains itself; store an id or a path instead of the object")
        if len(self._open) >= MAX_DEPTH:
            raise Refusal(f"nested deeper than {MAX_DEPTH} levels")
        self._left -= 1
        if self._left < 0:
            raise Refusal("more parts than the size limit allows")
        self._open.add(key)
        try:
            return encode(self, value)
        finally:
            self._open.discard(key)

    def items(self, values: Collection[object], mark: Ext | None = None) -> list[Wire]:
        """The wire forms of the parts of a sequence, after ``mark`` if there is one."""
        if mark is not None and not self.careful and all_scalar(map(type, values)):
            return [mark, *values]
        wires = [] if mark is None else [mark]
        before = len(wires)
        try:
            wires.extend(map(self.wire, values))
        except Refusal as refusal:
            raise refusal.under(f"[{len(wires) - before}]")
        return wires

    def unordered(self, values: Iterable[object], mark: Ext) -> list[Wire]:
        """As `items`, for parts that have no order."""
        wires = [mark]
        try:
            wires.extend(map(self.wire, values))
        except Refusal as refusal:
            raise refusal.under("{...}")
        return wires

    def mapping(self, value: dict[Any, object]) -> Wire:
        """The wire form of an exact dict: a map where the keys allow it, else marked pairs."""
        if not all_scalar(map(type, value)) or (self.careful and any(_scalar(key) is not key for key in value)):
            return self.pairs(value, _PAIRS)
        return dict(zip(value, self.values(value), strict=True))

    def values(self, value: dict[Any, object]) -> Iterator[Wire]:
        """The wire forms of the values of a dict, in its order."""
        for key, item in value.items():
            try:
                yield self.wire(item)
            except Refusal as refusal:
                raise refusal.under(_label(key))

    def pairs(self, value: dict[Any, object], mark: Ext, *before: Wire) -> list[Wire]:
        """``[mark, *before, key, value, key, value, ...]``."""
        wires = [mark, *before]
        for key, item in value.items():
            try:
                wires.append(self.wire(key))
                wires.append(self.wire(item))
            except Refusal as refusal:
                raise refusal.under(_label(key))
        return wires

    def fields(self, mark: Ext, names: Sequence[str], values: Sequence[object]) -> list[Wire]:
        """``[mark, value, ...]`` for the named attributes of an object; `ABSENT` stays as it is."""
        if not self.careful and all_scalar(map(type, values)):
            return [mark, *values]
        wires: list[Wire] = [mark]
        try:
            wires.extend(value if value is ABSENT else self.wire(value) for value in values)
        except Refusal as refusal:
            raise refusal.under(f".{names[len(wires) - 1]}")
        return wires

    def mark(self, code: int, entry: tuple[Wire, ...]) -> Ext:
        """The mark of an object whose class is described by ``entry``, kept once per payload."""
        found = self._marks.get(entry)
        if found is None:
            index = len(self.classes)
            self.classes.append(entry)
            found = self._marks[entry] = Ext(code, index.to_bytes(1 if index < 256 else 4))
        return found


def _scalar(value: Any) -> Wire:
    """A scalar as it is, or marked where msgpack cannot hold it."""
    kind = type(value)
    if kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return Ext(TEXT, value.encode("utf-8", "surrogatepass"))
    elif kind is int and not -(2**63) <= value < 2**64:
        return Ext(BIGINT, value.to_bytes(value.bit_length() // 8 + 1, signed=True))
    return value


class Reader:
    """Turns one wire tree back into its value, in place where it can.

    Args:
        classes: the class entries of the payload, each resolved to a function from values to an object.
    """

    def __init__(self, classes: Sequence[Callable[[Reader, list[Wire]], object]] = ()) -> None:
        self.classes = classes
        self.patterns = 0
        self._depth = 0

    def value(self, wire: Wire) -> Any:
        """The value behind any wire form."""
        kind = type(wire)
        if kind not in _NESTED:
            return wire
        if kind is Ext:
            simple = SIMPLE.get(wire.code)
            if simple is None:
                raise unknown_code(wire.code)
            return simple(wire.data)
        if not wire:
            return wire
        if self._depth >= MAX_DEPTH:
            raise DecodeError(f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        try:
            return self._dict(wire) if kind is dict else self._list(wire)
        finally:
            self._depth -= 1

    def _dict(self, wire: dict[Any, Wire]) -> dict[Any, object]:
        if not all_scalar(map(type, wire)):
            raise DecodeError("a map with keys that are not scalars")
        if not all_scalar(map(type, wire.values())):
            for key, part in wire.items():
                if type(part) in _NESTED:
                    wire[key] = self.value(part)
        return wire

    def _list(self, wire: list[Wire]) -> object:
        mark = wire[0]
        if type(mark) is Ext and mark.code in BUILDERS:
            return BUILDERS[mark.code](self, wire)
        self.parts(wire, 0)
        return wire

    def parts(self, wire: list[Wire], start: int = _AFTER_MARK) -> list[Any]:
        """Read the parts of a marked list in place; the mark stays where it is."""
        mark, wire[0] = wire[0], None if start else wire[0]
        if not all_scalar(map(type, wire)):
            for index in range(start, len(wire)):
                part = wire[index]
                if type(part) in _NESTED:
                    wire[index] = self.value(part)
        if start:
            wire[0] = mark
        return wire


def unknown_code(code: int) -> DecodeError:
    """The error for an extension code that this version does not know."""
    return DecodeError(f"unknown type code {code}: the value was stored by a newer version of durably, or is damaged")
