"""What the engine keeps inside the rows of runs, and how checkpoints are addressed.

Every run has a checkpoint at its start and one at its end, so checkpoints need no rows of their own: ``<run id>-0`` and
``<run id>-1`` address them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..checkpoint.base import RunRow
from ..errors import ConfigError, DecodeError, EncodeError
from ..serde import Serializer, TypedSerializer, rebuild_exception
from .identity import run_place

__all__ = ["END", "START", "Head", "Outcome", "checkpoint_of", "end_step", "head_of", "last_checkpoint", "outcome_of"]

START: Final = 0
END: Final = 1

PLAIN: Final = TypedSerializer()
"""Circumstances stay readable on disk even where values are encrypted: they are what one searches by."""


class Head(msgspec.Struct, array_like=True, frozen=True):
    """The circumstances under which a run was started, as stored.

    Args:
        durability: when its results are to be on disk.
        source: what made the run: ``input``, ``update`` or ``fork``.
        step: the how-manieth checkpoint of its thread its start is, from -1.
        extra: encoded tags, metadata and configurable values; empty where there are none.
    """

    durability: str = "async"
    source: str = "input"
    step: int = -1
    extra: bytes = b""


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """How an attempt ended, as stored.

    Args:
        value: the encoded return value, None where it is the saved one or there is none.
        error: the encoded error.
        again: the calls to try again when the run is resumed.
    """

    value: bytes | None = None
    error: bytes | None = None
    again: tuple[tuple[str, str, int], ...] = ()


encode_row = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def head_of(run: RunRow) -> Head:
    """The circumstances of a run."""
    try:
        return _decode_head(run.head)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"the stored head of run {run.run_id} cannot be read: {error}") from error


def outcome_of(run: RunRow) -> Outcome:
    """How a run's last attempt ended; empty where it has not."""
    if run.outcome is None:
        return Outcome()
    try:
        return _decode_outcome(run.outcome)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"the stored outcome of run {run.run_id} cannot be read: {error}") from error


def returned_by(run: RunRow, serde: Serializer) -> Any:
    """What a finished run returned."""
    value = outcome_of(run).value
    if value is not None:
        return serde.loads(value, run_place(run.run_id, "value"))
    return saved_by(run, serde)


def saved_by(run: RunRow, serde: Serializer) -> Any:
    """What a run saved for the thread's next one."""
    return None if run.saved is None else serde.loads(run.saved, run_place(run.run_id, "saved"))


def raised_by(run: RunRow, serde: Serializer) -> BaseException | None:
    """What a run's last attempt raised, None if it did not."""
    error = outcome_of(run).error
    return (
        None if error is None else rebuild_exception(serde.loads(error, run_place(run.run_id, "error")), run.workflow)
    )


# Circumstances that are stored with a run.


def encode_extra(config: Mapping[str, Any]) -> bytes:
    """Tags, metadata and those configurable values that can be stored; empty where there are none."""
    extra = {
        name: value
        for name, value in (
            ("tags", list(config.get("tags") or ())),
            ("metadata", _storable(config.get("metadata"))),
            ("configurable", _storable(config.get("configurable"), leave_out=("thread_id", "checkpoint_id"))),
            ("run_name", config.get("run_name")),
        )
        if value
    }
    return PLAIN.dumps(extra) if extra else b""


def _storable(values: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    kept = {}
    for name, value in (values or {}).items():
        if name not in leave_out:
            try:
                PLAIN.dumps(value)
            except EncodeError:
                continue
            kept[name] = value
    return kept


def decode_extra(head: Head) -> dict[str, Any]:
    """What `encode_extra` kept."""
    extra: dict[str, Any] = PLAIN.loads(head.extra) if head.extra else {}
    return extra


# Checkpoints.


def checkpoint_of(run_id: str, end: int) -> str:
    """The address of a run's start or end."""
    return f"{run_id}-{end}"


def parse_checkpoint(checkpoint_id: Any) -> tuple[str, int]:
    """A run's name, and whether its start or its end is meant.

    Raises:
        ConfigError: that is no checkpoint's address.
    """
    if isinstance(checkpoint_id, str):
        run_id, dash, end = checkpoint_id.rpartition("-")
        if dash and run_id and end in ("0", "1"):
            return run_id, int(end)
    raise ConfigError(
        f"checkpoint_id {checkpoint_id!r} is no address of a checkpoint: take one from get_state() or get_state_history()"
    )


def last_checkpoint(run: RunRow) -> str:
    """The latest checkpoint of a run: its end if it has one."""
    return checkpoint_of(run.run_id, END if run.status == "done" else START)


def end_step(run: RunRow) -> int:
    """The step of a run's latest checkpoint."""
    return head_of(run).step + (run.status == "done")
