"""Which recorded result belongs to which call. Pure: no clock, no database, no lock."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ..errors import DecodeError, NonDeterminismError, ReplayWarning
from .identity import Key, body_of

__all__ = [
    "ANSWERED",
    "ASKED",
    "RAISED",
    "RETURNED",
    "Entry",
    "Journal",
    "Kept",
    "Record",
    "decode_records",
    "encode_records",
    "in_body",
    "questions",
]

RETURNED: Final = 0
RAISED: Final = 1
ASKED: Final = 2
ANSWERED: Final = 3


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is remembered of one call.

    Args:
        kind: `RETURNED`, `RAISED`, `ASKED` (an open question) or `ANSWERED`.
        scope: with ``name`` and ``n`` the call's key.
        name: the task's, the nested workflow's, or ``interrupt``.
        n: the how-manieth call of that name in that scope.
        fingerprint: stands for the arguments.
        data: the encoded result, error, question or answer.
        started: when its first attempt began, in seconds since the epoch.
        seconds: how long it took, attempts and pauses included.
        attempts: how many there were.
        cached: whether the result came from a cache.
    """

    kind: int
    scope: str
    name: str
    n: int
    fingerprint: bytes
    data: bytes
    started: float = 0.0
    seconds: float = 0.0
    attempts: int = 1
    cached: bool = False

    @property
    def key(self) -> Key:
        """What identifies the call."""
        return Key(self.scope, self.name, self.n)


class Kept(msgspec.Struct, frozen=True):
    """A result kept as the object it is, for the retries of a body whose run has no journal on disk."""

    key: Key
    value: Any
    kind: int = RETURNED
    fingerprint: bytes = b""
    cached: bool = False


Entry = Record | Kept

encode_records = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Record])


def decode_records(chunks: Iterable[bytes]) -> list[Record]:
    """The records of a journal, oldest first."""
    try:
        return [record for chunk in chunks for record in _decoder.decode(chunk)]
    except msgspec.MsgspecError as error:
        raise DecodeError(
            f"a run's journal cannot be read ({error}): the database is damaged, or written by a newer version of durably"
        ) from error


class Journal:
    """The recorded calls of a run that no call of this attempt has claimed yet.

    Args:
        records: oldest first; a later record of a call replaces an earlier one.
        strict: whether a difference between record and program is an error; otherwise it is a warning.
    """

    def __init__(self, records: Iterable[Entry] = (), *, strict: bool = False) -> None:
        self._strict = strict
        self._unclaimed: dict[Key, Entry] = {}
        self._moved: defaultdict[tuple[str, str, bytes], list[Key]] | None = None
        for record in records:
            self.add(record)

    def __bool__(self) -> bool:
        return bool(self._unclaimed)

    def add(self, record: Entry) -> None:
        """Offer a record to a call to come."""
        self._unclaimed[record.key] = record
        if self._moved is not None:
            self._moved[_place(record)].append(record.key)

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget calls, so that they run again."""
        for key in keys:
            self._unclaimed.pop(key, None)

    def claim(self, key: Key, fingerprint: bytes) -> Entry | None:
        """Take the record that belongs to a call, or None where it has to run.

        Raises:
            NonDeterminismError: in strict mode, when the record at this key was made with other arguments, or when the
                call is new although records of its name lie unclaimed in its scope.
        """
        record = self._unclaimed.get(key)
        if record is not None and record.fingerprint == fingerprint:
            return self._unclaimed.pop(key)
        moved = self._find_moved(key, fingerprint)
        if moved is not None:
            return self._unclaimed.pop(moved)
        if record is None:
            if self._strict:
                self._refuse_new(key)
            return None
        self._differs(
            f"call {key} is made with other arguments than recorded: the recorded result is used all the same"
        )
        return self._unclaimed.pop(key)

    def leftovers(self, body: str) -> Iterator[Entry]:
        """The records of a body's own calls that nothing has claimed."""
        return (record for record in self._unclaimed.values() if body_of(record.key.scope) == body)

    def report_leftovers(self, body: str) -> None:
        """Warn of, or in strict mode refuse, what a body recorded before and did not call this time."""
        names = sorted(str(record.key) for record in self.leftovers(body))
        if names:
            self._differs(
                f"{body or 'the workflow'} made new calls, but not the recorded ones: {', '.join(names[:5])}"
                + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            )

    def _find_moved(self, key: Key, fingerprint: bytes) -> Key | None:
        """The first unclaimed record of the same name and arguments anywhere in the same body."""
        if self._moved is None:
            self._moved = defaultdict(list)
            for record in self._unclaimed.values():
                self._moved[_place(record)].append(record.key)
        keys = self._moved.get((body_of(key.scope), key.name, fingerprint), ())
        for candidate in keys:
            found = self._unclaimed.get(candidate)
            if found is not None and found.fingerprint == fingerprint:
                return candidate
        return None

    def _refuse_new(self, key: Key) -> None:
        recorded = [str(k) for k in self._unclaimed if k.scope == key.scope and k.name == key.name]
        if recorded:
            self._differs(f"call {key} is new, while the recorded calls {', '.join(recorded[:5])} were not made")

    def _differs(self, what: str) -> None:
        advice = (
            "The workflow's code or its inputs changed while the run was open. Keep the order and the arguments of its "
            "calls, take time, randomness and outside state from tasks, or start a new run."
        )
        if self._strict:
            raise NonDeterminismError(f"{what}. {advice}")
        warnings.warn(ReplayWarning(f"{what}. {advice}"), stacklevel=5)


def _place(record: Entry) -> tuple[str, str, bytes]:
    key = record.key
    return body_of(key.scope), key.name, record.fingerprint


def in_body(key: Key, path: str) -> bool:
    """Whether a call was made in the body at ``path``, at any depth."""
    scope = key.scope
    return scope.startswith(path) and (not path or scope[len(path) : len(path) + 1] in ("", "/", "~"))


def questions(records: Iterable[Record]) -> dict[Key, Record]:
    """The open questions among ``records``."""
    asked: dict[Key, Record] = {}
    for record in records:
        if record.kind == ASKED:
            asked[record.key] = record
        elif record.kind == ANSWERED:
            asked.pop(record.key, None)
    return asked
