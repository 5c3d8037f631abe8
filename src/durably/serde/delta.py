"""Stored deltas and compression: pure functions on encoded values.

Storage that keeps every version of a value calls `shrink` with the bytes of the version before, and
`restore` with the same bytes to get the value's own back. The order is: delta, compress, then the
serializer's ``seal``.

Forms, told apart by their first two bytes (``c1`` begins no encoded value)::

    c1 5a 01 <size: 8 bytes> <zlib stream>                       compressed
    c1 44 03 <CRC-32> <edits as msgpack>                         delta: runs of the base, and new bytes
    c1 44 04 <CRC-32> <size: 8 bytes> <zlib stream>              the same, compressed with the last 32 KiB
                                                                 of the base as dictionary
    c1 44 05, c1 44 06                                           the same two, where the base is followed by
                                                                 other bytes that the reader has
    c1 44 01, c1 44 02                                           older, with the CRC-32 of the base

The CRC-32 is the value's own, so that a chain of deltas can be put together in one go and is checked at its end.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import msgspec

from ..errors import DecodeError
from .base import MAX_BYTES

__all__ = ["COMPRESSED", "DELTA", "Chain", "base_of", "compress", "expand", "is_delta", "restore", "shrink"]

COMPRESSED = b"\xc1Z"
DELTA = b"\xc1D"
_VERSION = b"\x01"
_BASE_EDITS, _BASE_DICTIONARY, _EDITS, _DICTIONARY = b"\x01", b"\x02", b"\x03", b"\x04"
_BESIDE_EDITS, _BESIDE_DICTIONARY = b"\x05", b"\x06"
_FORMS = (_EDITS, _DICTIONARY, _BESIDE_EDITS, _BESIDE_DICTIONARY, _BASE_EDITS, _BASE_DICTIONARY)
_SIZE = struct.Struct(">Q")
_CHECK = struct.Struct(">I")

COMPRESS_OVER = 4096
"""Shorter values are left as they are, in bytes."""
_SAMPLE = 4096
_BLOCK = 32
_WINDOW = 32_768
_MAX_SEARCH = 1 << 16
_SURELY_SMALLER = 50
_LEVEL = 1
_WORTH = 0.8
_MOST_PIECES = 64
_MISSING = "a delta was read without the value it was made from: an earlier version is missing or damaged"


def compress(data: bytes, over: int = COMPRESS_OVER) -> bytes:
    """The bytes compressed where that saves at least a fifth, else as they are.

    Args:
        data: an encoded value.
        over: values of at most so many bytes are left as they are.

    Example:
        >>> len(compress(b"all work and no play " * 1000)) < 200
        True
    """
    if len(data) <= over or data.startswith(COMPRESSED):
        return data
    middle = len(data) // 2
    if len(data) > 4 * _SAMPLE:
        sample = data[:_SAMPLE] + data[middle : middle + _SAMPLE]
        if len(zlib.compress(sample, _LEVEL)) > _WORTH * len(sample):
            return data
    packed = zlib.compress(data, _LEVEL)
    if len(packed) > _WORTH * len(data):
        return data
    return b"".join((COMPRESSED, _VERSION, _SIZE.pack(len(data)), packed))


def expand(data: bytes, limit: int = MAX_BYTES) -> bytes:
    """The bytes that were compressed; bytes in another form as they are.

    Args:
        data: what `compress` gave.
        limit: the largest result, in bytes.

    Raises:
        DecodeError: the bytes are damaged or would grow beyond the limit.
    """
    if not data.startswith(COMPRESSED):
        return data
    if data[2:3] != _VERSION or len(data) < 3 + _SIZE.size:
        raise DecodeError("a compressed value is cut off, or was written by a newer version of durably")
    (size,) = _SIZE.unpack_from(data, 3)
    return _inflate(zlib.decompressobj(), memoryview(data)[3 + _SIZE.size :], size, limit)


def _inflate(stream: Any, packed: memoryview, size: int, limit: int) -> bytes:
    if size > limit:
        raise DecodeError(f"a compressed value of {size:,} bytes, over the limit of {limit:,}")
    try:
        data: bytes = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise DecodeError(f"a damaged compressed value: {error}") from error
    if len(data) != size or not stream.eof or stream.unused_data:
        raise DecodeError("a compressed value does not have the size it should have")
    return data


# --- deltas ---------------------------------------------------------------------------------------


def is_delta(data: bytes) -> bool:
    """Whether the bytes are a delta, so that `restore` needs the bytes it was made from."""
    return data.startswith(DELTA)


def shrink(data: bytes, base: bytes | None = None, beside: bytes = b"") -> bytes:
    """The smallest form of an encoded value: a delta to ``base``, compressed, or as it is.

    Args:
        data: the encoded value.
        base: the encoded form of the version before it, if that is kept.
        beside: other bytes that are kept, and may be in the value.

    Returns:
        A delta only where it is under half the size of the value without one.

    Example:
        >>> before, after = bytes(range(256)) * 8, bytes(range(256)) * 8 + b"one more"
        >>> delta = shrink(after, before)
        >>> len(delta) < 40, restore(delta, before) == after
        (True, True)
    """
    if not base or data.startswith((DELTA, COMPRESSED)):
        return compress(data)
    plain, packed = (_BESIDE_EDITS, _BESIDE_DICTIONARY) if beside else (_EDITS, _DICTIONARY)
    edits = msgspec.msgpack.encode(_runs(data, base, beside))
    check = _CHECK.pack(zlib.crc32(data))
    delta = DELTA + plain + check + edits
    if len(edits) > 2 * _BLOCK:
        delta = min(delta, DELTA + packed + check + _with_dictionary(edits, base), key=len)
    if len(delta) * _SURELY_SMALLER < len(data):
        return delta
    whole = compress(data)
    return delta if len(delta) * 2 < len(whole) else whole


def restore(data: bytes, base: bytes | None = None, limit: int = MAX_BYTES) -> bytes:
    """The encoded value behind what `shrink` gave.

    Args:
        data: the stored form.
        base: the encoded value that the delta was made from; needed only where `is_delta` says so.
        limit: the largest result, in bytes.

    Raises:
        DecodeError: the bytes are damaged, or ``base`` is another value than the delta was made from.
    """
    chain = Chain(base, limit)
    chain.add(data)
    return chain.value()


class Chain:
    """A value put together from what `shrink` gave for its versions, each a delta to the one before.

    Args:
        base: the encoded value of the version to begin with.
        limit: the largest value, in bytes.

    Example:
        >>> first, second, third = b"a" * 500, b"a" * 500 + b"b" * 500, b"a" * 500 + b"b" * 500 + b"c"
        >>> chain = Chain(first)
        >>> chain.add(shrink(second, first))
        >>> chain.add(shrink(third, second))
        >>> chain.value() == third
        True
    """

    def __init__(self, base: bytes | None = None, limit: int = MAX_BYTES) -> None:
        self._limit = limit
        self._parts: list[memoryview | bytes] | None = None if base is None else [base]
        self._check: bytes | None = None  # of the value, where that was not checked yet

    def add(self, data: bytes, beside: Callable[[], bytes] = bytes) -> None:
        """Go on to the next version.

        Args:
            data: its stored form.
            beside: finds the other bytes that it was shrunk with.

        Raises:
            DecodeError: its bytes are damaged, or those of an earlier one.
        """
        if not is_delta(data):
            self._parts, self._check = [expand(data, self._limit)], None
            return
        start = 3 + _CHECK.size
        form, check, edits = data[2:3], data[3:start], data[start:]
        if self._parts is None or len(data) < start:
            raise DecodeError(_MISSING)
        if form not in _FORMS:
            raise DecodeError("a delta was written by a newer version of durably")
        is_by_base = form in (_BASE_EDITS, _BASE_DICTIONARY)
        if is_by_base and _CHECK.pack(zlib.crc32(self.value())) != check:
            raise DecodeError(_MISSING)
        pieces = _Pieces(self._parts)
        if form in (_DICTIONARY, _BASE_DICTIONARY, _BESIDE_DICTIONARY):
            edits = _expand_with(edits, pieces.last(_WINDOW), self._limit)
        if form in (_BESIDE_EDITS, _BESIDE_DICTIONARY):
            pieces = _Pieces([*self._parts, beside()])
        self._parts = _apply(edits, pieces, self._limit)
        self._check = None if is_by_base else check
        if len(self._parts) > _MOST_PIECES:
            self._parts = [b"".join(self._parts)]

    def value(self) -> bytes:
        """The encoded value of the version that was added last.

        Raises:
            DecodeError: it is not what was written: an earlier version is missing, or damaged.
        """
        whole = b"".join(self._parts or ())
        if self._check is not None and _CHECK.pack(zlib.crc32(whole)) != self._check:
            raise DecodeError(_MISSING)
        self._parts, self._check = [whole], None
        return whole


class _Pieces:
    """Bytes in pieces: what a chain is made of is copied once at its end, and not at each of its steps."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: list[memoryview | bytes]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def cut(self, start: int, end: int) -> list[memoryview | bytes]:
        """The pieces from one place to another."""
        if start == end:
            return []
        first, last = bisect_right(self._ends, start), bisect_left(self._ends, end)
        found = self._parts[first : last + 1]
        found[-1] = memoryview(found[-1])[: len(found[-1]) - (self._ends[last] - end)]
        found[0] = memoryview(found[0])[start - (self._ends[first - 1] if first else 0) :]
        return found

    def last(self, count: int) -> bytes:
        """At most so many bytes of the end."""
        return b"".join(self.cut(max(0, len(self) - count), len(self)))


