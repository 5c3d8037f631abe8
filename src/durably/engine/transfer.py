"""Records copied from one run to another, readable in their new place."""

from __future__ import annotations

from typing import Any

import msgspec

from ..checkpoint.base import RunRow
from ..serde import Serializer
from .identity import record_place, run_place
from .journal import ANSWERED, ASKED, RETURNED, Record

__all__ = ["copied_input", "copied_records"]


def moved(data: bytes, old: bytes, new: bytes, serde: Serializer) -> bytes:
    """A stored value, sealed for another place; serializers that bind no place give the bytes as they are."""
    seal, unseal = getattr(serde, "seal", None), getattr(serde, "unseal", None)
    return data if seal is None or unseal is None else seal(unseal(data, old), new)


def copied_input(run: RunRow, run_id: str, serde: Serializer) -> bytes:
    """A run's input, for another run."""
    return moved(run.input, run_place(run.run_id, "input"), run_place(run_id, "input"), serde)


def copied_records(
    old_id: str, new_id: str, kept: list[Record], replaced: tuple[tuple[Record, Any], ...], serde: Serializer
) -> list[Record]:
    """Records for a fork.

    Args:
        old_id: the run they come from.
        new_id: the run they go to.
        kept: those that keep their results.
        replaced: those that get another result.
        serde: turns values into bytes.
    """
    copies = [
        msgspec.structs.replace(
            record,
            data=moved(record.data, record_place(old_id, record.key), record_place(new_id, record.key), serde),
        )
        for record in kept
    ]
    return copies + [_with_value(record, value, new_id, serde) for record, value in replaced]


def _with_value(record: Record, value: Any, run_id: str, serde: Serializer) -> Record:
    kind = ANSWERED if record.kind in (ASKED, ANSWERED) else RETURNED
    return msgspec.structs.replace(record, kind=kind, data=serde.dumps(value, record_place(run_id, record.key)))
