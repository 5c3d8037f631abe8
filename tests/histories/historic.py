"""Programs whose recorded runs every later version replays, and goes on with.

What a released version has recorded is replayed by what is here, so a program is not changed any more when it has been
released: add another one instead.

``python tests/histories/historic.py`` records what is missing for the version that this is, in the folder of its name.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID

import durably
from durably import Command, InMemorySaver, RetryPolicy, Workflow, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.graph import END, START, StateGraph
from durably.serde import failures
from durably.testing import export_history

FOLDER = Path(__file__).parent
VERSION = version("durably")
THREAD = "t"

ran: Counter[str] = Counter()


@dataclass(frozen=True)
class Order:
    item: str
    price: Decimal
    placed: datetime
    parts: tuple[int, ...]


ORDER = Order("tea", Decimal("2.50"), datetime(2026, 1, 2, 3, 4, tzinfo=UTC), (1, 2))


@task
def step(n: int) -> int:
    ran["step"] += 1
    return n + 1


@task
async def astep(n: int) -> int:
    ran["astep"] += 1
    await asyncio.sleep(0)
    return n + 1


@task
def echo(value: Any) -> Any:
    ran["echo"] += 1
    return value


@task
def breaks(what: str) -> None:
    ran["breaks"] += 1
    raise ConnectionError(what)


@task
def asks(n: int) -> Any:
    return interrupt(n)


@task(retry_policy=RetryPolicy(initial_interval=0, jitter=False))
def unsteady(n: int) -> int:
    ran["unsteady"] += 1
    if ran["unsteady"] == 1:
        raise ConnectionError("try again")
    return n


@task
async def pair(n: int) -> int:
    return sum(await asyncio.gather(astep(n), astep(10 * n)))


def values_on(saver: BaseCheckpointer) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=saver, name="values")
    def values(order: Order, *, previous: list[Order] | None = None) -> entrypoint.final[Any, list[Order]]:
        odd = {1: (None, 2.5), "set": {3}, "id": UUID(int=7), "span": timedelta(days=1), "bytes": b"\x00"}
        return entrypoint.final(
            value=[echo(order).result(), echo(odd).result()], save=[*(previous or []), echo(order).result()]
        )

    return values


def gathered_on(saver: BaseCheckpointer) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=saver, name="gathered")
    async def gathered(n: int) -> Any:
        first = await asyncio.gather(pair(n), pair(n + 1), astep(7))
        with durably.branch("aside"):
            aside = await astep(20)
        done, left = await durably.wait([astep(1), astep(2)])
        async with durably.timeout(60):
            timed = await astep(3)
        await durably.sleep(0.001)
        return [*first, aside, len(done), len(left), timed, await asyncio.to_thread(lambda: step(5).result())]

    return gathered


def asking_on(saver: BaseCheckpointer) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=saver, name="asking")
    def asking(n: int) -> Any:
        questions = [asks(n), asks(n + 1)]
        first = step(n).result()
        return [
            first,
            *(each.result() for each in questions),
            interrupt("more?", response_schema=str),
            step(2).result(),
        ]

    return asking


def failing_on(saver: BaseCheckpointer) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=saver, name="failing")
    def failing(n: int) -> Any:
        try:
            breaks("handled").result()
        except ConnectionError as error:
            reason = str(error)
        return [reason, unsteady(n).result(), breaks_once(n).result()]

    return failing


@task
def breaks_once(n: int) -> int:
    ran["breaks_once"] += 1
    if is_recording:
        raise ValueError("it ends with this")
    return n


def nested_on(saver: BaseCheckpointer) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=True)
    def child(n: int, *, previous: int = 0) -> int:
        return step(n).result() + previous

    @entrypoint(checkpointer=saver, name="nested")
    def nested(n: int) -> Any:
        found = [child.invoke(n), child.invoke(10 * n)]
        if durably.patched("more"):
            found.append(step(100).result())
        return [*found, interrupt(found)]

    return nested


class State(TypedDict):
    log: Annotated[list[str], add]


def graph_on(saver: BaseCheckpointer) -> Workflow[Any, Any]:
    def first(state: State) -> dict[str, Any]:
        ran["first"] += 1
        return {"log": ["first"]}

    def second(state: State) -> dict[str, Any]:
        return {"log": [interrupt(len(state["log"]))]}

    builder = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(checkpointer=saver, name="graph")  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Historic:
    """A program, what is recorded of it, and what becomes of that.

    Args:
        on: makes it.
        inputs: what it was invoked with, one after the other, when it was recorded.
        then: with what somebody goes on, None where the run has ended.
        result: what comes of it.
        calls: the tasks that run when it is gone on with; those that are recorded do not.
    """

    on: Callable[[BaseCheckpointer], Workflow[Any, Any]]
    inputs: tuple[Any, ...]
    result: Any
    then: Callable[[Workflow[Any, Any]], Any] | None = None
    calls: tuple[str, ...] = ()


def answers(flow: Workflow[Any, Any]) -> Command[Any]:
    """An answer to each open question."""
    questions = flow.get_state(thread_id=THREAD).interrupts
    return Command(resume={question.id: f"{question.value}!" for question in questions})


ODD = {1: (None, 2.5), "set": {3}, "id": UUID(int=7), "span": timedelta(days=1), "bytes": b"\x00"}
PROGRAMS = {
    "values": Historic(values_on, (ORDER, ORDER), [ORDER, ODD]),
    "gathered": Historic(gathered_on, (1,), [13, 24, 8, 21, 2, 0, 4, 6]),
    "asking": Historic(asking_on, (1, answers), [2, "1!", "2!", "more?!", 3], answers, ("step",)),
    "asked": Historic(asking_on, (1,), "asked", answers),
    "failing": Historic(failing_on, (1,), ["handled", 1, 1], lambda _: None, ("breaks_once",)),
    "nested": Historic(nested_on, (1,), [2, 13, 101, "[2, 13, 101]!"], answers),
    "graph": Historic(graph_on, ({"log": ["begun"]},), {"log": ["begun", "first", "2!"]}, answers),
}
is_recording = False


def recorded(program: Historic) -> Any:
    """A history, as it is written."""
    ran.clear()
    flow = program.on(InMemorySaver())
    for given in program.inputs:
        with suppress(ValueError):
            flow.invoke(given(flow) if callable(given) else given, thread_id=THREAD)
    return export_history(flow, THREAD)


def record(folder: Path) -> None:
    """Write what is missing in a folder."""
    global is_recording
    is_recording = True
    failures._traceback = lambda error: ""  # it names paths of this machine
    folder.mkdir(exist_ok=True)
    for name, program in PROGRAMS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(recorded(program), indent=1, sort_keys=True) + "\n")
            sys.stdout.write(f"{path.relative_to(FOLDER)}\n")


if __name__ == "__main__":
    import historic  # under the name by which the tests know its classes

    historic.record(FOLDER / VERSION)
