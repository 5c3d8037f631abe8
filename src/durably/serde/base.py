"""What the rest of the library knows about values and their stored form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Refusal", "Sealer", "Serializer", "ValueWarning"]

MAX_DEPTH = 200
"""Containers inside containers: deeper values are refused, when written and when read."""

MAX_BYTES = 64 * 1024 * 1024
"""The default limit of one stored value, in bytes."""


@runtime_checkable
class Serializer(Protocol):
    """Turns values into bytes and back, and arguments into keys.

    ``place`` says where the bytes are kept (thread, call, column ...). An encrypting serializer binds it
    in, so that bytes moved to another place are refused; the plain one ignores it.
    """

    def dumps(self, value: object, place: bytes = b"") -> bytes:
        """The stored form of ``value``; raises `EncodeError` where it has none."""
        ...

    def loads(self, data: bytes, place: bytes = b"") -> Any:
        """The value behind ``data``; raises `DecodeError`, and nothing else, for any other bytes."""
        ...

    def fingerprint(self, arguments: Sequence[object]) -> bytes:
        """At most 16 bytes that differ when the arguments differ; never raises."""
        ...

    def cache_key(self, arguments: Sequence[object]) -> bytes:
        """As a fingerprint of 32 bytes; raises `EncodeError` where an argument has no stored form."""
        ...


class Sealer(Protocol):
    """The outermost layer by itself, for storage that computes deltas: delta, compress, seal.

    ``dumps`` is ``seal(encode(value))``; storage that keeps differences between values calls the two halves.
    """

    def encode(self, value: object) -> bytes:
        """The bytes of ``value`` before sealing."""
        ...

    def decode(self, data: bytes) -> Any:
        """The value behind unsealed bytes."""
        ...

    def seal(self, data: bytes, place: bytes = b"") -> bytes:
        """The bytes that go to disk."""
        ...

    def unseal(self, data: bytes, place: bytes = b"") -> bytes:
        """The bytes that were sealed."""
        ...


class ValueWarning(UserWarning):
    """A class was stored without having been named, or has changed since a value of it was stored."""


class Refusal(Exception):
    """Travels up from the part of a value that cannot be stored, and gathers the path on its way."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.parts: list[str] = []

    def under(self, part: str) -> Refusal:
        """The same refusal, seen from one container further out."""
        self.parts.append(part)
        return self

    @property
    def path(self) -> str:
        """Where the trouble lies, from the outermost value inwards."""
        return "".join(reversed(self.parts))
