"""Random programs: trees of calls, how they are run, and what a model says they come to.

A program is stopped at random writes, resumed with other interleavings, asked to and answered, on any checkpointer, sync and
async. `tests/concurrency` does that with Hypothesis in memory, `tests/chaos/programs.py` by the thousand on databases.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from msgspec.structs import replace

import durably
from durably import CachePolicy, Command, Workflow, entrypoint, interrupt, task
from durably.cache.base import BaseCache
from durably.checkpoint.base import BaseCheckpointer, Chunk, Work
from durably.errors import StorageError

LEAVES = ("async", "sync", "fails", "ask", "cached")
NODES = (
    "sequence",
    "gather",
    "group",
    "futures",
    "task",
    "sync task",
    "named",
    "to_thread",
    "retried",
    "waited",
    "child",
)


@dataclass(frozen=True)
class Program:
    """A leaf calls a task or asks; a node says how its parts are run."""

    how: str
    parts: tuple[Program, ...] = ()


def random_program(chance: random.Random, leaves: int = 12) -> Program:
    """A program with at most so many leaves."""
    if leaves == 1 or chance.random() < 0.2:
        return Program(chance.choice(LEAVES))
    count = chance.randint(1, min(4, leaves))
    share = [leaves // count] * count
    return Program(chance.choice(NODES), tuple(random_program(chance, each) for each in share))


# What it must come to.


def expected(program: Program, place: str, *, is_async: bool) -> Any:
    """What a program returns, as a pure function."""
    how, parts = program.how, [(part, f"{place}.{i}") for i, part in enumerate(program.parts)]
    if how in LEAVES:
        return {"fails": ["handled", place], "ask": f"answer to {place}", "cached": key_of(place)}.get(how, place)
    if not is_async:
        is_async = how in ("task", "retried", "gather", "group")  # what a sync body has an async task do
        return [expected(*part, is_async=is_async) for part in parts]
    if how in ("futures", "waited"):  # a task for each part runs the parts of that
        found = [[expected(p, f"{at}.{i}", is_async=True) for i, p in enumerate(part.parts)] for part, at in parts]
        return found if how == "futures" else [found, 0]
    return [expected(*part, is_async=how not in ("to_thread", "sync task")) for part in parts]


def key_of(place: str) -> str:
    """What a cached leaf is called with: many have the same."""
    return f"key {place.count('0') % 2}"


# How it is run.


class Trouble(Exception):
    """What failing leaves raise."""


class World:
    """What happens around a program: delays that differ each time, and a list of what ran."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lock = Lock()
        self.ran: Counter[str] = Counter()
        self.unfinished: Counter[str] = Counter()  # how often each was under way when an attempt ended
        self.computed: Counter[str] = Counter()  # what cached leaves were called with
        self.retried: Counter[str] = Counter()

    async def delay(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    def note(self, place: str) -> str:
        with self.lock:
            self.ran[place] += 1
        return place


world: World


@task
async def leaf(place: str) -> str:
    world.note(place)
    await world.delay()
    return place


@task
def sync_leaf(place: str) -> str:
    return world.note(place)


@task(cache_policy=CachePolicy())
async def cached_leaf(key: str) -> str:
    await world.delay()
    with world.lock:
        world.computed[key] += 1
    return key


@task
async def failing_leaf(place: str) -> str:
    await world.delay()
    raise Trouble(place)  # not noted: a failure at the end of a killed run's journal is tried again


@task
async def subtask(program: Program, place: str) -> Any:
    return await parts_in_order(program, place)


@task
def sync_subtask(program: Program, place: str) -> Any:
    return parts_blocking(program, place)


@task(retry_policy=durably.RetryPolicy(initial_interval=0, jitter=False, retry_on=KeyError))
async def retried_subtask(program: Program, place: str) -> Any:
    found = await parts_in_order(program, place)
    world.retried[place] += 1
    if world.retried[place] % 2:
        raise KeyError(place)
    return found


@entrypoint(name="child")
async def child(given: tuple[Program, str]) -> Any:
    return await parts_in_order(*given)


@entrypoint(name="sync child")
def sync_child(given: tuple[Program, str]) -> Any:
    return parts_blocking(*given)


async def parts_in_order(program: Program, place: str) -> Any:
    return [await run(part, f"{place}.{i}") for i, part in enumerate(program.parts)]


def parts_blocking(program: Program, place: str) -> Any:
    return [run_blocking(part, f"{place}.{i}") for i, part in enumerate(program.parts)]


async def run(program: Program, place: str) -> Any:
    await world.delay()
    how, parts = program.how, [(part, f"{place}.{i}") for i, part in enumerate(program.parts)]
    if how in LEAVES:
        return await run_leaf(how, place)
    if how == "gather":
        return await asyncio.gather(*(run(*part) for part in parts))
    if how == "group":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(*part)) for part in parts]
        return [each.result() for each in tasks]
    if how == "futures":
        futures = [subtask(*part) for part in parts]
        return [await future for future in futures]
    if how == "waited":
        done, rest = await durably.wait([subtask(*part) for part in parts])
        return [[await future for future in done], len(rest)]
    if how == "named":
        with durably.branch("name"):
            return await parts_in_order(program, place)
    if how == "to_thread":
        return await asyncio.to_thread(parts_blocking, program, place)
    if how == "child":
        return await child.ainvoke((program, place))
    if how in ("task", "sync task", "retried"):
        return await {"task": subtask, "sync task": sync_subtask, "retried": retried_subtask}[how](program, place)
    return await parts_in_order(program, place)


async def run_leaf(how: str, place: str) -> Any:
    if how == "ask":
        return interrupt(place)
    try:
        return await call_of(how, place)
    except Trouble as trouble:
        return ["handled", *trouble.args]


