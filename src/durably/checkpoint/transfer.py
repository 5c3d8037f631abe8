"""Records copied from one run to another, readable in their new place."""

from __future__ import annotations

from typing import Any

import msgspec

from ..serde import Serializer
from .heads import encode_row, outcome_of
from .records import ANSWERED, ASKED, RETURNED, Key, Record, memory_place, record_place, run_place
from .rows import RunRow

__all__ = [
    "copied_input",
    "copied_memory",
    "copied_records",
    "copied_run",
    "encoded_summary",
    "sealed_summary",
    "unsealed_summary",
]


def moved(data: bytes, old: bytes, new: bytes, serde: Serializer) -> bytes:
    """A stored value, sealed for another place; serializers that bind no place give the bytes as they are."""
    seal, unseal = getattr(serde, "seal", None), getattr(serde, "unseal", None)
    return data if seal is None or unseal is None else seal(unseal(data, old), new)


def encoded_summary(summary: str) -> bytes:
    """A call's arguments in a few words, as bytes that are not sealed."""
    return summary.encode("utf-8", "backslashreplace")


def sealed_summary(summary: str, run_id: str, key: Key, serde: Serializer) -> bytes:
    """A call's arguments in a few words, as they are stored."""
    data = encoded_summary(summary)
    seal: Any = getattr(serde, "seal", None)
    return data if seal is None else seal(data, record_place(run_id, key))


def unsealed_summary(record: Record, run_id: str, serde: Serializer) -> str:
    """The arguments of a recorded call in a few words; empty where they were not noted."""
    unseal: Any = getattr(serde, "unseal", None)
    data = record.summary
    if data and unseal is not None:
        data = unseal(data, record_place(run_id, record.key))
    return data.decode("utf-8", "replace")


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
    copies = [_moved_record(record, old_id, new_id, serde) for record in kept]
    return copies + [
        _with_value(_moved_record(record, old_id, new_id, serde), value, new_id, serde) for record, value in replaced
    ]


def _moved_record(record: Record, old_id: str, new_id: str, serde: Serializer) -> Record:
    old, new = record_place(old_id, record.key), record_place(new_id, record.key)
    data = moved(record.data, old, new, serde) if record.data else b""
    schema = moved(record.schema, old, new, serde) if record.schema else b""
    summary = moved(record.summary, old, new, serde) if record.summary else b""
    return msgspec.structs.replace(record, data=data, schema=schema, summary=summary)


def copied_run(run: RunRow, run_id: str, numbers: dict[int, int], names: dict[str, str], serde: Serializer) -> RunRow:
    """A run for another thread.

    Args:
        run: the run.
        run_id: the name of the copy.
        numbers: of the runs copied before it, old to new.
        names: likewise.
        serde: turns values into bytes.
    """

    def value(data: bytes | None, what: str) -> bytes | None:
        return None if data is None else moved(data, run_place(run.run_id, what), run_place(run_id, what), serde)

    outcome = outcome_of(run)
    parent, dash, end = run.parent.rpartition("-")
    return msgspec.structs.replace(
        run,
        no=0,
        run_id=run_id,
        parent=f"{names[parent]}{dash}{end}" if parent in names else "",
        input=copied_input(run, run_id, serde) if run.input else b"",
        outcome=None
        if run.outcome is None
        else encode_row(
            msgspec.structs.replace(
                outcome,
                value=value(outcome.value, "value"),
                error=value(outcome.error, "error"),
                memory=copied_memory(run, run_id, serde),
            )
        ),
        saved=value(run.saved, "saved"),
        base_no=numbers.get(run.base_no, 0),
        saved_base=numbers.get(run.saved_base, 0),
    )


def copied_memory(run: RunRow, run_id: str, serde: Serializer) -> dict[str, bytes]:
    """What nested workflows saved up to a run, for another run."""
    return {
        path: moved(data, memory_place(run.run_id, path), memory_place(run_id, path), serde)
        for path, data in outcome_of(run).memory.items()
    }


def _with_value(record: Record, value: Any, run_id: str, serde: Serializer) -> Record:
    kind = ANSWERED if record.kind in (ASKED, ANSWERED) else RETURNED
    return msgspec.structs.replace(record, kind=kind, data=serde.dumps(value, record_place(run_id, record.key)))
