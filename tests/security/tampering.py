"""A program whose database somebody else has written to: what comes of each change, and what Python was asked to do.

``python -m security.tampering PLACE SEED CHANGES plain|sealed [runs|store|cache]``, in the folder of the tests, makes runs of
every kind, or the items of a store, or cached results, in an empty place: the path of an SQLite file, or
``postgres SCHEMA CONNINFO`` where `setup` has been. It changes one column of one row at a time (to hostile values, to damaged
ones, to those of other rows), and uses the database as programs do. It prints what surprised it: an error that is no
`DurablyError`, and every import, execution of code, process, connection or file that reading led to. 1,000 changes take about
a minute.
"""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from types import FrameType
from typing import Any

import msgspec
import psycopg
from psycopg.types.string import TextLoader

from durably import Command, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import DurablyError
from durably.serde import EncryptedSerializer, TypedSerializer
from savers import open_saver
from tamper_targets import INDEXED, STORE, Target, Use, fill_cache, fill_store, opened_cache, opened_store

KEY = bytes(range(32))
THREADS = ("done", "asked", "failed", "forked")
TABLES = ("durably_thread", "durably_run", "durably_journal", "durably_owner")


# How to write behind the back of a checkpointer.


def connect(place: str) -> tuple[Any, str]:
    """A connection to a place that `open_saver` knows, and what stands for a value in its SQL."""
    if place.startswith("postgres "):
        _, schema, conninfo = place.split(" ", 2)
        connection = psycopg.connect(conninfo, options=f"-c search_path={schema}", autocommit=True)
        connection.adapters.register_loader("jsonb", TextLoader)
        return connection, "%s"
    return sqlite3.connect(place, isolation_level=None), "?"


# What Python is asked to do while stored bytes are read. Files of this program, and those of its database, are no news.

WATCHED = ("import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.",
           "code.__new__", "function.__new__", "builtins.input", "webbrowser.", "urllib.", "sys.set", "sys.add")  # fmt: skip
