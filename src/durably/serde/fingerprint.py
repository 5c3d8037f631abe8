"""Keys made from arguments: canonical bytes, short ones as they are, long ones hashed.

The canonical form is the typed form with every accident taken out: dicts and sets are sorted, classes are
named where they are used, and ids of chat messages are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from . import plain
from .base import MAX_BYTES, Refusal
from .walk import Ext, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["cache_key", "canonical", "fingerprint"]

_SHORT = 15  # a hash has 16 bytes, so the length alone tells the two forms apart
_UNKNOWN, _SORTED = 0x7E, 0x7D
_first = itemgetter(0)


def fingerprint(arguments: Sequence[object]) -> bytes:
    """At most 16 bytes for the arguments; one that cannot be stored contributes only its type."""
    data = None
    one = len(arguments) == 1  # as for most tasks
    if type(arguments[0]) in plain.SCALARS if one else plain.all_scalar(map(type, arguments)):
        try:
            data = plain.encode(arguments)
        except (OverflowError, UnicodeEncodeError):
            pass
    if data is None:
        try:
            data = canonical(arguments, strict=False)
        except Exception:  # no stack or no memory left: the types will do
            data = plain.encode([_type_only(value) for value in arguments])
    return data if len(data) <= _SHORT else blake2b(data, digest_size=16).digest()


def cache_key(arguments: Sequence[object]) -> bytes:
    """32 bytes for the arguments; raises `Refusal` for one that cannot be stored."""
    return blake2b(canonical(arguments, strict=True), digest_size=32).digest()


def canonical(arguments: Sequence[object], strict: bool) -> bytes:
    """The canonical bytes of the arguments."""
    parts = list(arguments)
    if plain.is_plain(parts, MAX_BYTES):
        try:
            return plain.encode_sorted(parts)
        except (OverflowError, UnicodeEncodeError, TypeError):
            pass  # big integers, lone surrogates, keys that are not strings
    return plain.encode([_argument(index, part, strict) for index, part in enumerate(parts)])


def _argument(index: int, value: object, strict: bool) -> Any:
    try:
        return _Canonical().wire(value)
    except Refusal as refusal:
        if strict:
            raise refusal.under(f"[{index}]")
    except Exception:
        if strict:
            raise
    return _type_only(value)


def _type_only(value: object) -> Ext:
    kind = type(value)
    return Ext(_UNKNOWN, f"{kind.__module__}:{kind.__qualname__}".encode("utf-8", "backslashreplace"))


class _Canonical(Writer):
    """Writes what is equal the same way."""

    message_ids = False

    def __init__(self) -> None:
        super().__init__(careful=True)

    def unordered(self, values: Iterable[object], mark: Ext) -> list[Any]:
        return [mark, *sorted(super().unordered(values, mark)[1:], key=plain.encode)]

    def mapping(self, value: dict[Any, object]) -> Any:
        return self.pairs(value, Ext(_SORTED, b""))

    def pairs(self, value: dict[Any, object], mark: Ext, *before: Any) -> list[Any]:
        wires = super().pairs(value, mark, *before)
        if type(value) is OrderedDict:
            return wires
        start = 1 + len(before)
        pairs = zip(wires[start::2], wires[start + 1 :: 2], strict=True)
        keyed = sorted(((plain.encode(key), key, item) for key, item in pairs), key=_first)
        return [*wires[:start], *(part for _, key, item in keyed for part in (key, item))]

    def mark(self, code: int, entry: tuple[Any, ...]) -> Ext:
        return Ext(code, plain.encode(entry))
