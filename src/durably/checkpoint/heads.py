"""What is stored of a run beside its values: the circumstances of its start, and how its last attempt ended."""

from __future__ import annotations

import msgspec

from ..errors import DecodeError
from .rows import UNREADABLE, RunRow

__all__ = ["Head", "Outcome", "encode_row", "head_of", "outcome_of"]


class Head(msgspec.Struct, array_like=True, frozen=True):
    """The circumstances under which a run was started, as stored.

    Args:
        durability: when its results are to be on disk.
        source: what made the run: ``input``, ``update`` or ``fork``.
        step: the how-manieth checkpoint of its thread its start is, from -1.
        extra: encoded tags, metadata and configurable values; empty where there are none.
        durable_stream: whether what its bodies write to the stream is stored.
    """

    durability: str = "async"
    source: str = "input"
    step: int = -1
    extra: bytes = b""
    durable_stream: bool = False


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """How an attempt ended, as stored.

    Args:
        value: the encoded return value, None where it is the saved one or there is none.
        error: the encoded error.
        again: the calls to try again when the run is resumed.
        memory: the encoded values that nested workflows save across the thread's runs, by their path.
        steps: the how-manieth checkpoint after its start the run's end is.
        paused: the places where it paused, which are passed when it is gone on with.
    """

    value: bytes | None = None
    error: bytes | None = None
    again: tuple[tuple[str, str, int], ...] = ()
    memory: dict[str, bytes] = {}
    steps: int = 1
    paused: tuple[tuple[str, str, int], ...] = ()


encode_row = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def head_of(run: RunRow) -> Head:
    """The circumstances of a run."""
    try:
        return _decode_head(run.head)
    except UNREADABLE as error:
        raise DecodeError(f"the stored head of run {run.run_id} cannot be read: {error}") from error


def outcome_of(run: RunRow) -> Outcome:
    """How a run's last attempt ended; empty where it has not."""
    if run.outcome is None:
        return Outcome()
    try:
        return _decode_outcome(run.outcome)
    except UNREADABLE as error:
        raise DecodeError(f"the stored outcome of run {run.run_id} cannot be read: {error}") from error