def run_blocking(program: Program, place: str) -> Any:
    """The parts of a program that a sync body can run."""
    how = program.how
    if how == "ask":
        return interrupt(place)
    if how in LEAVES:
        try:
            return call_of(how, place).result()
        except Trouble as trouble:
            return ["handled", *trouble.args]
    if how in ("task", "retried", "gather", "group"):
        return (retried_subtask if how == "retried" else subtask)(program, place).result()
    if how == "child":
        return sync_child.invoke((program, place))
    return parts_blocking(program, place)


def call_of(how: str, place: str) -> Any:
    """The call that a leaf makes."""
    if how == "cached":
        return cached_leaf(key_of(place))
    return {"async": leaf, "sync": sync_leaf, "fails": failing_leaf}[how](place)


@entrypoint(replay="strict", name="program")
async def workflow(program: Program) -> Any:
    return [await run(program, "p"), await leaf("end")]


@entrypoint(replay="strict", name="program")
def sync_workflow(program: Program) -> Any:
    return [run_blocking(program, "p"), leaf("end").result()]


# How it is stopped, and gone on with.


class Dying(BaseCheckpointer):
    """What a process can reach of a database until it is stopped at one of its commits.

    Args:
        under: the database.
        at: the number of the commit, from 1; 0 for none.
        kept: whether that one takes effect.
    """

    def __init__(self, under: BaseCheckpointer, at: int, kept: bool) -> None:
        self.under = under
        self.serde = under.serde
        self.inline = under.inline  # type: ignore[misc]
        self._at = at
        self._kept = kept
        self._commits = 0
        self._lock = Lock()

    @property
    def is_dead(self) -> bool:
        """Whether the process has been stopped."""
        return 0 < self._at <= self._commits

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`."""
        return self._commit(lambda: self.under.transact(works, durable=durable))

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`."""
        return self._commit(lambda: self.under.append(chunks, durable=durable))

    def _commit(self, write: Callable[[], list[Any]]) -> list[Any]:
        with self._lock:  # also while it writes: nothing takes effect after the end
            was_dead = self.is_dead
            self._commits += 1
            if not self.is_dead:
                return write()
            if self._kept and not was_dead:
                write()
        raise StorageError(f"the process was stopped at commit {self._at}")


@dataclass
class Life:
    """One program on one thread, through some kills to its end.

    Args:
        program: what to run.
        chance: decides when it is stopped, and how it is gone on with.
        kills: how often it is stopped.
        under: the database.
        thread_id: the thread.
        cache: what cached leaves use.
        is_async: whether its workflow is a coroutine function.
    """

    program: Program
    chance: random.Random
    kills: int
    under: BaseCheckpointer
    thread_id: str
    cache: BaseCache
    is_async: bool = True
    died: int = field(default=0, init=False)

    def broken(self) -> Iterator[str]:
        """Run it; which rules it breaks."""
        global world
        world = World(self.chance.randrange(1 << 30))
        found = self._live()
        wanted = [expected(self.program, "p", is_async=self.is_async), "end"]
        if found != wanted:
            yield f"it came to {found}, not to {wanted}"
        if world.ran - world.unfinished != Counter(world.ran.keys()):
            yield f"calls ran again although they had finished: {world.ran - world.unfinished}"
        if any(times > 1 + self.died for times in world.computed.values()):
            yield f"what is cached was computed again: {world.computed}"

    def _live(self) -> Any:
        saver, given = self._saver(), self._next()
        for _ in range(200):
            ran, had = world.ran.copy(), self._recorded()
            found = self._attempt(saver, given)
            world.unfinished += world.ran - ran - (self._recorded() - had)
            if not (saver.is_dead or (isinstance(found, dict) and "__interrupt__" in found)):
                return found
            if saver.is_dead:
                self.died += 1
                saver = self._saver()
            if self._status() == "done":
                return self._flow(self.under).get_state(thread_id=self.thread_id).values
            given = self._next()
        raise AssertionError("it never ends")

    def _attempt(self, saver: Dying, given: Any) -> Any:
        flow, how = self._flow(saver), {"thread_id": self.thread_id}
        durability: Any = self.chance.choice(("sync", "async"))
        try:
            if self.chance.random() < 0.5:
                return asyncio.run(flow.ainvoke(given, durability=durability, **how))
            return flow.invoke(given, durability=durability, **how)
        except Exception:
            if not saver.is_dead:
                raise
            return None

    def _saver(self) -> Dying:
        at = self.chance.randrange(1, 12) if self.died < self.kills else 0
        return Dying(self.under, at, kept=self.chance.random() < 0.5)

    def _flow(self, saver: BaseCheckpointer) -> Workflow[Any, Any]:
        made = workflow if self.is_async else sync_workflow
        return Workflow(made._function, replace(made._settings, checkpointer=saver, cache=self.cache))

    def _status(self) -> str | None:
        runs = self._flow(self.under).runs(self.thread_id)
        return runs[0].status if runs else None

    def _next(self) -> Any:
        """What to go on with, by what is stored."""
        status = self._status()
        if status is None:
            return self.program
        if status != "asked":
            return None
        questions = self._flow(self.under).get_state(thread_id=self.thread_id).interrupts
        some = [question for question in questions if self.chance.random() < 0.7] or list(questions)
        return Command(resume={question.id: f"answer to {question.value}" for question in some})

    def _recorded(self) -> Counter[str]:
        """The leaves that have a result in the journal."""
        runs = self._flow(self.under).runs(self.thread_id)
        calls = runs[0].calls() if runs else ()
        return Counter(call.value for call in calls if call.name in ("leaf", "sync_leaf"))
