"""Saved values as differences to earlier ones: a chat that grows by a line costs a line.

Versions of a thread's saved value are numbered, and each is stored as a difference to one version before it, chosen so
that every chain back to a whole value stays short. Order of the layers: difference, compression, encryption.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from ..serde import Serializer
from ..serde.delta import Chain, base_of, is_delta, shrink
from .records import run_place
from .rows import RunRow

__all__ = ["Saved", "Stored", "bases_of", "bases_to_come", "load", "recalled", "resolved", "stored_as", "whole"]


class _Runs(Protocol):
    """The part of a `Transaction` that is needed here."""

    def saved_bases(self, run_no: int) -> list[RunRow]: ...


class Saved:
    """A run's saved value, and what the next version of it is to be stored as a difference to.

    Args:
        run: the run.
        encoded: the value, encoded but not sealed.
        next_base: a run's number and its encoded value.
        serde: turns values into bytes and back.
    """

    __slots__ = ("_serde", "encoded", "next_base", "run")

    def __init__(self, run: RunRow, encoded: bytes, next_base: tuple[int, bytes], serde: Serializer) -> None:
        self.run = run
        self.encoded = encoded
        self.next_base = next_base
        self._serde = serde

    @classmethod
    def of_chain(cls, chain: Sequence[RunRow], serde: Serializer) -> Saved:
        """Put a value together from the run, its base, that one's base, and so on to one that is stored whole."""
        newest, wanted = chain[0], _next_base(chain[0])
        unseal: Any = getattr(serde, "unseal", None)
        if unseal is None:  # a serializer that only goes the whole way
            stored = newest.saved or b""
            return cls(newest, stored, (newest.no, stored), serde)
        versions, next_base = Chain(), None
        for run in reversed(chain):
            versions.add(unseal(run.saved or b"", run_place(run.run_id, "saved")), partial(_said, run, serde))
            if run.saved_no == wanted:
                next_base = (run.no, versions.value())
        encoded = versions.value()
        return cls(newest, encoded, next_base or (newest.no, encoded), serde)

    def value(self) -> Any:
        """The value."""
        decode: Any = getattr(self._serde, "decode", None)
        if decode is not None:
            return decode(self.encoded)
        return self._serde.loads(self.encoded, run_place(self.run.run_id, "saved"))

    def resolved(self) -> RunRow:
        """The run with its saved value in whole."""
        place = run_place(self.run.run_id, "saved")
        return replace(self.run, saved=_seal(self._serde, self.encoded, place), saved_base=0)


def _next_base(run: RunRow) -> int:
    """The version that the one after this is stored as a difference to."""
    base = base_of(run.saved_no)  # which counts from 0
    return run.saved_no if base is None else base + 1


def _said(run: RunRow, serde: Serializer) -> bytes:
    """The run's input, encoded: what was said is often a part of what is saved."""
    unseal: Any = getattr(serde, "unseal", None)
    return run.input if unseal is None else unseal(run.input, run_place(run.run_id, "input"))


def _seal(serde: Serializer, data: bytes, place: bytes) -> bytes:
    seal: Any = getattr(serde, "seal", None)
    return data if seal is None else seal(data, place)


def load(transaction: _Runs, run: RunRow, serde: Serializer) -> Saved | None:
    """A run's saved value with what it is built upon; None where nothing is saved."""
    if run.saved is None:
        return None
    latest = _recent.get(serde, run)
    if latest is not None and _next_base(run) == run.saved_no:
        return Saved(run, latest, (run.no, latest), serde)
    return Saved.of_chain([run, *bases_of(transaction, run)], serde)


def bases_of(transaction: _Runs, run: RunRow, known: dict[int, RunRow] | None = None) -> tuple[RunRow, ...]:
    """The runs that what a run saved is stored as a difference to, nearest first.

    Args:
        transaction: reads.
        run: the run.
        known: runs that were read before, by number; those read here are added. The runs of a thread share their bases.
    """
    known = {} if known is None else known
    found: list[RunRow] = []
    met = {run.no}
    while run.saved_base and run.saved_base not in met:  # a circle ends, and nothing can be put together of it
        if run.saved_base not in known:
            known.update((base.no, base) for base in transaction.saved_bases(run.no))
        if run.saved_base not in known:
            break  # whoever puts the value together says that it is missing
        run = known[run.saved_base]
        met.add(run.no)
        found.append(run)
    return tuple(found)


