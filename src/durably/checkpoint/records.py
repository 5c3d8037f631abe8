"""What is stored of a run's calls: the records in the chunks of its journal, and where each value belongs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from itertools import chain
from operator import attrgetter
from typing import Annotated, Final, NamedTuple

import msgspec

from ..errors import DecodeError
from .rows import UNREADABLE

__all__ = [
    "ANSWERED",
    "ASKED",
    "BEGAN",
    "FORGOTTEN",
    "RAISED",
    "RETURNED",
    "SAID",
    "Key",
    "Record",
    "decode_all",
    "decode_journal",
    "decode_records",
    "encode_records",
    "escaped",
    "memory_place",
    "new_run_id",
    "record_place",
    "run_place",
    "unescaped",
]

RETURNED: Final = 0
RAISED: Final = 1
ASKED: Final = 2
ANSWERED: Final = 3
FORGOTTEN: Final = 4
SAID: Final = 5
BEGAN: Final = 6


class Key(NamedTuple):
    """What identifies a call within its run; as a string, the scope of its body."""

    scope: str
    name: str
    n: int

    def __str__(self) -> str:
        scope, name, n = self
        return f"{scope}/{escaped(name)}.{n}" if scope else f"{escaped(name)}.{n}"


def escaped(name: str) -> str:
    """A name in which nothing looks like a part of a path."""
    if "%" in name or "/" in name or "~" in name:
        return name.replace("%", "%25").replace("/", "%2F").replace("~", "%7E")
    return name


def unescaped(name: str) -> str:
    """The name that was escaped."""
    if "%" in name:
        return name.replace("%7E", "~").replace("%2F", "/").replace("%25", "%")
    return name


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is remembered of one call.

    Two kinds are of no call, and are there only for those who follow the run. `SAID` is what a body wrote to its stream: the
    scope is the body's, the name is ``stream:`` and the mode, and the number is that of the body's try. `BEGAN` is the
    beginning of a further attempt: the number is the attempt's, and the name says how the run stood before.

    Args:
        kind: `RETURNED`, `RAISED`, `ASKED` (an open question), `ANSWERED`, or `FORGOTTEN`: the call's failures so far do not
            count, because it is tried again; or `SAID`, or `BEGAN`.
        scope: with ``name`` and ``n`` the call's key.
        name: the task's, the nested workflow's, or ``interrupt``.
        n: the how-manieth call of that name in that scope.
        fingerprint: stands for the arguments; of `SAID`, for what it is a piece or the whole of, if anything.
        data: the encoded result, error, question or answer.
        started: when its first attempt began, in seconds since the epoch.
        seconds: how long it took, attempts and pauses included.
        attempts: how many there were.
        cached: whether the result came from a cache.
        schema: what belongs to it besides, encoded: of a question, the JSON schema of its answers; of a stream that
            failed, what came before the failure. Often empty.
        summary: the arguments in a few words, for people.
        nesting: which of the calls that lead to this one, and whether this one itself, are nested workflows: a bit for each,
            outermost first; -1 for what is no call of a task or workflow.
        paired: whether ``data`` is both what a nested workflow returned and what it saved.
        memory: of a nested workflow that remembers across runs, under which path; ``data`` then has what it saved, too.
        because: of a failure, the calls in the body that made it fail, from the outermost to the innermost.
    """

    kind: Annotated[int, msgspec.Meta(ge=RETURNED, le=BEGAN)]
    scope: str
    name: str
    n: int
    fingerprint: bytes
    data: bytes
    started: float = 0.0
    seconds: float = 0.0
    attempts: int = 1
    cached: bool = False
    schema: bytes = b""
    summary: bytes = b""
    nesting: int = -1
    paired: bool = False
    memory: str = ""
    because: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        """What identifies the call."""
        return tuple.__new__(Key, (self.scope, self.name, self.n))  # twice as fast as Key()


encode_records = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Record])
_kind_of = attrgetter("kind")
_OF_CALLS = frozenset({RETURNED, RAISED, ASKED, ANSWERED, FORGOTTEN})


def decode_records(chunks: Iterable[bytes]) -> list[Record]:
    """The records of a journal that count for a run which goes on, oldest first."""
    records = decode_journal(chunks)
    kinds = set(map(_kind_of, records))  # few of all there are, and a journal may be long
    if not _OF_CALLS.issuperset(kinds):
        records = _of_calls(records)
    return _without_forgotten(records) if FORGOTTEN in kinds else records


def decode_all(chunks: Iterable[bytes]) -> list[Record]:
    """The records of a journal that are of calls, oldest first, with those of failures that were tried again."""
    return _of_calls(decode_journal(chunks))


def _of_calls(records: list[Record]) -> list[Record]:
    return [record for record in records if record.kind in _OF_CALLS]


def decode_journal(chunks: Iterable[bytes]) -> list[Record]:
    """All records of a journal, oldest first."""
    try:
        return list(chain.from_iterable(map(_decoder.decode, chunks)))
    except UNREADABLE as error:
        raise DecodeError(
            f"a run's journal cannot be read ({error}): the database is damaged, or written by a newer version of durably"
        ) from error


def _without_forgotten(records: list[Record]) -> list[Record]:
    """Leave out the failures of calls that were recorded before those were tried again."""
    kept, forgotten = list[Record](), set[Key]()
    for record in reversed(records):
        if record.kind == FORGOTTEN:
            forgotten.add(record.key)
        elif record.kind != RAISED or record.key not in forgotten:
            kept.append(record)
    return kept[::-1]


def record_place(run_id: str, key: Key) -> bytes:
    """Where the value of a call is stored, for an encrypting serializer to bind it to."""
    return f"{run_id}\0{key.scope}\0{key.name}\0{key.n}".encode("utf-8", "surrogatepass")


def run_place(run_id: str, what: str) -> bytes:
    """Where one of a run's own values is stored, likewise: its input, what it returned, saved or raised."""
    return f"{run_id}\0\0{what}\0".encode()


def memory_place(run_id: str, path: str) -> bytes:
    """Where what a nested workflow saves is stored, likewise."""
    return run_place(run_id, f"memory\0{path}")


def new_run_id() -> str:
    """A new run's name: 32 hexadecimal digits that sort by time, the first fourteen being microseconds."""
    try:
        chance = _chances.pop()
    except IndexError:  # one call of the operating system serves many runs
        bits = os.urandom(9 * 64).hex()
        _chances.extend(bits[n : n + 18] for n in range(18, len(bits), 18))
        chance = bits[:18]
    return f"{time.time_ns() // 1000:014x}{chance}"


_chances: list[str] = []
"""Random digits that no name has been made of."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chances.clear)  # its parent goes on with them
