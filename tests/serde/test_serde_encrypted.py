"""Encryption."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.errors import ConfigError, DecodeError, EncodeError
from durably.serde import EncryptedSerializer, TypedSerializer

pytest.importorskip("cryptography")
OLD, NEW = bytes(range(32)), bytes(range(100, 132))
serializer = EncryptedSerializer(keys=OLD)


def test_values_come_back_and_cannot_be_read_without_the_key() -> None:
    value = {"secret word": ("inner", 2**100)}
    data = serializer.dumps(value, b"place")
    assert serializer.loads(data, b"place") == value
    assert b"secret" not in data
    assert data != serializer.dumps(value, b"place")


def test_bytes_belong_to_their_place() -> None:
    data = serializer.dumps("x", b"thread-1/call-1")
    for place in (b"", b"thread-1/call-2", b"thread-1/call-1 "):
        with pytest.raises(DecodeError, match="moved from another row"):
            serializer.loads(data, place)


@given(st.integers(0, 1000), st.integers(0, 7))
def test_every_changed_bit_is_noticed(at: int, bit: int) -> None:
    data = bytearray(serializer.dumps("some text", b"p"))
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(DecodeError):
        serializer.loads(bytes(data), b"p")


@given(st.binary(max_size=80))
def test_random_bytes_are_a_decode_error(data: bytes) -> None:
    for start in (b"", b"\xc1E", serializer.dumps(1)[:7]):
        with pytest.raises(DecodeError):
            serializer.loads(start + data)


def test_a_missing_key_is_named() -> None:
    data = serializer.dumps("x")
    with pytest.raises(DecodeError, match=f"key of id {data[3:7].hex()}, which is not among the 1 given"):
        EncryptedSerializer(keys=NEW).loads(data)


def test_values_that_are_not_encrypted_are_refused() -> None:
    with pytest.raises(DecodeError, match="not encrypted"):
        serializer.loads(TypedSerializer().dumps("x"))


def test_keys_rotate() -> None:
    old, both = serializer, EncryptedSerializer(keys=[NEW, OLD])
    assert both.loads(old.dumps("x")) == "x"
    with pytest.raises(DecodeError):
        old.loads(both.dumps("x"))
    assert EncryptedSerializer(keys=[NEW]).loads(both.dumps("x")) == "x"
    assert both.fingerprint([1]) == old.fingerprint([1])
    assert EncryptedSerializer(keys=NEW, hash_key=OLD).cache_key([1]) == old.cache_key([1])


def test_fingerprints_and_cache_keys_are_keyed() -> None:
    other = EncryptedSerializer(keys=NEW)
    assert len({s.fingerprint(["a"]) for s in (serializer, other, TypedSerializer())}) == 3
    assert len({s.cache_key(["a"]) for s in (serializer, other, TypedSerializer())}) == 3
    assert len(serializer.fingerprint(["a"])) == 16
    assert len(serializer.cache_key(["a"])) == 32
    assert serializer.fingerprint([object()]) == serializer.fingerprint([object()])
    with pytest.raises(EncodeError):
        serializer.cache_key([object()])


def test_keys_come_as_bytes_hex_base64_or_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    data = serializer.dumps("x")
    texts = [OLD.hex(), base64.b64encode(OLD).decode(), base64.urlsafe_b64encode(OLD).decode().rstrip("=")]
    for key in (OLD, *texts):
        assert EncryptedSerializer(keys=key).loads(data) == "x"
    monkeypatch.setenv("DURABLY_ENCRYPTION_KEY", f"{NEW.hex()}, {OLD.hex()}")
    assert EncryptedSerializer().loads(data) == "x"


@pytest.mark.parametrize("key", [b"short", "zz" * 32, "", [], "a" * 44 + "!", OLD.hex()[:-1]])
def test_bad_keys_are_refused(key: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLY_ENCRYPTION_KEY", raising=False)
    with pytest.raises(ConfigError, match="key"):
        EncryptedSerializer(keys=key)  # type: ignore[arg-type]


def test_keys_are_not_shown() -> None:
    assert OLD.hex() not in repr(serializer)
    assert "0102" not in repr(serializer)


def test_storage_can_put_deltas_inside_the_seal() -> None:
    plain = serializer.encode({"a": (1,)})
    assert serializer.decode(plain) == {"a": (1,)}
    assert serializer.unseal(serializer.seal(plain, b"p"), b"p") == plain
    assert serializer.loads(serializer.seal(plain, b"p"), b"p") == {"a": (1,)}
