"""The default serializer: bare msgpack for plain values, the typed form for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import DecodeError, EncodeError
from . import plain
from .base import MAX_BYTES, Refusal
from .classes import builder_of
from .collector import paused
from .delta import COMPRESSED, expand
from .fingerprint import cache_key, fingerprint
from .walk import Ext, Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TypedSerializer"]

_ROOT = 0x7F
_VERSION = b"\x01"
_PREFIXES = tuple(bytes([0x90 | parts, 0xD4, _ROOT]) for parts in (2, 3))
_LARGE = 1 << 18
_SPECIAL = frozenset(prefix[0] for prefix in (*_PREFIXES, COMPRESSED))
_decode_typed = msgspec.msgpack.Decoder().decode


class TypedSerializer:
    """Stores values with their exact types, and reads back nothing but values.

    Args:
        max_bytes: the largest stored value, in bytes; larger ones are refused when written and when read.

    Example:
        >>> serializer = TypedSerializer()
        >>> data = serializer.dumps({"pair": (1, 2), "seen": {3}})
        >>> serializer.loads(data)
        {'pair': (1, 2), 'seen': {3}}
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_bytes={self.max_bytes})"

    def dumps(self, value: object, place: bytes = b"") -> bytes:
        """The stored form of ``value``.

        Args:
            value: anything that can be stored.
            place: ignored.

        Returns:
            A payload for `loads`.

        Raises:
            EncodeError: a part of the value has no stored form, or the value is too large.
        """
        kind = type(value)
        try:
            try:
                if kind is bytes:
                    data = plain.encode_bytes(value)  # type: ignore[arg-type]
                elif kind in plain.SCALARS or (
                    (kind is dict or kind is list) and plain.is_plain(value, self.max_bytes)
                ):
                    data = plain.encode(value)
                else:
                    data = self._dumps_typed(value, careful=False)
            except (OverflowError, UnicodeEncodeError):  # a big integer, a lone surrogate
                data = self._dumps_typed(value, careful=True)
        except Refusal as refusal:
            raise _refused(refusal) from None
        except RecursionError:
            raise EncodeError("cannot store the value: it is nested too deeply for the stack left") from None
        if len(data) > self.max_bytes:
            raise _too_large(len(data), self.max_bytes)
        return data

    encode = dumps

    def _dumps_typed(self, value: object, careful: bool) -> bytes:
        writer = Writer(careful, self.max_bytes // 4)
        root = [Ext(_ROOT, _VERSION), writer.wire(value)]
        if writer.classes:
            root.append(writer.classes)
        return plain.encode(root)

    def loads(self, data: bytes, place: bytes = b"") -> Any:
        """The value behind ``data``.

        Args:
            data: what `dumps` gave.
            place: ignored.

        Returns:
            An equal value of the same type.

        Raises:
            DecodeError: the bytes are no payload, are damaged or too large, or need a class that is not
                allowed.
        """
        try:
            if len(data) > self.max_bytes:
                raise _too_large_to_read(len(data), self.max_bytes)
            if len(data) > _LARGE:
                with paused:
                    return self._read(data)
            return self._read(data) if data[0] in _SPECIAL else plain.decode(data)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(f"cannot read a stored value of {_length(data)}: {error}") from error

    decode = loads

    def _read(self, data: bytes) -> Any:
        if data.startswith(_PREFIXES):
            return _loads_typed(data)
        if data.startswith(COMPRESSED):
            return self.loads(expand(data, self.max_bytes))
        return plain.decode(data)

    def seal(self, data: bytes, place: bytes = b"") -> bytes:
        """The bytes themselves: nothing is encrypted here."""
        return data

    def unseal(self, data: bytes, place: bytes = b"") -> bytes:
        """The bytes themselves."""
        return data

    def fingerprint(self, arguments: Sequence[object]) -> bytes:
        """At most 16 bytes that tell these arguments from others.

        The same for equal arguments of the same types, in every process and version, whatever the order of
        sets and dicts. Ids of chat messages are left out; an argument that cannot be stored contributes
        only its type.

        Args:
            arguments: the values, in the order of the signature.

        Returns:
            Up to 15 bytes that hold the arguments themselves, or a hash of 16 bytes.
        """
        return fingerprint(arguments)

    def cache_key(self, arguments: Sequence[object]) -> bytes:
        """32 bytes of a cryptographic hash that tell these arguments from others.

        Args:
            arguments: the values, in the order of the signature.

        Raises:
            EncodeError: an argument cannot be stored.
        """
        try:
            return cache_key(arguments)
        except Refusal as refusal:
            raise _refused(refusal) from None
        except RecursionError:
            raise EncodeError("cannot make a cache key: the arguments are nested too deeply") from None


def _loads_typed(data: bytes) -> Any:
    root = _decode_typed(data)
    if root[0].data != _VERSION:
        raise DecodeError(
            f"the value has format version {root[0].data.hex()}, which this version of durably cannot read: "
            "install a newer one"
        )
    classes = [builder_of(entry) for entry in root[2]] if len(root) == 3 else ()
    return Reader(classes).value(root[1])


def _refused(refusal: Refusal) -> EncodeError:
    where = f" at value{refusal.path}" if refusal.path else ""
    return EncodeError(f"cannot store the value{where}: {refusal.message}", refusal.path)


def _too_large(size: int, limit: int) -> EncodeError:
    return EncodeError(
        f"the value takes {size:,} bytes, over the limit of {limit:,}: store a reference to it (a path, a "
        "URL, a key), or raise the limit with TypedSerializer(max_bytes=...)"
    )


def _too_large_to_read(size: int, limit: int) -> DecodeError:
    return DecodeError(
        f"the stored value has {size:,} bytes, over the limit of {limit:,}: "
        f"raise the limit with TypedSerializer(max_bytes=...)"
    )


def _length(data: object) -> str:
    return f"{len(data)} bytes" if isinstance(data, (bytes, bytearray, memoryview)) else type(data).__qualname__
