"""Threads that go from one database to another: values, journal and history are there what they were here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from durably import Command, InMemorySaver, Workflow, entrypoint, get_runtime, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import ConfigError
from durably.serde import EncryptedSerializer, TypedSerializer
from durably.testing import export_history, import_history
from savers import SHARED, open_saver, place_of

Pair = tuple[BaseCheckpointer, BaseCheckpointer]
WAYS = [("memory", "sqlite"), ("sqlite", "sqlite")]
SERVED = [("sqlite", "postgres"), ("postgres", "sqlite")]
OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)

calls: list[str] = []


@pytest.fixture(params=WAYS + (SERVED if "postgres" in SHARED else []), ids="-to-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two databases; what is copied between two files is encrypted, with another key in each."""
    calls.clear()
    with ExitStack() as stack:
        savers = []
        for number, kind in enumerate(request.param):
            serde: Any = TypedSerializer()
            if request.param == ("sqlite", "sqlite"):
                serde = EncryptedSerializer(keys=(OLD, NEW)[number], hash_key=OLD)
            folder = tmp_path / str(number)
            folder.mkdir()
            place = place_of(kind, request, folder) if kind != "postgres" else fresh_schema(request, number)
            savers.append(stack.enter_context(open_saver(place, serde=serde)))
        yield savers[0], savers[1]


def fresh_schema(request: pytest.FixtureRequest, number: int) -> str:
    place = request.getfixturevalue("postgres")
    name = f"postgres {place.schema}_{number} {place.conninfo}"
    with open_saver(name) as saver:
        saver.setup()  # type: ignore[attr-defined]
    return name


@task
def look_up(topic: str) -> str:
    calls.append(f"{topic} {get_runtime().call_id}")
    return topic.upper()


@task
def shout(text: str) -> str:
    calls.append(f"{text} {get_runtime().call_id}")
    return f"{text}!"


def flow_on(saver: BaseCheckpointer) -> Workflow[str, Any]:
    @entrypoint(checkpointer=saver, name="flow", on_busy="enqueue")
    def flow(topic: str, *, previous: list[str] | None = None) -> list[str]:
        found = look_up(topic).result()
        if topic == "ask":
            found += interrupt({"about": found})
        return [*(previous or []), shout(found).result() if topic == "ask" else found]

    return flow


def fill(flow: Workflow[str, Any]) -> None:
    """Threads in every state."""
    for number in range(40):  # a chain of differences with a long step in it
        flow.invoke(f"{number} {'x' * 200}", thread_id="done")
    flow.invoke("one", thread_id="asked")
    flow.invoke("ask", {"metadata": {"n": 1}}, thread_id="asked")
    flow.update_state(None, ["by hand"], thread_id="updated")
    flow.invoke("ask", thread_id="forked")
    flow.invoke(Command(resume="?"), thread_id="forked")
    flow.fork(thread_id="forked", before=flow.runs("forked")[0].calls()[-1])
    flow.invoke("ask", thread_id="queued")
    for number in range(3):
        flow.submit(f"waits {number}", {"configurable": {"thread_id": "queued"}})
    flow.submit("waits", {"configurable": {"thread_id": "begun later"}})
    flow.update_state(None, ["set before"], thread_id="begun later")
    flow.submit("alone", {"configurable": {"thread_id": "submitted"}}, idempotency_key="k")


THREADS = ("done", "asked", "updated", "forked", "queued", "submitted", "begun later")


def told(flow: Workflow[str, Any]) -> Any:
    """All that anybody can see of the threads."""
    return [
        (
            [
                (run.run_id, run.status, [(call.id, call.name, call.status, call.value) for call in run.calls()])
                for run in flow.runs(name, limit=100)
            ],
            [
                (each.config, each.parent_config, each.values, each.next)
                for each in flow.get_state_history(thread_id=name)
            ],
            flow.get_state(thread_id=name),
        )
        for name in THREADS
    ]


def test_a_copy_is_what_the_original_was(pair: Pair) -> None:
    here, there = pair
    fill(flow_on(here))
    before, made = told(flow_on(here)), list(calls)
    assert here.copy_to(there) == len(THREADS)
    assert here.copy_to(there) == 0
    assert told(flow_on(there)) == before
    assert calls == made
    with open_saver(":memory:", serde=here.serde) as back:
        assert there.copy_to(back) == len(THREADS)
        assert told(flow_on(back)) == before


def test_a_copy_goes_on_where_the_original_stood(pair: Pair) -> None:
    """Calls that were made are not made again, and those to come have the ids that they would have had."""
    here, there = pair
    fill(flow_on(here))
    here.copy_to(there)
    calls.clear()
    results = []
    for saver in pair:
        flow = flow_on(saver)
        results.append(
            (
                len(flow.invoke("more", thread_id="done")),
                flow.invoke(Command(resume="?"), thread_id="asked"),
                flow.invoke("next", thread_id="updated"),
                flow.fork(thread_id="forked", before=flow.runs("forked")[-1].calls()[-1]),
                [call.id for call in flow.runs("asked")[0].calls()],
                flow.submit("not again", {"configurable": {"thread_id": "submitted"}}, idempotency_key="k").status,
            )
        )
    assert results[0] == results[1]
    assert results[0][:3] == (41, ["ONE", "ASK?!"], ["by hand", "NEXT"])
    assert not [call for call in calls if call.startswith("ask ")], "they were made before the question"


def test_what_was_submitted_is_worked_off_in_its_order(pair: Pair) -> None:
    here, there = pair
    fill(flow_on(here))
    here.copy_to(there)
    flow = flow_on(there)
    flow.recover()
    assert flow.get_state(thread_id="submitted").values == ["ALONE"]
    assert flow.get_state(thread_id="begun later").values == ["set before", "WAITS"]
    assert flow.get_state(thread_id="queued").values == ["WAITS 0", "WAITS 1", "WAITS 2"]


def test_one_thread_by_name_and_without_blocking(pair: Pair) -> None:
    here, there = pair
    fill(flow_on(here))
    assert asyncio.run(here.acopy_to(there, "asked")) == 1
    assert flow_on(there).get_state(thread_id="asked").interrupts
    assert flow_on(there).runs("done") == []
    with pytest.raises(ConfigError, match="no thread 'nowhere'"):
        here.copy_to(there, "nowhere")


def test_runs_are_in_a_database_once(pair: Pair) -> None:
    here, there = pair
    flow_on(here).invoke("one", thread_id="a")
    import_history(export_history(flow_on(here), "a"), there, thread_id="b")
    with pytest.raises(ConfigError, match="on a thread of another name"):
        here.copy_to(there)


def test_serializers_that_know_other_fingerprints_are_refused() -> None:
    plain, sealed = InMemorySaver(), InMemorySaver(serde=EncryptedSerializer(keys=OLD))
    flow_on(plain).invoke("one", thread_id="a")
    for here, there in ((plain, sealed), (sealed, plain)):
        with pytest.raises(ConfigError, match="hash_key="):
            here.copy_to(there)
