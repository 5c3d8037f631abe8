"""The table of classes that may be stored and read back.

Keyed by exact module and qualified name. It is filled by the program (decorators and `register`), never by
bytes: a stored name is only ever a key to look up in what the program has filled in before.
"""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from ..errors import DeclarationError, DecodeError
from .annotations import annotations_of, classes_in, field_annotations
from .base import Refusal, ValueWarning
from .builtin import set_factory_lookup
from .families import handwritten, is_data_class, shape_of
from .shapes import OBJECT, Shape, build_object
from .walk import BUILDERS, ENCODERS, FINDERS, LEARNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .walk import Encode, Reader

__all__ = ["Allowed", "allowed", "builder_of", "learn", "register"]

C = TypeVar("C", bound=type)


class Allowed(msgspec.Struct, frozen=True):
    """One row of the table: a class that may be stored, and why.

    Args:
        cls: the class.
        reason: ``"registered"``, ``"annotation of <function>"`` or ``"package <name>"``.
    """

    cls: type
    reason: str
    shape: Shape


class _Source(msgspec.Struct):
    """A function whose annotations have not all been read."""

    function: weakref.ref[Any] | None
    annotations: tuple[Any, ...]
    reason: str


_lock = threading.RLock()
_table: dict[str, Allowed] = {}
_sources: dict[str, _Source] = {}
_fresh: dict[str, _Source] = {}  # the part of `_sources` that has never been looked at
_scopes: dict[str, str] = {"durably.types": "durably"}  # module, or package with a dot at its end
_builders: dict[Any, Any] = {}
_BUILDERS_KEPT = 1000


# --- filling --------------------------------------------------------------------------------------


@overload
def register(cls: C, *, aliases: Iterable[str] = ()) -> C: ...
@overload
def register(cls: None = None, *, aliases: Iterable[str] = ()) -> Callable[[C], C]: ...
def register(cls: C | None = None, *, aliases: Iterable[str] = ()) -> C | Callable[[C], C]:
    """Allow a class to be stored and read back.

    Needed for classes that no annotation of a workflow or task names, and for those that define ``__new__``,
    ``__del__``, ``__setattr__``, ``__hash__`` or ``__eq__`` by hand: instances are still made without calling
    ``__new__`` or ``__init__``, but reading a set or dict of them calls the other two.

    Args:
        cls: the class; without it, the call gives a decorator.
        aliases: names under which instances were stored before the class was renamed or moved, as
            ``"module:qualname"``.

    Returns:
        The class, unchanged.

    Raises:
        DeclarationError: instances of the class cannot be stored.

    Example:
        >>> @register(aliases=["shop.old:Order"])
        ... class Order:
        ...     def __init__(self, number):
        ...         self.number = number
        >>> from durably.serde import TypedSerializer
        >>> serializer = TypedSerializer()
        >>> serializer.loads(serializer.dumps(Order(7))).number
        7
    """
    if cls is None:
        return lambda decorated: register(decorated, aliases=aliases)
    if not isinstance(cls, type):
        raise DeclarationError(f"register takes a class, not {cls!r}")
    if cls in ENCODERS:
        return cls
    shape = shape_of(cls)
    if shape is None:
        raise DeclarationError(
            f"instances of {cls.__module__}.{cls.__qualname__} cannot be stored: they have a built-in or C "
            f"base whose state cannot be seen; store a dict or dataclass with what makes them again"
        )
    row = Allowed(cls, "registered", shape)
    with _lock:
        for key in (shape.key, *aliases):
            _put(key, row)
    return cls


def learn(function: Any) -> None:
    """Allow the classes that the annotations of a function name, and those in their fields.

    Called where a function is declared. Only takes note: the annotations are read when a class is first
    looked for. A function declared again replaces its predecessor.

    Args:
        function: any function or callable with ``__annotations__``.
    """
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    module = getattr(function, "__module__", None) or "__main__"
    name = f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    try:
        annotations = tuple(annotations_of(function).values())
    except Exception:  # an annotation that cannot be evaluated is the program's business, not ours
        annotations = ()
    try:
        reference = weakref.ref(function)
    except TypeError:
        reference = None
    source = _Source(reference, annotations, f"annotation of {name}")
    with _lock:
        _scopes.setdefault(_scope(module), module.partition(".")[0])
        if annotations:
            _sources[name] = _fresh[name] = source


