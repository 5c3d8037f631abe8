"""The fast path: values made of exact JSON-like types are bare msgpack.

msgspec encodes tuples, sets, enums, dataclasses and more as if they were lists, strings and maps. A value may
take this path only if every part of it is of an exact type that msgpack gives back as it was.
"""

from __future__ import annotations

from gc import get_referents
from typing import TYPE_CHECKING

import msgspec

from ..errors import DecodeError
from .base import MAX_DEPTH, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SCALARS", "all_scalar", "decode", "encode", "encode_bytes", "encode_sorted", "is_plain"]

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
all_scalar: Callable[..., bool] = SCALARS.issuperset
_CONTAINERS = frozenset({list, dict})
_MANY = 10_000
_LARGE = 1 << 16
_all_plain: Callable[..., bool] = (SCALARS | _CONTAINERS).issuperset


def is_plain(value: object, limit: int) -> bool:
    """Whether a list or dict consists of exact plain types, all the way down.

    Goes level by level with ``gc.get_referents``, which in one C call gives the parts of all lists and
    dicts of a level (of dicts: the values, and the keys unless all are exact strings). Answers no for
    values deeper than `MAX_DEPTH`: the careful path then says what is wrong with them.

    Raises:
        Refusal: some level has more than ``limit`` parts, as when lists are shared exponentially.
    """
    level = get_referents(value)
    if all_scalar(map(type, level)):
        return True
    for _ in range(MAX_DEPTH):
        if not _all_plain(map(type, level)):
            return False
        level = _next_level(level, limit)
        if all_scalar(map(type, level)):
            return True
    return False


def _next_level(level: list[object], limit: int) -> list[object]:
    """The parts of all parts. A large level is gone through piece by piece, to stop before the memory is full."""
    if len(level) <= _MANY:
        return get_referents(*level)
    parts: list[object] = []
    for start in range(0, len(level), _MANY):
        parts += get_referents(*level[start : start + _MANY])
        if len(parts) > limit:
            raise Refusal("more parts than the size limit allows")
    return parts


def _refuse_ext(code: int, data: memoryview) -> object:
    raise DecodeError(f"extension type {code} where only plain values can be")


def encode_bytes(value: bytes) -> bytes:
    """As `encode`; large bytes take only the memory they need, where msgspec's buffer is half as large again."""
    if len(value) < _LARGE:
        return encode(value)
    return b"".join((b"\xc6", len(value).to_bytes(4), value))


encode = msgspec.msgpack.Encoder().encode
encode_sorted = msgspec.msgpack.Encoder(order="deterministic").encode
decode = msgspec.msgpack.Decoder(ext_hook=_refuse_ext).decode
