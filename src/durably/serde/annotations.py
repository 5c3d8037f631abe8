"""The classes that annotations name."""

from __future__ import annotations

import sys
import types
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TYPING = frozenset({"typing", "types", "typing_extensions", "annotationlib"})

__all__ = ["annotations_of", "classes_in", "field_annotations", "resolve"]


def annotations_of(holder: Any) -> dict[str, Any]:
    """The annotations of a function or class itself, as far as they can be had without an error."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(holder, format=annotationlib.Format.FORWARDREF)
    found = vars(holder).get("__annotations__") if isinstance(holder, type) else holder.__annotations__
    return found or {}


def field_annotations(cls: type) -> Iterator[tuple[Any, Mapping[str, Any], Mapping[str, Any]]]:
    """Every annotation of the class and its bases, with the names it may use."""
    for base in cls.__mro__:
        module = sys.modules.get(base.__module__)
        if base is object or module is None:
            continue
        for annotation in annotations_of(base).values():
            yield annotation, vars(module), {**vars(base), base.__name__: base}


class _Lenient(dict[str, Any]):
    """Names for one evaluation; counts those that are not known yet, for which `typing.Any` stands in."""

    unknown = 0

    def __init__(self, outer: Mapping[str, Any], inner: Mapping[str, Any]) -> None:
        super().__init__(inner)
        self.outer = outer

    def __missing__(self, name: str) -> Any:
        if name in self.outer:
            return self.outer[name]
        builtins = vars(sys.modules["builtins"])
        if name in builtins:
            return builtins[name]
        self.unknown += 1
        return typing.Any


def resolve(annotation: Any, outer: Mapping[str, Any], inner: Mapping[str, Any]) -> tuple[Any, bool]:
    """An annotation with its strings evaluated, and whether every name in it was known."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation, True
    names = _Lenient(outer, inner)
    try:
        # The text stands in the program, not in stored bytes.
        return eval(annotation, {}, names), not names.unknown
    except Exception:
        return None, False


def classes_in(annotation: Any, outer: Mapping[str, Any], inner: Mapping[str, Any]) -> tuple[list[type], bool]:
    """All classes that an annotation names, inside unions, generics and aliases too; were all known?"""
    found: list[type] = []
    complete = True
    pending, seen = [annotation], set[int]()
    kept: list[Any] = []  # keeps the ids in `seen` from being used again
    while pending:
        part, known = resolve(pending.pop(), outer, inner)
        complete = complete and known
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept.append(part)
        if type(part) is not types.GenericAlias and isinstance(part, type):
            found.append(part)
        pending.extend(_inside(part))
    return found, complete


def _inside(part: Any) -> Iterator[Any]:
    if typing.get_origin(part) is typing.Literal:
        yield from (type(member) for member in typing.get_args(part))
        return
    if typing.is_typeddict(part):
        yield from annotations_of(part).values()
    origin = typing.get_origin(part)
    if origin is not None:
        yield origin
        for argument in typing.get_args(part):
            if isinstance(argument, list):
                yield from argument
            elif (
                isinstance(argument, (type, str))
                or typing.get_origin(argument) is not None
                or type(argument).__module__ in _TYPING
            ):
                yield argument
    if isinstance(part, typing.TypeVar):
        yield from (part.__bound__, *part.__constraints__)
    for attribute in ("__supertype__", "__value__"):  # NewType, and aliases made by `type`
        if type(part).__module__ in _TYPING and hasattr(part, attribute):
            yield getattr(part, attribute)