def base_of(version: int, width: int = 1024) -> int | None:
    """The earlier version that a version is stored as a difference to, so that chains stay short.

    Of versions 1 to ``width - 1`` that is the one before; every ``width``-th version skips back over the
    versions between, every ``width ** 2``-th over more. A value that grows by a fixed amount costs about
    that amount once for each digit of ``version`` to base ``width``, and the chain to version 0 has at most
    ``width - 1`` steps for each digit.

    Args:
        version: 0 for the first value of its kind, then counting.
        width: how many versions share a base.

    Example:
        >>> [base_of(version, width=32) for version in (0, 1, 31, 32, 33, 64, 1024)]
        [None, 0, 30, 0, 32, 32, 0]
    """
    if version == 0:
        return None
    step = 1
    while version % (step * width) == 0:
        step *= width
    return version - step


def _with_dictionary(edits: bytes, base: bytes) -> bytes:
    stream = zlib.compressobj(_LEVEL, zdict=base[-_WINDOW:])
    packed = stream.compress(edits) + stream.flush()
    return _SIZE.pack(len(edits)) + packed


def _expand_with(data: bytes, dictionary: bytes, limit: int) -> bytes:
    if len(data) < _SIZE.size:
        raise DecodeError("a delta is cut off")
    (size,) = _SIZE.unpack_from(data)
    return _inflate(zlib.decompressobj(zdict=dictionary), memoryview(data)[_SIZE.size :], size, limit)


