"""Types at the workflow's border: JSON schemas of input and output, and the context made to fit."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from .engine.function import FinalValue, Function, unwrapped
from .errors import ConfigError

__all__ = ["context_as", "context_schema_of", "input_schema_of", "output_schema_of"]


def input_schema_of(function: Function) -> dict[str, Any]:
    """The JSON schema of a workflow's input."""
    hints = _hints(function)
    injected = {parameter.name for parameter in function.parameters.injected}
    names = [name for name in function.parameters.signature.parameters if name not in injected]
    return json_schema(hints.get(names[0], Any)) if names else {}


def output_schema_of(function: Function) -> dict[str, Any]:
    """The JSON schema of what a workflow returns; of ``entrypoint.final[R, S]`` that is R."""
    annotation = _hints(function).get("return", Any)
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, FinalValue):
        annotation = typing.get_args(annotation)[0]
    return json_schema(annotation)


def context_schema_of(schema: type[Any] | None) -> dict[str, Any] | None:
    """The JSON schema of a workflow's context."""
    return None if schema is None else json_schema(schema)


def _hints(function: Function) -> dict[str, Any]:
    inner = unwrapped(function.call)
    if not hasattr(inner, "__annotations__") and callable(inner):
        inner = type(inner).__call__
    try:
        return typing.get_type_hints(inner)
    except Exception:  # names that only type checkers can resolve
        return {}


def json_schema(annotation: Any) -> dict[str, Any]:
    """The JSON schema of a type; ``{}``, which says anything, where there is none."""
    own: Any = getattr(annotation, "model_json_schema", None)
    if own is not None:
        return dict(own())
    if annotation is Any or isinstance(annotation, typing.TypeVar):
        return {}
    try:
        return msgspec.json.schema(annotation)
    except TypeError:
        return {}


def context_as(schema: type[Any] | None, context: Any, workflow: str) -> Any:
    """``context`` as ``context_schema`` wants it: a dict becomes the dataclass, pydantic model or TypedDict.

    Raises:
        ConfigError: it does not fit.
    """
    if schema is None or context is None:
        return context
    if typing.is_typeddict(schema):
        return _checked_dict(schema, context, workflow)
    if isinstance(context, schema):
        return context
    if isinstance(context, Mapping):
        try:
            return schema(**context)
        except Exception as error:
            raise ConfigError(f"context= of workflow {workflow!r} does not fit {schema.__name__}: {error}") from error
    raise ConfigError(
        f"context= of workflow {workflow!r} is {type(context).__name__}: give a {schema.__name__}, or a dict of its fields"
        + _fields_hint(schema)
    )


def _checked_dict(schema: Any, context: Any, workflow: str) -> Any:
    if not isinstance(context, Mapping):
        raise ConfigError(f"context= of workflow {workflow!r} is {type(context).__name__}: give a dict")
    missing = sorted(schema.__required_keys__ - context.keys())
    if missing:
        raise ConfigError(f"context= of workflow {workflow!r} lacks {', '.join(missing)}")
    return context


def _fields_hint(schema: type[Any]) -> str:
    if not dataclasses.is_dataclass(schema):
        return ""
    return f" ({', '.join(field.name for field in dataclasses.fields(schema))})"
