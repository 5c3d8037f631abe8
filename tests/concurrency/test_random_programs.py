"""Random programs, stopped anywhere and resumed with other interleavings, end with the same result and repeat nothing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import durably
from durably import Command, entrypoint, interrupt, task
from durably.testing.lives import THREAD, StoppingSaver

# A program is a tree. Its leaves call a task or ask; its nodes say how their parts are run.


@dataclass(frozen=True)
class Program:
    how: str
    parts: tuple[Program, ...] = ()


LEAVES = st.sampled_from(["async", "sync", "fails", "ask"]).map(Program)
NODES = ["sequence", "gather", "group", "futures", "task", "sync task", "named", "to_thread", "retried", "waited"]
PROGRAMS = st.recursive(
    LEAVES,
    lambda parts: st.builds(Program, st.sampled_from(NODES), st.lists(parts, min_size=1, max_size=4).map(tuple)),
    max_leaves=12,
)


class Trouble(Exception):
    pass


class World:
    """What happens around a program: delays that differ each time, and a list of what ran."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ran: Counter[str] = Counter()
        self.unfinished: Counter[str] = Counter()  # how often each was under way when an attempt ended
        self.retried: Counter[str] = Counter()

    async def delay(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)


world: World


def note(place: str) -> str:
    world.ran[place] += 1
    return place


@task
async def leaf(place: str) -> str:
    note(place)
    await world.delay()
    return place


@task
def sync_leaf(place: str) -> str:
    return note(place)


@task
async def failing_leaf(place: str) -> str:
    await world.delay()
    raise Trouble(place)  # not noted: a failure at the end of a killed run's journal is tried again


@task
async def subtask(program: Program, place: str) -> Any:
    return await parts_in_order(program, place)


@task
def sync_subtask(program: Program, place: str) -> Any:
    return [run_blocking(part, f"{place}.{i}") for i, part in enumerate(program.parts)]


@task(retry_policy=durably.RetryPolicy(initial_interval=0, jitter=False, retry_on=KeyError))
async def retried_subtask(program: Program, place: str) -> Any:
    found = await parts_in_order(program, place)
    world.retried[place] += 1
    if world.retried[place] % 2:
        raise KeyError(place)
    return found


async def parts_in_order(program: Program, place: str) -> Any:
    return [await run(part, f"{place}.{i}") for i, part in enumerate(program.parts)]


async def run(program: Program, place: str) -> Any:
    await world.delay()
    how, parts = program.how, [(part, f"{place}.{i}") for i, part in enumerate(program.parts)]
    if how in ("async", "sync", "fails", "ask"):
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
        return await asyncio.to_thread(lambda: [run_blocking(*part) for part in parts])
    if how in ("task", "sync task", "retried"):
        return await {"task": subtask, "sync task": sync_subtask, "retried": retried_subtask}[how](program, place)
    return await parts_in_order(program, place)


async def run_leaf(how: str, place: str) -> Any:
    if how == "ask":
        return interrupt(place)
    if how == "fails":
        try:
            return await failing_leaf(place)
        except Trouble as trouble:
            return ["handled", *trouble.args]
    return await (leaf(place) if how == "async" else sync_leaf(place))


def run_blocking(program: Program, place: str) -> Any:
    """The parts of a program that a sync body can run."""
    if program.how == "ask":
        return interrupt(place)
    if program.how in ("async", "sync"):
        return (leaf(place) if program.how == "async" else sync_leaf(place)).result()
    if program.how == "fails":
        try:
            return failing_leaf(place).result()
        except Trouble as trouble:
            return ["handled", *trouble.args]
    if program.how in ("task", "retried", "gather", "group"):
        return (retried_subtask if program.how == "retried" else subtask)(program, place).result()
    return [run_blocking(part, f"{place}.{i}") for i, part in enumerate(program.parts)]


@entrypoint(replay="strict", name="program")
async def workflow(program: Program) -> Any:
    return [await run(program, "p"), await leaf("end")]


def on(saver: StoppingSaver) -> Any:
    return type(workflow)(workflow._function, replace(workflow._settings, checkpointer=saver))


def live(program: Program, chance: random.Random, kills: int) -> Any:
    """Run it to its end through ``kills`` kills; what it returned."""
    global world
    world = World(chance.randrange(1 << 30))
    saver = StoppingSaver(stop_at=chance.randrange(1, 12) if kills else None)
    input: Any = program
    for _ in range(200):
        ran, had = world.ran.copy(), recorded(saver)
        stopped, found = False, None
        try:
            found = on(saver).invoke(input, thread_id=THREAD, durability=chance.choice(("sync", "async")))
        except Exception:
            if not saver.stopped:
                raise
            kills -= 1
            stopped = True
            saver = StoppingSaver(before=saver, stop_at=chance.randrange(1, 12) if kills > 0 else None)
        world.unfinished += world.ran - ran - (recorded(saver) - had)
        if not (stopped or (isinstance(found, dict) and "__interrupt__" in found)):
            return found
        input = next_input(program, saver, chance)
    raise AssertionError("it never ends")


def next_input(program: Program, saver: StoppingSaver, chance: random.Random) -> Any:
    status, questions = saver.stands()
    if status is None:
        return program
    if status.status != "asked":
        return None
    some = [question for question in questions if chance.random() < 0.7] or list(questions)
    return Command(resume={question.id: f"answer to {question.value}" for question in some})


def recorded(saver: StoppingSaver) -> Counter[str]:
    """The leaves that have a result in the journal."""
    if saver.stands()[0] is None:
        return Counter()
    workflow_on = on(StoppingSaver(before=saver))
    found: Counter[str] = Counter()
    for call in workflow_on.runs(THREAD)[0].calls():
        if call.name in ("leaf", "sync_leaf"):
            found[call.value] += 1
    return found


@settings(max_examples=150)
@given(PROGRAMS, st.integers(0, 1 << 30), st.integers(1, 4))
def test_any_program_stopped_anywhere(program: Program, seed: int, kills: int) -> None:
    chance = random.Random(seed)
    expected = live(program, chance, 0)
    for _ in range(2):
        assert live(program, chance, kills) == expected
        assert world.ran - world.unfinished == Counter(world.ran.keys()), "a call ran again although it had finished"