def _runs(data: bytes, base: bytes, beside: bytes) -> list[int | bytes]:
    """``[literal, offset, length, literal, ..., literal]``: new bytes, and runs of the base and what follows it."""
    runs: list[int | bytes] = []
    start = position = offset = 0  # `data[start:position]` is new; `offset` is where the base would go on
    passed = 0  # how much of the base was cut off: what has grown is mostly behind it
    index: dict[bytes, int] | None = None
    while position < len(data):
        length = _common(data, position, base, offset)
        if length >= _BLOCK or (length and length == len(data) - position):
            runs += [data[start:position], passed + offset, length]
            position += length
            offset += length
            start = position
            continue
        step = _step_over(data, position, base, offset)
        if step:
            position, offset = position + step, offset + step
            continue
        if index is None:
            base, passed, offset = base[offset:] + beside, offset, 0
            index = _blocks(base)
        found = _next_block(data, position, index)
        if found is None:
            break
        position, offset = _back(data, found, start, base, index[data[found : found + _BLOCK]])
    runs.append(data[start:])
    return runs


def _common(data: bytes, position: int, base: bytes, offset: int) -> int:
    """How many bytes are the same from here on; slices of growing length are compared in C."""
    most = min(len(data) - position, len(base) - offset)
    length, step = 0, 64
    while length < most:
        step = min(step, most - length)
        here, there = position + length, offset + length
        if data.startswith(base[there : there + step], here):
            length += step
            step = min(step * 2, 1 << 16)
        elif step == 1:
            break
        else:
            step //= 2
            most = min(most, length + 2 * step + 1)
    return length


def _step_over(data: bytes, position: int, base: bytes, offset: int) -> int:
    """The length of a change in place, such as a new count, after which both are alike; 0 for none."""
    for step in range(1, 17):
        here, there = position + step, offset + step
        block = data[here : here + _BLOCK]
        if len(block) == _BLOCK and block == base[there : there + _BLOCK]:
            return step
    return 0


def _blocks(base: bytes) -> dict[bytes, int]:
    """Where in the base each aligned block lies, the first one of several."""
    return {base[at : at + _BLOCK]: at for at in reversed(range(0, len(base) - _BLOCK + 1, _BLOCK))}


def _next_block(data: bytes, position: int, index: dict[bytes, int]) -> int | None:
    """The next place in the data that starts with a block of the base."""
    if not index:
        return None
    for at in range(position, min(len(data) - _BLOCK + 1, position + _MAX_SEARCH)):
        if data[at : at + _BLOCK] in index:
            return at
    return None


def _back(data: bytes, position: int, start: int, base: bytes, offset: int) -> tuple[int, int]:
    """Go back as far as the bytes before a found block are the same too."""
    while position > start and offset > 0 and data[position - 1] == base[offset - 1]:
        position, offset = position - 1, offset - 1
    return position, offset


def _apply(edits: bytes, base: _Pieces, limit: int) -> list[memoryview | bytes]:
    """The pieces of the value: runs of the base, and new bytes."""
    try:
        runs = msgspec.msgpack.decode(edits, type=list[int | bytes])
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(f"a damaged delta: {error}") from error
    parts: list[memoryview | bytes] = []
    size = 0
    for literal, offset, length in zip(runs[0::3], runs[1::3], runs[2::3], strict=False):
        if type(literal) is not bytes or type(offset) is not int or type(length) is not int:
            raise DecodeError("a damaged delta")
        if offset < 0 or length < 0 or offset + length > len(base):
            raise DecodeError(_MISSING)
        size += len(literal) + length
        if size > limit:
            raise DecodeError(f"a delta that makes a value over the limit of {limit:,} bytes")
        parts += (literal, *base.cut(offset, offset + length))
    if len(runs) % 3 != 1 or type(runs[-1]) is not bytes:
        raise DecodeError("a damaged delta")
    return [part for part in (*parts, runs[-1]) if part]
