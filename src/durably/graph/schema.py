"""What a graph's state consists of: keys, how their updates are merged, and the shapes in which nodes see them."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..errors import DeclarationError, InvalidUpdateError
from ..types import MISSING, Overwrite

__all__ = ["Key", "Schema", "State", "Values", "update_from"]

Values = Mapping[str, Any]
"""The state of a graph: the keys that have a value."""

Reducer = Callable[[Any, Any], Any]

WRAPPERS: Final = frozenset((typing.Required, typing.NotRequired))
EMPTY: Final[dict[Any, Any]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}
"""What a merged key of an abstract type begins with."""


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of a state.

    Args:
        name: its name.
        annotation: its type.
        reducer: merges an update into the value; None where an update takes the value's place.
    """

    name: str
    annotation: Any
    reducer: Reducer | None

    def initial(self) -> Any:
        """What a merged key begins with: what its type gives without arguments, `MISSING` where that is nothing."""
        if self.reducer is None:
            return MISSING
        kind = typing.get_origin(self.annotation) or self.annotation
        try:
            return EMPTY.get(kind, kind)()
        except Exception:
            return MISSING

    def merged(self, value: Any, updates: list[tuple[str, Any]]) -> Any:
        """The value after one step.

        Args:
            value: before it, `MISSING` where there is none.
            updates: each with the node it comes from, in the order in which they apply.

        Raises:
            InvalidUpdateError: several updates, of which only one can count.
        """
        replacing = [(node, update.value) for node, update in updates if isinstance(update, Overwrite)]
        if len(replacing) > 1 or (self.reducer is None and len(updates) > 1):
            nodes = ", ".join(repr(node) for node, _ in replacing or updates)
            what = "Overwrite values" if replacing else "values"
            raise InvalidUpdateError(
                f"state key {self.name!r} got several {what} in one step, from {nodes}, and can take one. Let one node write "
                f"it, or say how to merge: {self.name}: Annotated[..., reducer]"
            )
        if replacing:
            return replacing[0][1]
        if self.reducer is None:
            return updates[0][1]
        for _, update in updates:
            value = update if value is MISSING else self.reducer(value, update)
        return value


class Schema:
    """A shape of the state: a TypedDict, a dataclass or a pydantic model.

    Args:
        shape: the class.

    Raises:
        DeclarationError: it has no fields.
    """

    __slots__ = ("_is_dict", "keys", "shape")

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        self._is_dict = _is_typeddict(shape)
        self.keys = {name: _key(name, annotation) for name, annotation in _hints(shape).items()}

    def __repr__(self) -> str:
        return getattr(self.shape, "__name__", repr(self.shape))

    def view(self, values: Values) -> Any:
        """The state in this shape: what a node gets.

        Raises:
            Exception: whatever the class raises where the values do not fit.
        """
        present = {name: values[name] for name in self.keys if name in values}
        return present if self._is_dict else self.shape(**present)

    def check(self, update: Values) -> None:
        """See that an input fits, where the class checks values.

        Raises:
            Exception: whatever a pydantic model raises.
        """
        if hasattr(self.shape, "model_validate"):
            self.shape.model_validate({name: update[name] for name in self.keys if name in update})


def is_shape(kind: Any) -> bool:
    """Whether a class can be the shape of a state."""
    return isinstance(kind, type) and (
        _is_typeddict(kind) or dataclasses.is_dataclass(kind) or hasattr(kind, "model_fields")
    )


def _is_typeddict(kind: Any) -> bool:
    """Whether a class is a TypedDict, that of ``typing_extensions`` included."""
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _hints(shape: Any) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    if is_shape(shape):
        try:
            hints = typing.get_type_hints(shape, include_extras=True)
        except NameError as error:
            raise DeclarationError(f"the annotations of {shape.__name__} cannot be read: {error}") from error
        if dataclasses.is_dataclass(shape):
            hints = {field.name: hints[field.name] for field in dataclasses.fields(shape)}
        elif hasattr(shape, "model_fields"):
            hints = {name: hints[name] for name in shape.model_fields}
    if not hints:
        raise DeclarationError(
            f"{shape!r} cannot be a state: give a TypedDict, dataclass or pydantic model with fields"
        )
    return hints


def _key(name: str, annotation: Any) -> Key:
    while typing.get_origin(annotation) in WRAPPERS:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *extras = typing.get_args(annotation)
        return Key(name, kind, next((extra for extra in reversed(extras) if _is_reducer(extra)), None))
    return Key(name, annotation, None)


def _is_reducer(extra: Any) -> bool:
    if not callable(extra) or isinstance(extra, type):
        return False
    try:
        inspect.signature(extra).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return True


class State:
    """Everything that a graph keeps: the keys of all the shapes in which anybody sees it."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}

    def add(self, schema: Schema) -> None:
        """Keep the keys of a shape, too.

        Raises:
            DeclarationError: a key is merged in another way than an earlier shape says.
        """
        for name, key in schema.keys.items():
            known = self.keys.get(name)
            if known is not None and known.reducer and key.reducer and not _is_same(known.reducer, key.reducer):
                raise DeclarationError(f"state key {name!r} of {schema!r} has another reducer than in another schema")
            if known is None or known.reducer is None:
                self.keys[name] = key

    def initial(self) -> dict[str, Any]:
        """How every thread begins."""
        values = {name: key.initial() for name, key in self.keys.items() if key.reducer is not None}
        return {name: value for name, value in values.items() if value is not MISSING}

    def updated(self, values: Values, updates: Iterable[tuple[str, Values]]) -> dict[str, Any]:
        """The state after one step.

        Args:
            values: the state before it.
            updates: each with the node it comes from, in the order in which they apply.
        """
        by_key: dict[str, list[tuple[str, Any]]] = {}
        for node, update in updates:
            for name, value in update.items():
                by_key.setdefault(name, []).append((node, value))
        after = dict(values)
        for name, changes in by_key.items():
            after[name] = self.keys[name].merged(values.get(name, MISSING), changes)
        return {name: after[name] for name in self.keys if name in after}

    def known(self, update: Values, where: str) -> dict[str, Any]:
        """The part of an update that the state has keys for.

        Raises:
            InvalidUpdateError: that is nothing of it.
        """
        known = {name: value for name, value in update.items() if name in self.keys}
        if update and not known:
            raise InvalidUpdateError(
                f"{where} wrote {', '.join(map(repr, update))}, and the state has only the keys {', '.join(self.keys)}"
            )
        return known


def _is_same(one: Reducer, other: Reducer) -> bool:
    """Whether two reducers are one; that in an annotation which is a string is made anew whenever it is read."""
    code = getattr(one, "__code__", None)
    return one == other or (code is not None and code == getattr(other, "__code__", None))


def update_from(value: Any, where: str) -> Values:
    """An update as a dict: of a dataclass or model, its fields.

    Raises:
        InvalidUpdateError: the value is no update.
    """
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:
        return {name: getattr(value, name) for name in fields if _counts(value, name, fields[name])}
    if isinstance(value, (list, tuple)) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return dict(value)
    raise InvalidUpdateError(f"{where} gave {value!r:.200}: give a dict of the state's keys, a Command, or None")


def _counts(model: Any, name: str, field: Any) -> bool:
    """Whether a field of a model was given, or says something by its default."""
    return name in model.model_fields_set or getattr(model, name) is not None or field.default is not None