OWNER_IN_PROC = re.compile(r"/proc/(self|\d+)/stat|/proc/sys/kernel/random/boot_id")
armed = False
events: list[str] = []


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook."""
    if armed and event.startswith(WATCHED) and not is_traceback(sys._getframe(1)):
        what = str(arguments[0]) if arguments else ""
        if not (event == "open" and (OWNER_IN_PROC.fullmatch(what) or "runs.db" in what)):
            events.append(f"{event} {what[:100]}")


def is_traceback(frame: FrameType | None) -> bool:
    """Whether a traceback is written: that parses the source of this program to say where in a line an error was."""
    while frame is not None and frame.f_globals.get("__name__") != "traceback":
        frame = frame.f_back
    return frame is not None


# The program.

MADE: dict[str, int] = {}


@task
def part(text: str, n: int) -> dict[str, Any]:
    MADE[text] = MADE.get(text, 0) + 1
    return {"text": text * n, "n": n, "tags": {"a", "b"}, "pair": (1, 2.5)}


@task
def whole(text: str) -> str:
    return "".join(part(text, n).result()["text"] for n in range(1, 3))


@task
def fails(text: str) -> str:
    raise ValueError(text)


def program(saver: BaseCheckpointer) -> Any:
    """The workflow."""

    @entrypoint(checkpointer=saver, name="shop")
    def shop(order: str, *, previous: list[str] | None = None) -> list[str]:
        lines = [*(previous or []), whole(order).result()]
        if order == "ask":
            lines.append(interrupt({"sure": order}, response_schema={"type": "string"}))
        if order == "fail":
            lines.append(fails(order).result())
        return lines

    return shop


def fill(shop: Any) -> None:
    """Runs of every kind."""
    for n in range(4):
        shop.invoke("chat" * 50 + str(n), {"metadata": {"n": n}, "tags": ["a"]}, thread_id="done")
    shop.invoke("ask", thread_id="asked")
    with suppress(ValueError):
        shop.invoke("fail", thread_id="failed")
    shop.invoke("ask", thread_id="forked")
    shop.invoke(Command(resume="yes"), thread_id="forked")
    shop.fork(thread_id="forked", before=shop.runs("forked")[0].calls()[0])


def uses(shop: Any, thread_id: str) -> Iterator[Callable[[], Any]]:
    """What programs do with a thread; each may be refused."""
    config = {"configurable": {"thread_id": thread_id}}
    yield lambda: shop.get_state(config)
    yield lambda: list(shop.get_state_history(config))
    yield lambda: [run.calls() for run in shop.runs(thread_id)]
    yield lambda: [(shop.draw(config).svg, shop.draw(config).mermaid)]
    yield lambda: list(shop.threads(metadata={"n": 3}))
    yield lambda: shop.checkpointer.copy_thread(thread_id, "copy")
    yield shop.recover
    yield lambda: shop.invoke(Command(resume="yes"), config)
    yield lambda: shop.invoke(None, config)
    yield lambda: shop.fork(config)
    yield lambda: shop.invoke("more", config)
    yield lambda: shop.update_state(config, ["new"])
    yield lambda: shop.checkpointer.prune(thread_id, keep_last=1)
    yield lambda: shop.checkpointer.delete_thread("copy")


# The changes.


def typed(wire: Any, classes: Any = None) -> bytes:
    """A stored value of the typed form, written by somebody who knows it well."""
    root = [msgspec.msgpack.Ext(0x7F, b"\x01"), wire] + ([] if classes is None else [classes])
    return msgspec.msgpack.encode(root)


def hostile() -> list[Any]:
    """Values that nobody stores, and that somebody may hope something of."""
    exit_ = [msgspec.msgpack.Ext(0x41, b""), "builtins:SystemExit", [3], {}, None, None, False]
    return [
        None, 0, 1, -1, 2**62, 1.5, float("inf"), "", "x", "../../etc/passwd", "a|b", "a|../../x|c", "' or 1=1 --", "\x00",
        b"", b"\x00", b"\xff" * 9, b"\x91" * 4000, b"\x80", b"\x93\xc0\xc0\xc0", b"\xc1Z" + b"\x00" * 12,
        b"\xc1D1" + b"\x00" * 12,
        b"cos\nsystem\n(S'true'\ntR.", typed([msgspec.msgpack.Ext(0x40, b"\x00")], [["os:system", [], 0]]),
        typed(["x", "m", "t", typed(exit_)]), msgspec.msgpack.encode(["builtins:SystemExit", "m", "t", typed(exit_)]),
        msgspec.msgpack.encode([[kind, "", "whole", 0, b"", b"\xc0"] for kind in (0, 1, 2, 3, 4, 9)]),
        msgspec.msgpack.encode([[0, "~x/y", "part", -5, b"", b"\xc0", -1e300, 1e300, -1, True, b"\xff", b"\xff"]]),
    ]  # fmt: skip


def damaged(value: Any, rng: random.Random) -> Iterator[Any]:
    """A stored value with something wrong."""
    if isinstance(value, bytes) and value:
        for _ in range(4):
            at = rng.randrange(len(value))
            yield value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
        yield value[: rng.randrange(len(value))]
        yield value * 2
    elif isinstance(value, (int, float)):
        yield value + 1
        yield value - 1
        yield value * 1_000_003


class Tamper:
    """Writes to the tables of a database, and puts back what was there."""

    def __init__(self, place: str, tables: tuple[str, ...] = TABLES) -> None:
        self._connection, self._mark = connect(place)
        self._overriding = "overriding system value" if self._mark == "%s" else ""  # numbers that the server gives
        self.tables = {table: self._rows(table) for table in tables}

    def _rows(self, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        cursor = self._connection.execute(f"select * from {table} order by 1")
        return [column[0] for column in cursor.description], cursor.fetchall()

    def changes(self, rng: random.Random) -> Iterator[tuple[str, str, tuple[Any, ...], Any]]:
        """Table, column, row, and the value to put there."""
        for table, (columns, rows) in self.tables.items():
            for at, column in enumerate(columns):
                others = [row[at] for row in rows]
                for row in rng.sample(rows, min(2, len(rows))):
                    values = [
                        *rng.sample(hostile(), 9),
                        *damaged(row[at], rng),
                        *rng.sample(others, min(3, len(others))),
                    ]
                    yield from ((table, column, row, value) for value in values if value != row[at])

    def write(self, table: str, column: str, row: tuple[Any, ...], value: Any) -> bool:
        """Change it; whether the database lets that happen."""
        known = {name: was for name, was in zip(self.tables[table][0], row, strict=True) if was is not None}
        where = " and ".join(f"{name} = {self._mark}" for name in known)
        try:
            self._connection.execute(
                f"update {table} set {column} = {self._mark} where {where}", (value, *known.values())
            )
        except Exception:
            return False
        return True

    def close(self) -> None:
        self._connection.close()

    def restore(self) -> None:
        """All rows as they were."""
        self._connection.execute("begin")
        for table in reversed(self.tables):  # those first that triggers of others keep
            self._connection.execute(f"delete from {table}")
        for table, (columns, rows) in self.tables.items():
            marks = ", ".join([self._mark] * len(columns))
            for row in rows:
                self._connection.execute(f"insert into {table} {self._overriding} values ({marks})", row)
        self._connection.execute("commit")


def too_long(*_: Any) -> None:
    """Reading stored bytes ends in reasonable time; this is no measurement."""
    raise TimeoutError("it does not end")


@contextmanager
def opened_runs(place: str, serde: Any, rng: random.Random) -> Iterator[Iterator[Use]]:
    """Two threads, and all that programs do with them."""
    with open_saver(place, serde=serde) as saver:
        shop = program(saver)
        yield chain.from_iterable(uses(shop, thread_id) for thread_id in rng.sample(THREADS, 2))


def fill_runs(place: str, serde: Any) -> None:
    with open_saver(place, serde=serde) as saver:
        fill(program(saver))


def target_of(what: str, place: str) -> Target:
    """What is tampered with."""
    if what == "store":
        return Target(STORE if place.startswith("postgres ") else INDEXED, fill_store, opened_store)
    if what == "cache":
        return Target(("durably_cache", "durably_cache_total"), fill_cache, opened_cache)
    return Target(TABLES, fill_runs, opened_runs)


def campaign(place: str, seed: int, count: int, serde: Any, target: Target) -> dict[str, Any]:
    """Change after change."""
    signal.signal(signal.SIGALRM, too_long)
    rng = random.Random(seed)
    target.fill(place, serde)
    tamper = Tamper(place, target.tables)
    warm_up(place, serde, target)
    tamper.restore()
    surprises: list[str] = []
    outcomes = {"changes": 0, "done": 0, "refused": 0}
    changes = list(tamper.changes(rng))
    for table, column, row, value in rng.sample(changes, min(count, len(changes))):
        if tamper.write(table, column, row, value):
            outcomes["changes"] += 1
            found = outcomes_of(place, serde, target, rng)
            outcomes["done"] += found.count("done")
            outcomes["refused"] += found.count("refused")
            surprises += [
                f"{table}.{column} = {value!r:.60}, {outcome}"
                for outcome in found
                if outcome not in ("done", "refused", "own")
            ]
        tamper.restore()
    return {**outcomes, "surprises": surprises, "events": sorted(set(events))}


def outcomes_of(place: str, serde: Any, target: Target, rng: random.Random) -> list[str]:
    """What came of each use."""
    try:
        with target.opened(place, serde, rng) as found:
            return [outcome_of(use, number) for number, use in enumerate(found)]
    except DurablyError:
        return ["refused"]  # it could not even be opened


def outcome_of(use: Use, number: int) -> str:
    """What came of a use, in a word, or in a sentence where that is a surprise."""
    global armed
    armed = True
    signal.alarm(20)
    try:
        use()
    except DurablyError:
        return "refused"
    except BaseException as error:
        own = isinstance(error, ValueError) and str(error) == "fail"  # what the program itself raises
        return "own" if own else f"use {number}: {error!r:.200}"
    finally:
        armed = False
        signal.alarm(0)
    return "done"


def warm_up(place: str, serde: Any, target: Target) -> None:
    """Everything a few times, so that what this program loads by itself is loaded."""
    for seed in range(8):
        with target.opened(place, serde, random.Random(seed)) as found:
            for use in found:
                with suppress(DurablyError, ValueError):
                    use()
    with suppress(DurablyError):  # for a class that is not known the annotations of the whole program are read, once
        TypedSerializer().loads(typed([msgspec.msgpack.Ext(0x40, b"\x00")], [["os:system", [], 0]]))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.addaudithook(listen)
    _, empty, number, most, form, *rest = sys.argv
    chosen: Any = EncryptedSerializer(keys=KEY) if form == "sealed" else TypedSerializer()
    goal = target_of(rest[0] if rest else "runs", empty)
    sys.stdout.write(json.dumps(campaign(empty, int(number), int(most), chosen, goal)))
