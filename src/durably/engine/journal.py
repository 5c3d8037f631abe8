"""Which recorded result belongs to which call. Pure: no clock, no database, no lock."""

from __future__ import annotations

import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ..errors import DecodeError, NonDeterminismError, ReplayWarning
from .identity import Key, body_of

__all__ = [
    "ANSWERED",
    "ASKED",
    "FORGOTTEN",
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
FORGOTTEN: Final = 4


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is remembered of one call.

    Args:
        kind: `RETURNED`, `RAISED`, `ASKED` (an open question), `ANSWERED`, or `FORGOTTEN`: the call's failures so far do not
            count, because it is tried again.
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
    """The records of a journal that count, oldest first."""
    try:
        records = [record for chunk in chunks for record in _decoder.decode(chunk)]
    except msgspec.MsgspecError as error:
        raise DecodeError(
            f"a run's journal cannot be read ({error}): the database is damaged, or written by a newer version of durably"
        ) from error
    return _without_forgotten(records) if any(record.kind == FORGOTTEN for record in records) else records


def _without_forgotten(records: list[Record]) -> list[Record]:
    """Leave out the failures of calls that were recorded before those were tried again."""
    kept, forgotten = list[Record](), set[Key]()
    for record in reversed(records):
        if record.kind == FORGOTTEN:
            forgotten.add(record.key)
        elif record.kind != RAISED or record.key not in forgotten:
            kept.append(record)
    return kept[::-1]


class Places:
    """Under which key each call is recorded: its own, until it claims the record of another; then the two change keys.

    So no two calls share a key, the record of a finished call is never overwritten, and a call that has to run has the
    key, and with it the idempotency key, of one that has not finished.
    """

    __slots__ = ("_caller", "_place", "_top")

    def __init__(self) -> None:
        self._place: dict[Key, Key] = {}
        self._caller: dict[Key, Key] = {}
        self._top: dict[tuple[str, str], int] = {}

    def __bool__(self) -> bool:
        return bool(self._place)

    def of(self, caller: Key) -> Key:
        """Where a call is recorded."""
        return self._place.get(caller, caller)

    def taken(self, key: Key) -> None:
        """A record lies at this key."""
        scope, name, n = key
        if n >= self._top.get((scope, name), -1):
            self._top[scope, name] = n

    def swap(self, caller: Key, key: Key) -> None:
        """Give a call another key; whose that was gets the call's own."""
        other, own = self._caller.get(key, key), self.of(caller)
        self._place[caller], self._caller[key] = key, caller
        self._place[other], self._caller[own] = own, other

    def renew(self, caller: Key) -> Key:
        """Give a call a key that no other call has, had or will come to."""
        scope, name, _ = caller
        key = Key(scope, name, self._top[scope, name] + 1)
        self.taken(key)
        self.swap(caller, key)
        return key

    def restart(self, path: str) -> None:
        """The body at ``path`` counts its calls from the start again."""
        for caller in [caller for caller in self._place if in_body(caller, path)]:
            del self._caller[self._place.pop(caller)]


class Journal:
    """The recorded calls of a run that no call of this attempt has claimed yet.

    Args:
        records: oldest first; a later record of a call replaces an earlier one.
        strict: whether a difference between record and program is an error; otherwise it is a warning.
    """

    def __init__(self, records: Iterable[Entry] = (), *, strict: bool = False) -> None:
        self._strict = strict
        self._unclaimed: dict[Key, Entry] = {}
        self._moved: defaultdict[tuple[str, str, bytes], deque[Key]] | None = None
        self._places = Places()
        for record in records:
            self.add(record)

    def __bool__(self) -> bool:
        return bool(self._unclaimed or self._places)

    def has(self, key: Key) -> bool:
        """Whether there is an unclaimed record at a key."""
        return key in self._unclaimed

    def add(self, record: Entry) -> None:
        """Offer a record to a call to come."""
        key = record.key
        self._unclaimed[key] = record
        self._places.taken(key)
        if self._moved is not None:
            self._moved[_kin(record)].append(key)

    def restart(self, path: str) -> None:
        """Another attempt of the body at ``path`` begins."""
        self._places.restart(path)

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget calls, so that they run again."""
        for key in keys:
            self._unclaimed.pop(key, None)

    def claim(self, caller: Key, fingerprint: bytes) -> tuple[Key, Entry | None]:
        """Take the record that belongs to a call.

        Returns:
            The key under which the call is recorded, and its record; None where the call has to run.

        Raises:
            NonDeterminismError: in strict mode, when the record at this key was made with other arguments, or when the
                call is new although records of its name lie unclaimed in its scope.
        """
        key = self._places.of(caller)
        record = self._unclaimed.get(key)
        if record is not None and record.fingerprint == fingerprint:
            return key, self._unclaimed.pop(key)
        moved = self._find_moved(caller, fingerprint)
        if moved is not None:
            self._places.swap(caller, moved)
            return moved, self._unclaimed.pop(moved)
        if record is not None and key == caller:
            self._differs(
                f"call {key} is made with other arguments than recorded: the recorded result is used all the same"
            )
            return key, self._unclaimed.pop(key)
        if self._strict:
            self._refuse_new(caller)
        return (key if record is None else self._places.renew(caller)), None

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
