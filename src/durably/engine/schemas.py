"""What an answer must look like: a type, a pydantic model or a JSON schema, kept with the question as a JSON schema.

The usual keywords are checked here. A schema that needs others is checked by the package ``jsonschema``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final

import msgspec

from ..errors import ConfigError, InvalidAnswerError

__all__ = ["as_wanted", "check", "schema_of"]

NOTES: Final = frozenset(
    (
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "format",
        "discriminator",
        "contentEncoding",
        "contentMediaType",
    )
)
"""Keywords that ask for nothing."""

Plain = Any
Path = str


def schema_of(wanted: Any) -> dict[str, Any] | None:
    """The JSON schema of what ``response_schema`` names; None for None.

    Raises:
        ConfigError: there is none, or checking it needs a package that is not installed.
    """
    if wanted is None:
        return None
    schema = _made(wanted)
    if not _is_simple(schema):
        _library()
    return schema


def _made(wanted: Any) -> dict[str, Any]:
    if isinstance(wanted, Mapping):
        return dict(wanted)
    for name in ("model_json_schema", "json_schema"):  # a pydantic model, a pydantic TypeAdapter
        make = getattr(wanted, name, None)
        if make is not None:
            return dict(make())
    try:
        return msgspec.json.schema(wanted)
    except TypeError as error:
        raise ConfigError(
            f"response_schema={wanted!r} is nothing that an answer can be checked against ({error}): give a type of plain "
            "data, a dataclass, a pydantic model, or a JSON schema as a dict"
        ) from None


def check(answer: Any, schema: Mapping[str, Any], question: str) -> None:
    """Find out whether an answer fits.

    Args:
        answer: plain data, or an object that stands for it, such as a dataclass or a pydantic model.
        schema: the JSON schema.
        question: names the question in the error.

    Raises:
        InvalidAnswerError: it does not.
        ConfigError: checking it needs a package that is not installed.
    """
    try:
        plain = _plain(answer)
    except TypeError as error:
        raise InvalidAnswerError(f"the answer {answer!r} to question {question} is not plain data: {error}") from None
    complaint = _complaint(plain, schema)
    if complaint is not None:
        raise InvalidAnswerError(
            f"the answer {answer!r} does not fit the response_schema of question {question}: {complaint}. The question is "
            "still open; answer it again."
        )


def as_wanted(answer: Any, wanted: Any) -> Any:
    """An answer as a value of the type that the question asked for.

    Raises:
        Exception: whatever the type's own checks raise.
    """
    if isinstance(wanted, Mapping) or type(answer) is wanted:
        return answer
    for name in ("model_validate", "validate_python"):
        convert: Callable[[Any], Any] | None = getattr(wanted, name, None)
        if convert is not None:
            return convert(_plain(answer))
    return msgspec.convert(_plain(answer), wanted)


def _plain(value: Any) -> Plain:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped)


def _dumped(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"it holds a {type(value).__name__}")
    return dump(mode="json")


# Checking.


def _complaint(plain: Plain, schema: Mapping[str, Any]) -> str | None:
    """What is wrong first; None where it fits."""
    if _is_simple(schema):
        return next(_complaints(plain, schema, schema, "$"), None)
    error = _library().Draft202012Validator(schema).iter_errors(plain)
    first = next(iter(error), None)
    return None if first is None else f"{first.json_path}: {first.message}"


def _library() -> Any:
    try:
        return import_module("jsonschema")
    except ImportError:
        raise ConfigError(
            'this response_schema needs the package jsonschema to be checked: pip install "durably[schema]", or write it '
            f"with these keywords only: {', '.join(sorted(CHECKS))}, $ref to $defs"
        ) from None


def _is_simple(schema: Any) -> bool:
    """Whether every keyword in it is known here."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, Mapping):
        return False
    if not all(name in CHECKS or name in NOTES or name == "$ref" for name in schema):
        return False
    if not str(schema.get("$ref", "#/$defs/")).startswith("#/$defs/"):
        return False
    inner = [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for name in ("anyOf", "allOf", "oneOf", "prefixItems"):
        inner += schema.get(name, ())
    for name in ("properties", "$defs"):
        inner += schema.get(name, {}).values()
    return all(map(_is_simple, inner))


def _complaints(plain: Plain, schema: Any, root: Mapping[str, Any], path: Path) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{path} may not be there"
        return
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
        yield from _complaints(plain, root["$defs"][name], root, path)
    for keyword, wanted in schema.items():
        if keyword in CHECKS:
            yield from CHECKS[keyword](plain, wanted, schema, root, path)


def _type(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_is_a(plain, name) for name in names):
        yield f"{path} is {plain!r}, and should be of type {' or '.join(names)}"


def _is_a(plain: Plain, name: str) -> bool:
    if name == "null":
        return plain is None
    if name in ("integer", "number"):
        number = isinstance(plain, (int, float)) and not isinstance(plain, bool)
        return number and (name == "number" or float(plain).is_integer())
    kinds: dict[str, Any] = {"boolean": bool, "string": str, "array": (list, tuple), "object": dict}
    return name in kinds and isinstance(plain, kinds[name])


def _same(one: Plain, other: Plain) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _enum(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if not any(_same(plain, each) for each in wanted):
        yield f"{path} is {plain!r}, and should be one of {', '.join(map(repr, wanted))}"


def _const(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if not _same(plain, wanted):
        yield f"{path} is {plain!r}, and should be {wanted!r}"


def _fits(plain: Plain, options: Any, root: Any, path: Path) -> int:
    return sum(next(_complaints(plain, each, root, path), None) is None for each in options)


def _any_of(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if not _fits(plain, wanted, root, path):
        yield f"{path} is {plain!r}, which is none of the {len(wanted)} things it may be"


def _one_of(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if _fits(plain, wanted, root, path) != 1:
        yield f"{path} is {plain!r}, which is not exactly one of the {len(wanted)} things it may be"


def _all_of(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    for each in wanted:
        yield from _complaints(plain, each, root, path)


def _properties(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if isinstance(plain, dict):
        for name, each in wanted.items():
            if name in plain:
                yield from _complaints(plain[name], each, root, f"{path}.{name}")


def _required(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    missing = [name for name in wanted if name not in plain] if isinstance(plain, dict) else []
    if missing:
        yield f"{path} lacks {', '.join(missing)}"


def _additional(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if isinstance(plain, dict):
        for name in plain:
            if name not in schema.get("properties", ()):
                yield from _complaints(plain[name], wanted, root, f"{path}.{name}")


def _items(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if isinstance(plain, (list, tuple)):
        first = len(schema.get("prefixItems", ()))
        for i, each in enumerate(plain[first:], first):
            yield from _complaints(each, wanted, root, f"{path}[{i}]")


def _prefix_items(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if isinstance(plain, (list, tuple)):
        for i, (each, how) in enumerate(zip(plain, wanted, strict=False)):
            yield from _complaints(each, how, root, f"{path}[{i}]")


def _pattern(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
    if isinstance(plain, str) and not re.search(wanted, plain):
        yield f"{path} is {plain!r}, and should match {wanted}"


Check = Callable[[Plain, Any, Any, Any, Path], Iterator[str]]


def _limit(kinds: Any, measure: Callable[[Any], Any], fits: Callable[[Any, Any], bool], words: str) -> Check:
    def limit(plain: Plain, wanted: Any, schema: Any, root: Any, path: Path) -> Iterator[str]:
        if isinstance(plain, kinds) and not isinstance(plain, bool) and not fits(measure(plain), wanted):
            yield f"{path} is {plain!r}, and should {words} {wanted}"

    return limit


def _itself(value: Any) -> Any:
    return value


CHECKS: Final[dict[str, Check]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix_items,
    "pattern": _pattern,
    "minLength": _limit(str, len, lambda a, b: a >= b, "have a length of at least"),
    "maxLength": _limit(str, len, lambda a, b: a <= b, "have a length of at most"),
    "minItems": _limit((list, tuple), len, lambda a, b: a >= b, "have a length of at least"),
    "maxItems": _limit((list, tuple), len, lambda a, b: a <= b, "have a length of at most"),
    "minimum": _limit((int, float), _itself, lambda a, b: a >= b, "be at least"),
    "maximum": _limit((int, float), _itself, lambda a, b: a <= b, "be at most"),
    "exclusiveMinimum": _limit((int, float), _itself, lambda a, b: a > b, "be more than"),
    "exclusiveMaximum": _limit((int, float), _itself, lambda a, b: a < b, "be less than"),
}
