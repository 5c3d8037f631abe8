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
_PIECE = 500  # how many parts are looked at together
_LARGE = 1 << 16
_all_plain: Callable[..., bool] = (SCALARS | _CONTAINERS).issuperset


def is_plain(value: object, limit: int) -> bool:
    """Whether a list or dict consists of exact plain types, all the way down.

    Goes level by level with ``gc.get_referents``, which in one C call gives the parts of many lists and dicts (of dicts: the
    values, and the keys unless all are exact strings). A large level is gone through piece by piece, each down to its end
    before the next one: so what is looked at is still in the processor's cache. Answers no for values deeper than
    `MAX_DEPTH`: the careful path then says what is wrong with them.

    Raises:
        Refusal: it has more than ``limit`` parts, as when lists are shared exponentially.
    """
    parts = get_referents(value)
    if all_scalar(map(type, parts)):
        return True
    pending, count = [(parts, 0, 1)], len(parts)
    while pending:
        parts, start, depth = pending.pop()
        if depth > MAX_DEPTH:
            return False
        end = start + _PIECE
        if end < len(parts):
            pending.append((parts, end, depth))
        piece = parts[start:end] if len(parts) > _PIECE else parts
        if not _all_plain(map(type, piece)):
            return False
        inner = get_referents(*piece)
        count += len(inner)
        if count > limit:
            raise Refusal("more parts than the size limit allows")
        if not all_scalar(map(type, inner)):
            pending.append((inner, 0, depth + 1))
    return True


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
