"""Which recorded result belongs to which call. Pure: no clock, no database, no lock."""

from __future__ import annotations

import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from ..checkpoint.records import (
    ANSWERED,
    ASKED,
    BEGAN,
    FORGOTTEN,
    RAISED,
    RETURNED,
    SAID,
    Record,
    decode_journal,
    decode_records,
    encode_records,
)
from ..errors import NonDeterminismError, ReplayWarning
from .identity import Key, body_of

__all__ = [
    "ANSWERED",
    "ASKED",
    "BEGAN",
    "FORGOTTEN",
    "PATCH",
    "RAISED",
    "RETURNED",
    "SAID",
    "STREAM",
    "WHOLE",
    "Entry",
    "Journal",
    "Kept",
    "Record",
    "decode_journal",
    "decode_records",
    "encode_records",
    "in_body",
    "questions",
]


PATCH: Final = "patched:"
"""In front of the name of a change, the name under which it is recorded; no Python name contains it."""

STREAM: Final = "stream:"
"""Likewise in front of the mode of what a body wrote to its stream."""


WHOLE: Final = b"\0"
"""In front of the id, in such a record, of what was written as a whole."""


class Kept(msgspec.Struct, frozen=True):
    """A result kept as the object it is, for the retries of a body whose run has no journal on disk."""

    key: Key
    value: Any
    kind: int = RETURNED
    fingerprint: bytes = b""
    cached: bool = False


Entry = Record | Kept
_key_of: Callable[[Record], tuple[str, str, int]] = attrgetter("scope", "name", "n")


class Places:
    """Under which key each call is recorded: its own, until it claims the record of another; then the two change keys.

    So no two calls share a key, the record of a finished call is never overwritten, and a call that has to run has the
    key, and with it the idempotency key, of one that has not finished.
    """

    __slots__ = ("_caller", "_first", "_top", "swapped")

    def __init__(self, first: Sequence[Record] = ()) -> None:
        self.swapped: dict[Key, Key] = {}  # by the call
        self._caller: dict[Key, Key] = {}
        self._first = first  # records that lie at their keys from the start; looked at when that matters
        self._top: dict[tuple[str, str], int] = {}

    def of(self, caller: Key) -> Key:
        """Where a call is recorded."""
        return self.swapped.get(caller, caller)

    def taken(self, key: tuple[str, str, int]) -> None:
        """A record lies at this key."""
        family, n = key[:2], key[2]
        if n >= self._top.get(family, -1):
            self._top[family] = n

    def swap(self, caller: Key, key: Key) -> None:
        """Give a call another key; whose that was gets the call's own."""
        other, own = self._caller.get(key, key), self.of(caller)
        self.swapped[caller], self._caller[key] = key, caller
        self.swapped[other], self._caller[own] = own, other

    def renew(self, caller: Key) -> Key:
        """Give a call a key that no other call has, had or will come to."""
        for record in self._first:
            self.taken(record.key)
        self._first = ()
        scope, name, _ = caller
        key = Key(scope, name, self._top[scope, name] + 1)
        self.taken(key)
        self.swap(caller, key)
        return key

    def restart(self, path: str) -> None:
        """The body at ``path`` counts its calls from the start again."""
        for caller in [caller for caller in self.swapped if in_body(caller, path)]:
            del self._caller[self.swapped.pop(caller)]