def _scope(module: str) -> str:
    """The module, or its top-level package with a dot where that is one that a single project owns."""
    top = module.partition(".")[0]
    package = sys.modules.get(top)
    is_package = hasattr(package, "__path__") and getattr(package, "__file__", None) is not None
    return f"{top}." if is_package and top != "__main__" else module


def _in_scope(module: str) -> str | None:
    for scope, package in _scopes.items():
        if module == scope or (scope[-1] == "." and (module + ".").startswith(scope)):
            return package
    return None


def _put(key: str, row: Allowed) -> None:
    old = _table.get(key)
    if old is not None and old.cls is not row.cls:
        LEARNED.pop(old.cls, None)
    elif old is not None and old.reason == "registered":
        return
    _table[key] = row
    _builders.clear()


def _read_sources(sources: Mapping[str, _Source]) -> None:
    """Put the classes of some sources into the table; forget the sources that were read completely."""
    for name, source in list(sources.items()):
        function = source.function() if source.function is not None else None
        outer = getattr(function, "__globals__", {})
        complete = True
        for annotation in source.annotations:
            found, known = classes_in(annotation, outer, _closure(function))
            complete = complete and known
            for cls in found:
                _adopt(cls, source.reason)
        if complete or (source.function is not None and function is None):
            _sources.pop(name, None)
    _fresh.clear()


def _closure(function: Any) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            pass
    return found


def _adopt(cls: type, reason: str) -> None:
    """Put a class and the classes of its fields into the table."""
    pending = [cls]
    while pending:
        cls = pending.pop()
        key = f"{cls.__module__}:{cls.__qualname__}"
        known = _table.get(key)
        if (known is not None and known.cls is cls) or cls in ENCODERS or not _can_be_adopted(cls):
            continue
        try:
            shape = shape_of(cls)
        except NameError:  # an annotation that only type checkers can resolve says nothing of the fields
            shape = None
        if shape is None:
            continue
        _put(key, Allowed(cls, reason, shape))
        for annotation, outer, inner in field_annotations(cls):
            pending.extend(classes_in(annotation, outer, inner)[0])


def _can_be_adopted(cls: type) -> bool:
    top = cls.__module__.partition(".")[0]
    if handwritten(cls):
        return False
    return is_data_class(cls) or not (top in sys.stdlib_module_names or _has_own_state(cls))


def _has_own_state(cls: type) -> bool:
    """Whether a plain class says by itself what its state is, so that attributes are not all of it."""
    names = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__")
    return any(name in vars(base) for base in cls.__mro__[:-1] for name in names)


def allowed() -> dict[str, Allowed]:
    """The table of classes that may be stored and read back, by ``module:qualname``.

    Returns:
        A copy: changing it allows nothing.
    """
    with _lock:
        _read_sources(_sources)
        return dict(_table)


# --- writing --------------------------------------------------------------------------------------


def _find(cls: type) -> Encode | None:
    if issubclass(cls, BaseException):
        return None
    with _lock:
        found = LEARNED[cls] = _row_for(cls).shape.encode
    return found


def _row_for(cls: type) -> Allowed:
    """The row of a class that is written; puts it into the table where its package is enough."""
    key = f"{cls.__module__}:{cls.__qualname__}"
    _read_sources(_fresh)
    row = _table.get(key)
    if row is None or row.cls is not cls:
        _read_sources(_sources)
        row = _table.get(key)
    if row is not None and row.cls is cls:
        return row
    package = _in_scope(cls.__module__)
    trusted = package == "durably" or _is_message(cls)
    if not trusted and (package is None or not is_data_class(cls) or handwritten(cls)):
        raise Refusal(_how_to_allow(cls))
    _adopt(cls, f"package {package}")
    row = _table.get(key)
    if row is None or row.cls is not cls:
        raise Refusal(_how_to_allow(cls))
    if not trusted:
        warnings.warn(
            f"{key} is stored although no annotation names it: name it in the annotations of a task or "
            f"workflow, or allow it with durably.serde.register({cls.__name__})",
            ValueWarning,
            stacklevel=2,
        )
    return row


