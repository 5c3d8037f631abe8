"""How objects of each family of classes are taken apart and put together without running their code.

Reading makes the object with the ``__new__`` of its built-in base and fills the instance dict or the slots
directly.
"""

from __future__ import annotations

import enum
import functools
import types
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import DecodeError
from .base import Refusal
from .walk import ABSENT, Ext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .walk import Reader, Wire, Writer

    Build = Callable[[Sequence[Any]], object]

__all__ = [
    "HEAP_TYPE",
    "MISSING",
    "OBJECT",
    "Instance",
    "Member",
    "Model",
    "Record",
    "Shape",
    "Tuple",
    "build_object",
    "dict_of",
    "member_of",
    "slots_of",
]

OBJECT = 0x40
HEAP_TYPE = 1 << 9
"""The flag of classes that a Python program (or a module at run time) has made."""
MISSING = object()
"""Says that a field has no default that can be used without running the program's code."""

_SAFE_FACTORIES = frozenset({list, dict, set, frozenset, tuple, bytearray, str, bytes, int, float, bool})
_ENTRIES_KEPT = 100
_set_class = vars(object)["__class__"].__set__


class Shape(msgspec.Struct, frozen=True):
    """One class that can be stored, and what is known about its fields.

    Args:
        cls: the class.
        fields: the names of its declared fields, in order.
        defaults: for fields that have one, the default or its factory, as ``(value, is_factory)``.
    """

    cls: type
    fields: tuple[str, ...] = ()
    defaults: dict[str, tuple[Any, bool]] = msgspec.field(default_factory=dict)
    entries: dict[tuple[str, ...], tuple[Any, ...]] = msgspec.field(default_factory=dict)

    @property
    def key(self) -> str:
        """``module:qualname``, under which the class is stored."""
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    def entry(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        """What a payload says of the class: ``(key, names of the values, how many of them are fields)``."""
        known = self.entries.get(names)
        if known is None:
            if len(self.entries) >= _ENTRIES_KEPT:
                self.entries.clear()
            known = self.entries[names] = (self.key, names, sum(name in self.fields for name in names))
        return known

    def encode(self, writer: Writer, value: Any) -> Wire:
        """The wire form of an instance."""
        raise NotImplementedError

    def builder(self, names: tuple[str, ...], declared: int) -> Build:
        """A function that makes an instance from the values of ``names``, of which the first were fields."""
        raise NotImplementedError

    def default(self, name: str) -> Any:
        """The default of a field that was stored before the field existed, or `MISSING`."""
        value, is_factory = self.defaults.get(name, (MISSING, False))
        if is_factory:
            return value() if value in _SAFE_FACTORIES else MISSING
        return type(value)(value) if type(value) in (list, dict, set) else value


class Instance(Shape, frozen=True):
    """Dataclasses, attrs classes and plain classes: an instance dict, slots, or both."""

    slots: dict[str, Any] = msgspec.field(default_factory=dict)
    to_dict: Callable[[object], dict[str, Any]] | None = None

    def encode(self, writer: Writer, value: Any) -> Wire:
        attributes = {} if self.to_dict is None else dict(self.to_dict(value))
        for name, slot in self.slots.items():
            try:
                attributes[name] = slot.__get__(value)
            except AttributeError:
                pass
        names = tuple(attributes)
        if names != self.fields:
            extra = [name for name in names if name not in self.fields and not _is_cached(self.cls, name)]
            names = (*self.fields, *extra)
        mark = writer.mark(OBJECT, self.entry(names))
        return writer.fields(mark, names, [attributes.get(name, ABSENT) for name in names])

    def builder(self, names: tuple[str, ...], declared: int) -> Build:
        slots, new, cls = self.slots, object.__new__, self.cls
        gone = set(names[:declared]).difference(self.fields)
        added = [(name, self.default(name)) for name in self.fields if name not in names]
        to_dict = self.to_dict
        by_slot = [(index, slots[name].__set__) for index, name in enumerate(names) if name in slots]
        by_dict = [(i, name) for i, name in enumerate(names) if name not in slots and name not in gone]
        if by_dict and to_dict is None:
            raise DecodeError(f"{self.key} has no attribute {by_dict[0][1]!r} any more")

        def build(values: Sequence[Any]) -> object:
            made: object = new(cls)
            for index, put in by_slot:
                if values[index] is not ABSENT:
                    put(made, values[index])
            if to_dict is not None:
                attributes = to_dict(made)
                for index, name in by_dict:
                    if values[index] is not ABSENT:
                        attributes[name] = values[index]
            for name, _ in added:
                self._put_default(made, name)
            return made

        return build

    def _put_default(self, made: object, name: str) -> None:
        value = self.default(name)
        if value is MISSING:
            return
        slot = self.slots.get(name)
        if slot is not None:
            slot.__set__(made, value)
        else:
            self.to_dict(made)[name] = value  # type: ignore[misc]


class Member(Shape, frozen=True):
    """Enums: by the member's name; combined flags by their value."""

    def encode(self, writer: Writer, value: Any) -> Wire:
        mark = writer.mark(OBJECT, self.entry(()))
        name = value._name_
        if type(name) is str and self.cls._member_map_.get(name) is value:  # type: ignore[attr-defined]
            return [mark, name]
        if isinstance(value, enum.Flag):
            return [mark, writer.wire(value._value_)]
        raise Refusal(f"{self.key} has no member with the name of this one; store its value instead")

    def builder(self, names: tuple[str, ...], declared: int) -> Build:
        members: dict[str, object] = vars(self.cls)["_member_map_"]

        def build(values: Sequence[Any]) -> object:
            (name,) = values
            if type(name) is str:
                if name not in members:
                    raise DecodeError(f"{self.key} has no member {name!r} any more")
                return members[name]
            return self._combined(name)

        return build

    def _combined(self, value: object) -> object:
        known = vars(self.cls)["_value2member_map_"]
        if type(value) is not int or not issubclass(self.cls, enum.Flag):
            raise DecodeError(f"a member of {self.key} is stored without its name")
        # The standard library's own rule, whatever `_missing_` the class may define.
        return known[value] if value in known else vars(enum.Flag)["_missing_"].__func__(self.cls, value)


class Tuple(Shape, frozen=True):
    """Named tuples."""

    def encode(self, writer: Writer, value: Any) -> Wire:
        mark = writer.mark(OBJECT, self.entry(self.fields))
        return writer.fields(mark, self.fields, list(tuple.__iter__(value)))

    def builder(self, names: tuple[str, ...], declared: int) -> Build:
        cls, fields = self.cls, self.fields
        if names == fields:
            return lambda values: tuple.__new__(cls, values)

        def build(values: Sequence[Any]) -> object:
            stored = dict(zip(names, values, strict=True))
            return tuple.__new__(cls, [_or_default(self, name, stored) for name in fields])

        return build


class Record(Shape, frozen=True):
    """msgspec structs. The class ``quiet`` is the struct without its ``__post_init__``."""

    quiet: type | None = None

    def encode(self, writer: Writer, value: Any) -> Wire:
        mark = writer.mark(OBJECT, self.entry(self.fields))
        return writer.fields(mark, self.fields, [getattr(value, name, ABSENT) for name in self.fields])

    def builder(self, names: tuple[str, ...], declared: int) -> Build:
        fields = self.fields
        make = self.quiet or self.cls

        def build(values: Sequence[Any]) -> object:
            stored = dict(zip(names, values, strict=True))
            made = make(**{name: _or_default(self, name, stored) for name in fields})
            if make is not self.cls:
                _set_class(made, self.cls)
            return made

        return build


class Model(Shape, frozen=True):
    """pydantic models: the fields, then the set of given fields, extras, and private attributes."""

    is_message: bool = False

    def encode(self, writer: Writer, value: Any) -> Wire:
        attributes = dict_of(self.cls)(value)  # type: ignore[misc]
        names = self.fields
        if self.is_message and not writer.message_ids:
            names = tuple(name for name in names if name != "id")
        mark = writer.mark(OBJECT, self.entry(names))
        wires = writer.fields(mark, names, [attributes.get(name, ABSENT) for name in names])
        given = getattr(value, "__pydantic_fields_set__", None) or ()
        wires.append(sorted(name for name in given if name in names or writer.message_ids))
        for part in ("__pydantic_extra__", "__pydantic_private__"):
            content = getattr(value, part, None)
            wires.append(None if content is None else writer.fields(mark, (part,), [content])[1])
        return wires

    def builder(self, names: tuple[str, ...], declared: int) -> Build:
        cls = self.cls
        to_dict = dict_of(cls)
        gone = set(names).difference(self.fields)
        added = [name for name in self.fields if name not in names]
        put_set, put_extra, put_private = (
            member_of(cls, f"__pydantic_{part}__").__set__ for part in ("fields_set", "extra", "private")
        )

        def build(values: Sequence[Any]) -> object:
            *stored, given, extra, private = values
            if not all(part is None or type(part) is dict for part in (extra, private)):
                raise DecodeError("a damaged model")
            made: object = object.__new__(cls)
            attributes = to_dict(made)  # type: ignore[misc]
            for name, value in zip(names, stored, strict=True):
                if value is not ABSENT and name not in gone:
                    attributes[name] = value
            for name in added:
                value = self.default(name)
                if value is not MISSING:
                    attributes[name] = value
            put_set(made, set(given) - gone)
            put_extra(made, extra)
            put_private(made, private)
            return made

        return build


def _or_default(shape: Shape, name: str, stored: dict[str, Any]) -> Any:
    value = stored.get(name, ABSENT)
    if value is ABSENT:
        value = shape.default(name)
        if value is MISSING:
            raise DecodeError(f"{shape.key} has a new field {name!r} without a plain default: give it one")
    return value


def build_object(reader: Reader, wire: list[Wire]) -> object:
    """Make the object of a list that starts with an object's mark."""
    index = int.from_bytes(wire[0].data)
    if index >= len(reader.classes):
        raise DecodeError("an object of a class that the payload does not name")
    for position in range(1, len(wire)):
        part = wire[position]
        if type(part) is Ext and part.code == ABSENT.code:
            wire[position] = ABSENT
        else:
            wire[position] = reader.value(part)
    return reader.classes[index](reader, wire)


def member_of(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return None


def dict_of(cls: type) -> Callable[[object], dict[str, Any]] | None:
    found = member_of(cls, "__dict__")
    return found.__get__ if isinstance(found, types.GetSetDescriptorType) else None


def _is_cached(cls: type, name: str) -> bool:
    return isinstance(member_of(cls, name), functools.cached_property)


def slots_of(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__flags__ & HEAP_TYPE:
            found.update((n, m) for n, m in vars(base).items() if isinstance(m, types.MemberDescriptorType))
    return found
