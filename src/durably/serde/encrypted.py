"""Encryption around another serializer."""

from __future__ import annotations

import os
from base64 import b64decode, urlsafe_b64decode
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DecodeError
from .typed import TypedSerializer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Serializer

__all__ = ["EncryptedSerializer"]

ENCRYPTED = b"\xc1E"
_VERSION = b"\x01"
_ID, _NONCE, _TAG = 4, 12, 16
_HEADER = len(ENCRYPTED) + len(_VERSION) + _ID
_VARIABLE = "DURABLY_ENCRYPTION_KEY"


class EncryptedSerializer:
    """Encrypts what another serializer writes, with AES-256-GCM.

    The place of a value (its thread, call and column) is bound in, so that bytes moved to another row are
    refused. Fingerprints and cache keys become keyed hashes.

    Args:
        inner: the serializer that makes the bytes; by default a `TypedSerializer`.
        keys: one key or several, each of 32 bytes, or as 64 hexadecimal or 44 base64 characters. The first
            encrypts, all of them decrypt: put a new key in front to rotate. By default the environment
            variable ``DURABLY_ENCRYPTION_KEY``, with commas between several.
        hash_key: the key of fingerprints and cache keys; by default the last of ``keys``, the oldest, so that
            rotating leaves recorded fingerprints valid.

    Raises:
        ConfigError: there is no key, or one is not 32 bytes long.

    Example:
        >>> serializer = EncryptedSerializer(keys=bytes(range(32)))
        >>> data = serializer.dumps("secret", b"thread-1/result")
        >>> b"secret" in data
        False
        >>> serializer.loads(data, b"thread-1/result")
        'secret'
    """

    def __init__(
        self,
        inner: Serializer | None = None,
        *,
        keys: bytes | str | Sequence[bytes | str] | None = None,
        hash_key: bytes | str | None = None,
    ) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.inner: Any = TypedSerializer() if inner is None else inner
        secrets = _read_keys(keys)
        self._ciphers = {_derive(secret, b"id", _ID): AESGCM(secret) for secret in secrets}
        self._id = _derive(secrets[0], b"id", _ID)
        self._cipher = self._ciphers[self._id]
        self._hash_key = _derive(secrets[-1] if hash_key is None else _read_key(hash_key), b"hash", 32)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r}, keys=<{len(self._ciphers)}>)"

    def dumps(self, value: object, place: bytes = b"") -> bytes:
        """The encrypted form of ``value``, readable only with ``place`` and the key.

        Raises:
            EncodeError: as the inner serializer.
        """
        return self.seal(self.inner.dumps(value), place)

    def loads(self, data: bytes, place: bytes = b"") -> Any:
        """The value behind ``data``.

        Raises:
            DecodeError: the bytes are not encrypted, the key is not at hand, or bytes or place are not
                the ones that were written.
        """
        return self.inner.loads(self.unseal(data, place))

    def encode(self, value: object) -> bytes:
        """The bytes of ``value`` before encryption."""
        encoded: bytes = self.inner.dumps(value)
        return encoded

    def decode(self, data: bytes) -> Any:
        """The value behind decrypted bytes."""
        return self.inner.loads(data)

    def seal(self, data: bytes, place: bytes = b"") -> bytes:
        """Encrypt bytes: header, nonce, ciphertext with tag."""
        nonce = os.urandom(_NONCE)
        header = ENCRYPTED + _VERSION + self._id
        return b"".join((header, nonce, self._cipher.encrypt(nonce, data, header + place)))

    def unseal(self, data: bytes, place: bytes = b"") -> bytes:
        """Decrypt bytes; raises `DecodeError` where that is not possible."""
        from cryptography.exceptions import InvalidTag

        if not isinstance(data, bytes) or not data.startswith(ENCRYPTED):
            raise DecodeError("the stored value is not encrypted: read it with the serializer that wrote it")
        if len(data) < _HEADER + _NONCE + _TAG or data[2:3] != _VERSION:
            raise DecodeError("the encrypted value is cut off, or was written by a newer version of durably")
        header, nonce = data[:_HEADER], data[_HEADER : _HEADER + _NONCE]
        cipher = self._ciphers.get(header[-_ID:])
        if cipher is None:
            raise DecodeError(
                f"the value was encrypted with the key of id {header[-_ID:].hex()}, which is not among the "
                f"{len(self._ciphers)} given: add that key after the current one"
            )
        try:
            return cipher.decrypt(nonce, memoryview(data)[_HEADER + _NONCE :], header + place)
        except InvalidTag:
            raise DecodeError(
                "the encrypted value does not fit its key and its place: it was changed, or moved from another row"
            ) from None

    def fingerprint(self, arguments: Sequence[object]) -> bytes:
        """16 bytes of a keyed hash; never raises."""
        inner = self.inner.fingerprint(arguments)
        return blake2b(inner, digest_size=16, key=self._hash_key, person=b"fingerprint").digest()

    def cache_key(self, arguments: Sequence[object]) -> bytes:
        """32 bytes of a keyed hash; raises `EncodeError` where an argument cannot be stored."""
        inner = self.inner.cache_key(arguments)
        return blake2b(inner, digest_size=32, key=self._hash_key, person=b"cache key").digest()


def _derive(secret: bytes, purpose: bytes, size: int) -> bytes:
    return blake2b(b"durably", digest_size=size, key=secret, person=purpose).digest()


def _read_keys(keys: bytes | str | Sequence[bytes | str] | None) -> list[bytes]:
    if keys is None:
        keys = [part for part in os.environ.get(_VARIABLE, "").split(",") if part.strip()]
    if isinstance(keys, (bytes, str)):
        keys = [keys]
    if not keys:
        raise ConfigError(f"no encryption key: pass keys=..., or set {_VARIABLE} to 64 hexadecimal characters")
    return [_read_key(key) for key in keys]


def _read_key(key: bytes | str) -> bytes:
    found = key
    if isinstance(key, str):
        text = key.strip()
        try:
            if len(text) == 64:
                found = bytes.fromhex(text)
            elif len(text) in (43, 44):
                text = text.ljust(44, "=")
                found = urlsafe_b64decode(text) if "-" in text or "_" in text else b64decode(text, validate=True)
        except ValueError:
            pass
    if not isinstance(found, bytes) or len(found) != 32:
        raise ConfigError(
            "an encryption key must be 32 bytes, 64 hexadecimal or 44 base64 characters; "
            "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return found