def _how_to_allow(cls: type) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if shape_of(cls) is None:
        return f"a value of type {name} has no stored form; store plain data or a dataclass with what makes it"
    by_hand = handwritten(cls)
    if by_hand:
        methods = ", ".join(by_hand)
        return f"{name} defines {methods} by hand; allow it with durably.serde.register({cls.__name__})"
    return (
        f"{name} is not allowed; name it in the annotations of a task or workflow, or allow it with "
        f"durably.serde.register({cls.__name__})"
    )


_MESSAGES = "langchain_core.messages"


def _is_message(cls: type) -> bool:
    module = sys.modules.get(_MESSAGES)
    return module is not None and getattr(module, cls.__name__, None) is cls


# --- reading --------------------------------------------------------------------------------------


def _row_named(key: str) -> Allowed:
    if _fresh:
        with _lock:
            _read_sources(_fresh)
    row = _table.get(key)
    if row is None:
        with _lock:
            _read_sources(_sources)
            _scan_scopes()
            _know_messages(key)
            row = _table.get(key)
    if row is None:
        module, _, name = key.partition(":")
        raise DecodeError(
            f"the class {name} of module {module} is not known here: import the module that defines it and "
            f"name the class in an annotation, or allow it with durably.serde.register("
            f"{name.rpartition('.')[2]}); after a rename, register the new class with aliases=[{key!r}]"
        )
    return row


def _scan_scopes() -> None:
    """Put the data classes of the loaded modules of the program's packages into the table."""
    for name, module in list(sys.modules.items()):
        package = _in_scope(name)
        if package is None or module is None:
            continue
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == name and is_data_class(value):
                _adopt(value, f"package {package}")


def _know_messages(key: str) -> None:
    if not key.startswith(_MESSAGES + "."):
        return
    try:
        import langchain_core.messages as messages
    except ImportError:
        return
    for value in [getattr(messages, name) for name in messages.__all__]:
        if isinstance(value, type) and is_data_class(value):
            _adopt(value, "LangChain messages")


def builder_of(entry: Any) -> Callable[[Reader, list[Any]], object]:
    """What makes objects of one class entry of a payload: ``[key, names, declared]``."""
    if _fresh:
        with _lock:
            _read_sources(_fresh)
    cache_key = (entry[0], tuple(entry[1]), entry[2])
    found = _builders.get(cache_key)
    if found is None:
        if not all(type(part) is str for part in (entry[0], *entry[1])) or type(entry[2]) is not int:
            raise DecodeError("a damaged class entry")
        shape = _row_named(entry[0]).shape
        build = shape.builder(cache_key[1], entry[2])
        _warn_of_changes(shape, cache_key[1][: entry[2]])
        found = lambda reader, wire: build(wire[1:])  # noqa: E731
        if len(_builders) >= _BUILDERS_KEPT:
            _builders.clear()
        _builders[cache_key] = found
    return found


def _warn_of_changes(shape: Shape, stored: tuple[str, ...]) -> None:
    if shape.fields == stored or not stored:
        return
    gone = [name for name in stored if name not in shape.fields]
    added = [name for name in shape.fields if name not in stored]
    if gone or added:
        parts = (("fields it no longer has: " + ", ".join(gone)) if gone else "") + ("; " if gone and added else "")
        parts += ("without its new fields: " + ", ".join(added)) if added else ""
        warnings.warn(f"{shape.key} was stored with {parts}", ValueWarning, stacklevel=2)


def _name_factory(factory: object) -> str | None:
    if not isinstance(factory, type):
        return None
    try:
        with _lock:
            return _row_for(factory).shape.key
    except Refusal:
        return None


FINDERS.append(_find)
BUILDERS[OBJECT] = build_object
set_factory_lookup(_name_factory, lambda key: _row_named(key).cls)
