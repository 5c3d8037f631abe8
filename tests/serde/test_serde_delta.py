"""Stored deltas and compression."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.errors import DecodeError
from durably.serde import TypedSerializer
from durably.serde.delta import Chain, base_of, compress, expand, is_delta, restore, shrink

serializer = TypedSerializer()


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_unrelated_values(data: bytes, base: bytes) -> None:
    encoded, before = serializer.dumps(data), serializer.dumps(base)
    assert restore(shrink(encoded, before), before) == encoded


@given(st.data())
def test_edited_values(draw: st.DataObject) -> None:
    random_bytes = random.Random(draw.draw(st.integers(0, 1000))).randbytes
    base = b"\x01" + random_bytes(draw.draw(st.integers(0, 3000)))
    data = bytearray(base)
    for _ in range(draw.draw(st.integers(0, 6))):
        at = draw.draw(st.integers(0, len(data)))
        data[at : at + draw.draw(st.sampled_from([0, 1, 40, 500]))] = random_bytes(
            draw.draw(st.sampled_from([0, 1, 5, 40, 700]))
        )
    encoded = b"\x01" + bytes(data)
    assert restore(shrink(encoded, base), base) == encoded


def history(wrap: Any, turns: int) -> tuple[list[int], list[int]]:
    """Store a chat that grows by about 1 KB a turn; the stored sizes, and the chain lengths."""
    words = random.Random(1)
    messages: list[dict[str, str]] = []
    kept: list[bytes] = []
    sizes, chains = [], []
    for turn in range(turns):
        text = " ".join(f"{words.randrange(1 << 40):x}" for _ in range(90))
        messages.append({"role": "user", "content": text, "id": str(turn)})
        encoded = serializer.dumps(wrap(messages, turn))
        before = base_of(turn)
        base = None if before is None else kept[before]
        stored = shrink(encoded, base)
        assert restore(stored, base) == encoded
        kept.append(encoded)
        sizes.append(len(stored))
        chains.append(0 if before is None else chains[before] + 1)
    return sizes, chains


@pytest.mark.parametrize(
    "wrap",
    [
        lambda messages, turn: messages,
        lambda messages, turn: {"turn": turn, "messages": messages, "after": {"count": turn}},
        lambda messages, turn: {"a": messages, "b": messages[::2], "pair": (1, turn)},
        lambda messages, turn: tuple(messages),
    ],
    ids=["list", "dict", "two lists", "tuple"],
)
def test_a_chat_costs_what_was_appended(wrap: Any) -> None:
    sizes, chains = history(wrap, 200)
    assert sum(sizes[:11]) < 1.5 * 11 * 1_100
    assert sum(sizes[100:]) < 1.5 * 100 * 1_100
    assert max(chains) == 199


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 200), st.integers(0, 900)), max_size=90), st.integers(0, 5)
)
def test_chains_are_put_together_at_once(edits: list[tuple[int, int, int]], seed: int) -> None:
    noise = random.Random(seed).randbytes
    version = b"\x01" + noise(2000)
    chain, versions = Chain(), [version]
    chain.add(shrink(version))
    for at, removed, added in edits:
        version = version[: 1 + at] + noise(added) + version[1 + at + removed :]
        chain.add(shrink(version, versions[-1]))
        versions.append(version)
        if added % 7 == 0:
            assert chain.value() == version
    assert chain.value() == version


@given(st.binary(max_size=600), st.integers(0, 3000), st.integers(0, 5))
def test_what_stands_beside_is_not_stored_again(said: bytes, at: int, seed: int) -> None:
    base = b"\x01" + random.Random(seed).randbytes(3000)
    data = base[: 1 + at] + said + base[1 + at :] + said[:40]
    stored = shrink(data, base, said)
    chain = Chain(base)
    chain.add(stored, lambda: said)
    assert chain.value() == data
    if said:
        with pytest.raises(DecodeError, match=r"earlier version|damaged"):
            restore(stored, base[1:])


def test_a_turn_of_a_chat_is_stored_where_it_was_said() -> None:
    said = [serializer.dumps(random.Random(n).randbytes(500).hex()) for n in range(20)]
    versions = [
        serializer.dumps([{"role": "user", "content": serializer.loads(one)} for one in said[:n]]) for n in range(21)
    ]
    for before, version, one in zip(versions[1:], versions[2:], said[1:], strict=False):
        assert len(shrink(version, before, one)) < 60


def test_a_chain_with_a_wrong_version_in_it_is_refused() -> None:
    noise = random.Random(4).randbytes(3000)
    versions = [b"\x01" + noise + b"?" * n for n in range(1, 4)]
    chain = Chain()
    chain.add(versions[0].replace(noise[1000:1004], b"play"))
    for before, version in pairwise(versions):
        chain.add(shrink(version, before))
    with pytest.raises(DecodeError, match="earlier version"):
        chain.value()


@pytest.mark.parametrize("form", [1, 2])
def test_deltas_checked_by_their_base_are_read(form: int) -> None:
    base = b"\x01" + b"all work and no play " * 200
    edits = msgspec.msgpack.encode([b"", 0, len(base), b"makes Jack"])
    check = zlib.crc32(base).to_bytes(4)
    stored = b"\xc1D\x01" + check + edits
    if form == 2:
        packer = zlib.compressobj(1, zdict=base[-32_768:])
        stored = b"\xc1D\x02" + check + len(edits).to_bytes(8) + packer.compress(edits) + packer.flush()
    assert restore(stored, base) == base + b"makes Jack"
    with pytest.raises(DecodeError, match="earlier version"):
        restore(stored, base + b"x")


def test_chains_are_bounded() -> None:
    lengths = {0: 0}
    for version in range(1, 40_000):
        before = base_of(version)
        assert before is not None
        lengths[version] = lengths[before] + 1
    assert max(lengths.values()) <= 1023 * 2


def test_a_delta_needs_its_own_base() -> None:
    base, data = bytes(range(256)) * 20, bytes(range(256)) * 20 + b"new"
    delta = shrink(data, base)
    assert is_delta(delta)
    for wrong in (None, b"", base[:-1], b"x" + base, base.replace(b"a", b"b")):
        with pytest.raises(DecodeError, match="earlier version"):
            restore(delta, wrong)
    assert restore(delta, base + b"never copied") == data


@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_damaged_deltas_are_a_decode_error_or_a_value(at: int, bit: int, large: bool) -> None:
    base = bytes(range(256)) * 20
    noise = random.Random(2).randbytes(300 if large else 3)
    delta = bytearray(shrink(base[:2000] + noise + base[2000:], base))
    delta[at % len(delta)] ^= 1 << bit
    for stored in (bytes(delta), bytes(delta[: at % len(delta)])):
        try:
            restore(stored, base)
        except DecodeError:
            pass


def test_compression_only_where_it_helps() -> None:
    noise = random.Random(3).randbytes(100_000)
    assert compress(noise) is noise
    text = b"all work and no play " * 1000
    packed = compress(text)
    assert len(packed) < 500
    assert expand(packed) == text
    assert compress(packed) == packed
    assert compress(text[:4096]) == text[:4096]
    assert serializer.loads(compress(serializer.dumps("x" * 9000))) == "x" * 9000


def test_compression_bombs_do_not_go_off() -> None:
    bomb = compress(b"\x00" * 10_000_000)
    assert len(bomb) < 50_000
    with pytest.raises(DecodeError, match="over the limit"):
        expand(bomb, limit=1_000_000)
    lying = bomb[:3] + (1000).to_bytes(8) + bomb[11:]
    for damaged in (lying, bomb[:20], bomb + b"x", b"\xc1Z\x01", b"\xc1Z\x02" + bomb[3:], b"\xc1Z\x01" + b"\xff" * 30):
        with pytest.raises(DecodeError):
            expand(damaged)
    base = b"\x00" * 1_000_000
    runs = b"\xdc\x03\xe8" + (b"\xc4\x00\x00\xce\x00\x0f\x42\x40" * 334)[: 999 * 8]
    forged = b"\xc1D\x01" + zlib.crc32(base).to_bytes(4) + runs
    with pytest.raises(DecodeError):
        restore(forged, base, limit=2_000_000)