class Journal:
    """The recorded calls of a run that no call of this attempt has claimed yet.

    Args:
        records: oldest first; a later record of a call replaces an earlier one.
        strict: whether a difference between record and program is an error; otherwise it is a warning.
    """

    def __init__(self, records: Sequence[Record] = (), *, strict: bool = False) -> None:
        self._strict = strict
        # By key, without the names: five times as fast to make.
        self._unclaimed: dict[tuple[str, str, int], Entry] = dict(zip(map(_key_of, records), records, strict=True))
        self._moved: defaultdict[tuple[str, str, bytes], deque[Key]] | None = None
        self._places = Places(records)
        # Of nested workflows that remember across runs.
        self.memories: list[Record] = [record for record in records if record.memory]
        if len(self._unclaimed) < len(records):  # the order is that of the latest records
            self._unclaimed = {}
            for record in records:
                self._offer(_key_of(record), record)
        # Whether there may be a record, or another key, for a call: looked at once for each, and so no property.
        self.concerns_calls = bool(self._unclaimed)

    @property
    def has_more(self) -> bool:
        """Whether there is any unclaimed record."""
        return bool(self._unclaimed)

    def has(self, key: Key) -> bool:
        """Whether there is an unclaimed record at a key."""
        return key in self._unclaimed

    def add(self, record: Entry) -> None:
        """Offer a record to a call to come."""
        key = record.key
        self._offer(key, record)
        self._places.taken(key)
        if type(record) is Record and record.memory:
            self.memories.append(record)
        if self._moved is not None:
            self._moved[_kin(record)].append(key)

    def _offer(self, key: tuple[str, str, int], record: Entry) -> None:
        self._unclaimed.pop(key, None)  # so that the order is that of the latest records
        self._unclaimed[key] = record
        self.concerns_calls = True

    def before(self, key: Key) -> set[Key]:
        """The unclaimed calls of a fact's scope, and of its branches, that were recorded before the fact."""
        body, branches = body_of(key.scope), f"{key.scope}~"
        found = set[Key]()
        for record in self._unclaimed.values():
            other = record.key
            if other == key:
                break
            if other.scope == key.scope or (other.scope.startswith(branches) and body_of(other.scope) == body):
                found.add(other)
        return found

    def restart(self, path: str) -> None:
        """Another attempt of the body at ``path`` begins."""
        self._places.restart(path)

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget calls, so that they run again."""
        for key in keys:
            self._unclaimed.pop(key, None)

    def claim(
        self, caller: Key, fingerprint: bytes, explain: Callable[[Entry], str] | None = None
    ) -> tuple[Key, Entry | None]:
        """Take the record that belongs to a call.

        Args:
            caller: the call.
            fingerprint: stands for its arguments.
            explain: says how the arguments differ from those of a record.

        Returns:
            The key under which the call is recorded, and its record; None where the call has to run.

        Raises:
            NonDeterminismError: in strict mode, when the record at this key was made with other arguments, or when the
                call is new although earlier calls of its name lie unclaimed in its scope.
        """
        key = self._places.of(caller)
        record = self._unclaimed.get(key)
        if record is not None and self._is_of(record, fingerprint):
            return key, self._unclaimed.pop(key)
        moved = self._find_moved(caller, fingerprint)
        if moved is not None:
            self._places.swap(caller, moved)
            return moved, self._unclaimed.pop(moved)
        if record is not None and key == caller:
            change = "" if explain is None else f" ({explain(record)})"
            self._differs(
                f"call {key} is made with other arguments than recorded{change}: the recorded result is used all the same"
            )
            return key, self._unclaimed.pop(key)
        if self._strict:
            self._refuse_new(caller)
        self.concerns_calls = bool(self._unclaimed or self._places.swapped)
        return (key if record is None else self._places.renew(caller)), None

    def claim_own(self, caller: Key, fingerprint: bytes) -> Entry | None:
        """The most frequent case of `claim`: the record at the call's own key, made with the same arguments."""
        unclaimed = self._unclaimed
        record = unclaimed.get(caller)
        if record is None or self._places.swapped:
            return None
        if record.fingerprint != fingerprint and not self._is_of(record, fingerprint):
            return None
        del unclaimed[caller]
        return record

    @staticmethod
    def _is_of(record: Entry, fingerprint: bytes) -> bool:
        """Whether a record was made with these arguments, or is a result that was set in a fork, which has none."""
        return record.fingerprint == fingerprint or not record.fingerprint

    def leftovers(self, body: str) -> Iterator[Entry]:
        """The records of a body's own calls that nothing has claimed."""
        return (record for record in self._unclaimed.values() if body_of(record.key.scope) == body)

    def unclaimed(self, scope: str) -> list[Key]:
        """The calls of a scope that nothing has claimed."""
        keys = (record.key for record in self._unclaimed.values())
        return [key for key in keys if key.scope == scope and not key.name.startswith(PATCH)]

    def report_leftovers(self, body: str) -> None:
        """Warn of, or in strict mode refuse, what a body recorded before and did not call this time."""
        keys = (record.key for record in self.leftovers(body))
        names = sorted(str(key) for key in keys if not key.name.startswith(PATCH))
        if names:
            self._differs(
                f"{body or 'the workflow'} made new calls, but not the recorded ones: {', '.join(names[:5])}"
                + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            )

    def _find_moved(self, caller: Key, fingerprint: bytes) -> Key | None:
        """The first unclaimed record of the same name and arguments anywhere in the same body."""
        if self._moved is None:
            self._moved = defaultdict(deque)
            for record in self._unclaimed.values():
                self._moved[_kin(record)].append(record.key)
        kin = (body_of(caller.scope), caller.name, fingerprint)
        keys = self._moved.get(kin, ())
        while keys:
            found = self._unclaimed.get(keys[0])
            if found is not None and _kin(found) == kin:
                return keys[0]
            keys.popleft()
        return None

    def _refuse_new(self, key: Key) -> None:
        """In strict mode: a call that none has a record for, after recorded ones that were not made.

        Records with higher numbers are no objection: they are of calls that ended before this one did.
        """
        recorded = [str(Key(*k)) for k in self._unclaimed if k[:2] == key[:2] and k[2] < key.n]
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


def _kin(record: Entry) -> tuple[str, str, bytes]:
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
