"""What the engine keeps inside the rows of runs, and how checkpoints are addressed.

Every run has a checkpoint at its start and one at its end, so checkpoints need no rows of their own: ``<run id>-0`` and
``<run id>-1`` address them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec.structs import replace

from ..checkpoint.base import RunRow
from ..checkpoint.heads import Head, Outcome, head_of, outcome_of
from ..errors import ConfigError, EncodeError
from ..serde import Serializer, TypedSerializer, rebuild_exception
from ..types import check_durability
from .identity import run_place
from .options import Options, merge_configs

__all__ = [
    "END",
    "START",
    "Head",
    "Outcome",
    "checkpoint_of",
    "end_step",
    "head_of",
    "last_checkpoint",
    "outcome_of",
    "step_checkpoint",
    "step_of",
]

_PLACE: Final = re.compile(r"[01]|0\.\d{6,}")

START: Final = 0
END: Final = 1

ADDRESS: Final = frozenset(("thread_id", "checkpoint_id"))
"""The configurable values that say where a run is, which its row says, too."""

PLAIN: Final = TypedSerializer()
"""Circumstances stay readable on disk even where values are encrypted: they are what one searches by."""


def returned_by(run: RunRow, serde: Serializer) -> Any:
    """What a finished run returned."""
    value = outcome_of(run).value
    if value is not None:
        return serde.loads(value, run_place(run.run_id, "value"))
    return saved_by(run, serde)


def saved_by(run: RunRow, serde: Serializer) -> Any:
    """What a run saved for the thread's next one."""
    return None if run.saved is None else serde.loads(run.saved, run_place(run.run_id, "saved"))


def left_nothing(run: RunRow) -> bool:
    """Whether nothing of a run counts: it was to be written at its end, and its process died before.

    To be asked of a run that nobody holds.
    """
    return run.status == "running" and run.attempt == 1 and head_of(run).durability == "exit"


def raised_by(run: RunRow, serde: Serializer) -> BaseException | None:
    """What a run's last attempt raised; None if it did not, or was stopped from outside, which is nobody's failure."""
    error = outcome_of(run).error
    if error is None or run.status == "stopped":
        return None
    return rebuild_exception(serde.loads(error, run_place(run.run_id, "error")), run.workflow)


# Circumstances that are stored with a run.


def encode_extra(config: Mapping[str, Any]) -> bytes:
    """Tags, metadata and those configurable values that can be stored; empty where there are none."""
    tags, run_name = config.get("tags"), config.get("run_name")
    metadata, configurable = config.get("metadata"), config.get("configurable") or {}
    if not (tags or run_name or metadata) and configurable.keys() <= ADDRESS:
        return b""
    every = {
        "tags": list(tags or ()),
        "metadata": _storable(metadata),
        "configurable": _storable(configurable, leave_out=ADDRESS),
        "run_name": run_name,
    }
    kept = {name: value for name, value in every.items() if value}
    return PLAIN.dumps(kept) if kept else b""


def _storable(values: Any, leave_out: Collection[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if name not in leave_out and _is_storable(value)}


def _is_storable(value: Any) -> bool:
    try:
        PLAIN.dumps(value)
    except EncodeError:
        return False
    return True


def decode_extra(head: Head) -> dict[str, Any]:
    """What `encode_extra` kept."""
    extra: dict[str, Any] = PLAIN.loads(head.extra) if head.extra else {}
    return extra


def merge_extra(old: bytes, new: bytes) -> bytes:
    """Stored circumstances with others on top of them."""
    if not old or not new:
        return old or new
    return PLAIN.dumps(merge_configs(PLAIN.loads(old), PLAIN.loads(new)))


def as_started(options: Options, run: RunRow) -> Options:
    """What a further attempt runs under: what its run was started with, under what this invocation gives."""
    head = head_of(run)
    config = merge_configs(decode_extra(head), options.config) if head.extra else options.config
    durability = check_durability(head.durability) if options.inherits else options.durability
    durable_stream = options.durable_stream or head.durable_stream
    return replace(options, config=config, durability=durability, durable_stream=durable_stream)


# Checkpoints.


def checkpoint_of(run_id: str, end: int) -> str:
    """The address of a run's start or end."""
    return f"{run_id}-{end}"


def step_checkpoint(run_id: str, step: int) -> str:
    """The address of a moment inside a run, by its number; 0 is the run's start."""
    return f"{run_id}-{START}.{step:06}" if step else checkpoint_of(run_id, START)


def step_of(checkpoint_id: str) -> int | None:
    """Which moment of its run is meant; None for the end."""
    end, _, step = checkpoint_id.rpartition("-")[2].partition(".")
    return int(step or 0) if end == str(START) else None


def parse_checkpoint(checkpoint_id: Any) -> tuple[str, int]:
    """A run's name, and whether its end is meant, or its start or another moment before its end.

    Raises:
        ConfigError: that is no checkpoint's address.
    """
    if isinstance(checkpoint_id, str):
        run_id, dash, end = checkpoint_id.rpartition("-")
        if dash and run_id and _PLACE.fullmatch(end):
            return run_id, int(end[0])
    raise ConfigError(
        f"checkpoint_id {checkpoint_id!r} is no address of a checkpoint: take one from get_state() or get_state_history()"
    )


def last_checkpoint(run: RunRow) -> str:
    """The latest checkpoint of a run: its end if it has one."""
    return checkpoint_of(run.run_id, END if run.status == "done" else START)


def end_step(run: RunRow) -> int:
    """The step of a run's latest checkpoint."""
    return head_of(run).step + outcome_of(run).steps if run.status == "done" else head_of(run).step
