"""Which family a class belongs to, and what its fields are."""

from __future__ import annotations

import enum
import sys
import types
from typing import TYPE_CHECKING, Any

import msgspec

from .shapes import (
    HEAP_TYPE,
    MISSING,
    Instance,
    Member,
    Model,
    Record,
    Shape,
    Tuple,
    dict_of,
    member_of,
    slots_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["handwritten", "is_data_class", "shape_of"]


def _layout_bases(cls: type) -> list[type]:
    """The built-in types other than object that the class inherits its layout from."""
    return [base for base in cls.__mro__ if base is not object and not base.__flags__ & HEAP_TYPE]


def _pydantic_base() -> type | None:
    module = sys.modules.get("pydantic.main")
    return getattr(module, "BaseModel", None)


def _message_base() -> type | None:
    module = sys.modules.get("langchain_core.messages.base")
    return getattr(module, "BaseMessage", None)


def is_data_class(cls: type) -> bool:
    """Whether the class only holds data: a dataclass, named tuple, enum, model, struct or attrs class."""
    if issubclass(cls, BaseException):
        return False
    base = _pydantic_base()
    return (
        issubclass(cls, (enum.Enum, msgspec.Struct))
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or (base is not None and issubclass(cls, base))
        or "__attrs_attrs__" in dir(cls)
        or "__dataclass_fields__" in dir(cls)
    )


def shape_of(cls: type) -> Shape | None:
    """How instances of the class are stored, or None where they cannot be."""
    if issubclass(cls, BaseException):
        return None
    if issubclass(cls, enum.Enum):
        return Member(cls)
    if issubclass(cls, tuple):
        return _tuple_shape(cls)
    if issubclass(cls, msgspec.Struct):
        return _record_shape(cls)
    model = _pydantic_base()
    if model is not None and issubclass(cls, model):
        return _model_shape(cls)
    if cls is object or _layout_bases(cls):
        return None
    return _instance_shape(cls)


def _tuple_shape(cls: type) -> Shape | None:
    fields = getattr(cls, "_fields", None)
    if fields is None:
        return None
    defaults = getattr(cls, "_field_defaults", {})
    return Tuple(cls, tuple(fields), {name: (value, False) for name, value in defaults.items()})


def _record_shape(cls: Any) -> Shape | None:
    hooked = member_of(cls, "__post_init__") is not None
    # Both would run when objects are made, or when the class without its hook is.
    if type(cls) is not type(msgspec.Struct) or (
        hooked and any("__init_subclass__" in vars(b) for b in cls.__mro__[:-1])
    ):
        return None
    defaults: dict[str, tuple[Any, bool]] = {}
    for field in msgspec.structs.fields(cls):
        if field.default is not msgspec.NODEFAULT:
            defaults[field.name] = (field.default, False)
        elif field.default_factory is not msgspec.NODEFAULT:
            defaults[field.name] = (field.default_factory, True)
    quiet = None
    if hooked:
        # A subclass that adds nothing has the same layout: its instances can be given the class itself.
        namespace = {"__post_init__": lambda self: None, "__module__": cls.__module__}
        meta: Any = type(cls)
        quiet = meta(cls.__name__, (cls,), namespace)
    return Record(cls, tuple(cls.__struct_fields__), defaults, quiet=quiet)


def _model_shape(cls: Any) -> Shape:
    defaults: dict[str, tuple[Any, bool]] = {}
    for name, field in cls.__pydantic_fields__.items():
        if field.default_factory is not None:
            defaults[name] = (field.default_factory, True)
        elif not field.is_required():
            defaults[name] = (field.default, False)
    base = _message_base()
    is_message = base is not None and issubclass(cls, base)
    return Model(cls, tuple(cls.__pydantic_fields__), defaults, is_message=is_message)


def _instance_shape(cls: Any) -> Shape:
    fields: Iterable[tuple[str, Any, Any]] = ()
    defaults: dict[str, tuple[Any, bool]] = {}
    if "__dataclass_fields__" in dir(cls):
        fields = _dataclass_fields(cls)
    elif "__attrs_attrs__" in dir(cls):
        fields = _attrs_fields(cls)
    for name, default, factory in fields:
        if factory is not MISSING:
            defaults[name] = (factory, True)
        elif default is not MISSING:
            defaults[name] = (default, False)
    names = tuple(name for name, _, _ in fields)
    return Instance(cls, names, defaults, slots=slots_of(cls), to_dict=dict_of(cls))


def _dataclass_fields(cls: Any) -> list[tuple[str, Any, Any]]:
    import dataclasses

    unset = dataclasses.MISSING
    return [
        (
            field.name,
            MISSING if field.default is unset else field.default,
            MISSING if field.default_factory is unset else field.default_factory,
        )
        for field in dataclasses.fields(cls)
    ]


def _attrs_fields(cls: Any) -> list[tuple[str, Any, Any]]:
    found = []
    for field in cls.__attrs_attrs__:
        # attrs says "a factory" with a default that has the factory inside, and "no default" with NOTHING.
        if type(field.default).__name__ == "_Nothing":
            found.append((field.name, MISSING, MISSING))
        elif hasattr(field.default, "factory"):
            takes_self = field.default.takes_self
            found.append((field.name, MISSING, MISSING if takes_self else field.default.factory))
        else:
            found.append((field.name, field.default, MISSING))
    return found


_DANGEROUS = ("__new__", "__new_member__", "__del__", "__setattr__", "__hash__", "__eq__")
_GENERATED = ("<string>", "<attrs generated")
_TRUSTED = frozenset(
    {
        "builtins",
        "typing",
        "abc",
        "enum",
        "collections",
        "pydantic",
        "msgspec",
        "attr",
        "attrs",
        "langchain_core",
    }
)


def handwritten(cls: type) -> list[str]:
    """The methods that reading could run, and that the class or a base of it defines by hand."""
    return [name for base in cls.__mro__ for name in _DANGEROUS if _by_hand(base, name)]


def _by_hand(base: type, name: str) -> bool:
    method = vars(base).get(name)
    if method is None or base.__module__.partition(".")[0] in _TRUSTED:
        return False
    function = getattr(method, "__func__", method)
    if not isinstance(function, types.FunctionType):
        return not isinstance(function, (types.WrapperDescriptorType, types.BuiltinFunctionType))
    library = str(function.__globals__.get("__name__")).partition(".")[0] in _TRUSTED
    return not (library or function.__code__.co_filename.startswith(_GENERATED))