def bases_to_come(run: RunRow, runs: Mapping[int, RunRow]) -> set[int]:
    """The runs that lead to the one which what a run is going to save may be stored as a difference to.

    An attempt has looked them up when it began, and does not look again.

    Args:
        run: a run that is under way.
        runs: all runs of its thread, by their numbers.
    """
    base = runs.get(run.base_no)
    wanted, found = 0 if base is None else _next_base(base), set[int]()
    while base is not None:
        found.add(base.no)
        base = None if base.saved_no == wanted else runs.get(base.saved_base)
    return found


def whole(run: RunRow, bases: Sequence[RunRow], serde: Serializer, *, remember: bool = False) -> RunRow:
    """The run with its saved value in whole; ``remember``: it is likely to be asked for again."""
    if not run.saved_base:
        return run
    saved = Saved.of_chain([run, *bases], serde)
    if remember:
        _recent.put(serde, run.run_id, run.saved or b"", saved.encoded)
    return saved.resolved()


def recalled(run: RunRow, serde: Serializer) -> RunRow:
    """The run with its saved value in whole where this process has saved or read it not long ago, else as it is stored."""
    encoded = _recent.get(serde, run) if run.saved_base else None
    return run if encoded is None else Saved(run, encoded, (run.no, encoded), serde).resolved()


def resolved(transaction: _Runs, run: RunRow, serde: Serializer) -> RunRow:
    """The run with its saved value in whole, read in the same transaction."""
    run = recalled(run, serde)
    return whole(run, bases_of(transaction, run), serde)


class _Recent:
    """The encoded values that were saved or read last, so that a long chat is not put together anew at every turn.

    Each is kept beside what was to be stored of it: only if that is what is stored does it count. An attempt that was fenced
    off may have made another value than the one that ended the run.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # With the serializer: as long as its id is in use here, no other one, with another key perhaps, can have it.
        self._values: OrderedDict[tuple[int, str], tuple[Serializer, bytes, bytes]] = OrderedDict()
        self._lock = Lock()

    def get(self, serde: Serializer, run: RunRow) -> bytes | None:
        """The encoded value that a run saved under this serializer."""
        with self._lock:
            _, stored, encoded = self._values.get((id(serde), run.run_id), (serde, None, b""))
        return encoded if stored is not None and stored == run.saved else None

    def put(self, serde: Serializer, run_id: str, stored: bytes, encoded: bytes) -> None:
        """Remember a value; the oldest ones make room for it."""
        key = (id(serde), run_id)
        with self._lock:
            self._forget(self._values.pop(key, None))
            self._values[key] = (serde, stored, encoded)
            self._bytes += len(stored) + len(encoded)
            while self._bytes > self._max_bytes:
                self._forget(self._values.popitem(last=False)[1])

    def _forget(self, kept: tuple[Serializer, bytes, bytes] | None) -> None:
        if kept is not None:
            _, stored, encoded = kept
            self._bytes -= len(stored) + len(encoded)


_recent = _Recent(32 * 1024 * 1024)


class Stored(NamedTuple):
    """A saved value as a run's row holds it; see `RunRow`."""

    saved: bytes
    saved_no: int
    saved_base: int


def stored_as(value: Any, run: RunRow, previous: Saved | None, serde: Serializer) -> Stored:
    """How a value is stored that a run saves.

    Args:
        value: the value.
        run: the run, with its input.
        previous: what it was built upon, None where there is nothing.
        serde: turns values into bytes.

    Raises:
        EncodeError: the value cannot be stored.
    """
    place = run_place(run.run_id, "saved")
    version = 1 if previous is None else previous.run.saved_no + 1
    encode: Any = getattr(serde, "encode", None)
    if encode is None:  # a serializer that only goes the whole way
        return Stored(serde.dumps(value, place), version, 0)
    encoded = encode(value)
    base_no, base = (0, None) if previous is None else previous.next_base
    small = shrink(encoded, base, _said(run, serde))
    if not is_delta(small):
        base_no = 0
    stored = Stored(_seal(serde, small, place), version, base_no)
    _recent.put(serde, run.run_id, stored.saved, encoded)
    return stored
