"""Exceptions as values.

An exception class needs no entry in the table: it is found among the exception classes that the program
has loaded. The object is made by the ``__new__`` and ``__init__`` of its built-in base, which are C
code; none of its own class's code runs.
"""

from __future__ import annotations

import threading
import types
import weakref
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError
from .base import Refusal
from .shapes import HEAP_TYPE, dict_of, slots_of
from .walk import BUILDERS, FINDERS, Ext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .walk import Encode, Reader, Wire, Writer

__all__ = ["class_key", "find_exception_class"]

_EXCEPTION = 0x41
_MARK = Ext(_EXCEPTION, b"")
_MAX_CHAIN = 20
_PARTS = 6
# Attributes of built-in exceptions that their arguments do not hold.
_MEMBERS: dict[type, tuple[str, ...]] = {
    ImportError: ("name", "path"),
    AttributeError: ("name",),
    NameError: ("name",),
}
_loaded: weakref.WeakValueDictionary[str, type[BaseException]] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def class_key(cls: type) -> str:
    """``module:qualname``, read without asking a metaclass."""
    module = vars(cls).get("__module__")
    return f"{module if type(module) is str else 'builtins'}:{type.__dict__['__qualname__'].__get__(cls)}"


def find_exception_class(key: str) -> type[BaseException] | None:
    """The exception class of that name which the program has loaded, the newest if there are several."""
    with _lock:
        found = _loaded.get(key)
        # A class inside a function is made anew each time the function runs.
        if found is None or "<locals>" in key:
            _loaded.update((class_key(cls), cls) for cls in _subclasses())
            found = _loaded.get(key)
        return found


def _subclasses() -> Iterator[type[BaseException]]:
    seen: set[type] = set()
    pending: list[type[BaseException]] = [BaseException]
    while pending:
        cls = pending.pop(0)
        if cls not in seen:
            seen.add(cls)
            pending.extend(type.__subclasses__(cls))
            yield cls


def _built_in_base(cls: type) -> type[BaseException]:
    base = cls
    while base.__flags__ & HEAP_TYPE and base.__base__ is not None:
        base = base.__base__
    return base


def _find(kind: type) -> Encode | None:
    return _encode if issubclass(kind, BaseException) else None


def _encode(writer: Writer, value: BaseException) -> Wire:
    cls = type(value)
    key = class_key(cls)
    with _lock:
        _loaded[key] = cls
    # An OSError moves the file name out of its args.
    args = OSError.__reduce__(value)[1] if isinstance(value, OSError) else value.args
    try:
        arguments = writer.items(args)
    except Refusal as refusal:
        raise refusal.under(".args")
    depth = writer.chain
    writer.chain += 1
    try:
        cause, context = (
            None if linked is None or depth >= _MAX_CHAIN else _if_storable(writer, linked)
            for linked in (value.__cause__, value.__context__)
        )
    finally:
        writer.chain = depth
    return [_MARK, key, arguments, _state(writer, value), cause, context, value.__suppress_context__]


def _state(writer: Writer, value: BaseException) -> dict[str, Wire]:
    """The attributes that can be stored; the others are left out."""
    cls = type(value)
    found: dict[str, Any] = {}
    for base, names in _MEMBERS.items():
        if isinstance(value, base):
            found |= {name: getattr(value, name, None) for name in names}
    for name, slot in slots_of(cls).items():
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            pass
    get = dict_of(cls)
    if get is not None:
        found |= get(value)
    wires = {name: _if_storable(writer, attribute, _UNSTORABLE) for name, attribute in found.items()}
    return {name: wire for name, wire in wires.items() if wire is not _UNSTORABLE and type(name) is str}


_UNSTORABLE = object()


def _if_storable(writer: Writer, value: object, otherwise: object = None) -> Wire:
    try:
        return writer.wire(value)
    except Refusal:
        return otherwise


def _build(reader: Reader, wire: list[Wire]) -> BaseException:
    if len(wire) != _PARTS + 1:
        raise DecodeError("a damaged exception")
    key, args, state, cause, context, suppress = reader.parts(wire)[1:]
    cls = find_exception_class(key) if type(key) is str else None
    if cls is None:
        raise DecodeError(f"the exception class {key} is not loaded: import the module that defines it")
    if type(args) is not list or type(state) is not dict:
        raise DecodeError("a damaged exception")
    made = _make(cls, args)
    _restore(made, state)
    for name, linked in (("__cause__", cause), ("__context__", context)):
        if isinstance(linked, BaseException):
            _base_member(name).__set__(made, linked)
    _base_member("__suppress_context__").__set__(made, suppress is True)
    return made


def _base_member(name: str) -> Any:
    return vars(BaseException)[name]


def _make(cls: type[BaseException], args: list[Any]) -> BaseException:
    if any("__del__" in vars(base) for base in cls.__mro__):
        raise DecodeError(f"the exception class {class_key(cls)} defines __del__, which reading would run")
    base = _built_in_base(cls)
    try:
        made = base.__new__(cls, *args)
        base.__init__(made, *args)
    except Exception:
        # The class gives its base other arguments than it shows in `args`.
        made = base.__new__(cls)
    if not issubclass(base, OSError):
        _base_member("args").__set__(made, tuple(args))
    return made


def _restore(made: BaseException, state: dict[str, Any]) -> None:
    cls = type(made)
    slots, get = slots_of(cls), dict_of(cls)
    attributes = get(made) if get is not None else {}
    for name, value in state.items():
        if type(name) is not str:
            raise DecodeError("a damaged exception")
        if name in slots:
            slots[name].__set__(made, value)
            continue
        member = next((vars(b)[name] for b, names in _MEMBERS.items() if name in names and isinstance(made, b)), None)
        if isinstance(member, types.MemberDescriptorType):
            member.__set__(made, value)
        else:
            attributes[name] = value


FINDERS.insert(0, _find)
BUILDERS[_EXCEPTION] = _build
