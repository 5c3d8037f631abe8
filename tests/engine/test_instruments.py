"""Code around bodies: what it sees, when it runs, and that it changes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from durably import Command, InMemorySaver, RetryPolicy, Workflow, as_completed, entrypoint, get_config, interrupt, task
from durably.errors import ConfigError, GraphInterrupt
from durably.instruments import Instrument, install, installed, when_imported

seen: list[Any] = []
span: ContextVar[tuple[str, ...]] = ContextVar("span", default=())


def spans(body: Any) -> Any:
    """As a tracer would: where each body stands among the others, and how it ended."""
    path = (*span.get(), body.name)
    span.set(path)
    seen.append(("begin", "/".join(path), body.kind, body.input))
    try:
        result = yield
    except BaseException as error:
        seen.append(("failed", "/".join(path), type(error)))
        raise
    seen.append(("end", "/".join(path), result))


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    seen.clear()
    before = installed()
    yield
    assert installed() == before, "a test left an instrument behind"


@pytest.fixture
def spanned() -> Iterator[None]:
    remove = install(spans)
    yield
    remove()


def run(workflow: Workflow[Any, Any], value: Any, colour: str, **how: Any) -> Any:
    return asyncio.run(workflow.ainvoke(value, **how)) if colour == "async" else workflow.invoke(value, **how)


colours = pytest.mark.parametrize("colour", ["sync", "async"])


@task
def add(x: int, *, by: int = 1, config: dict[str, Any]) -> int:
    return x + by


@task
async def aadd(x: int, by: int = 1) -> int:
    await asyncio.sleep(0)
    return x + by


@entrypoint()
def inner(x: int) -> int:
    return add(x, by=10).result()


@entrypoint()
def outer(x: int) -> int:
    return inner.invoke(x) + add(x).result()


@entrypoint()
async def aouter(x: int) -> int:
    first, second = await asyncio.gather(aadd(x), aadd(x, by=2))
    return first + second


@colours
def test_bodies_stand_inside_one_another(spanned: None, colour: str) -> None:
    assert run(outer, 1, colour) == 13
    assert seen == [
        ("begin", "outer", "workflow", 1),
        ("begin", "outer/inner", "workflow", 1),
        ("begin", "outer/inner/add", "task", {"x": 1, "by": 10}),
        ("end", "outer/inner/add", 11),
        ("end", "outer/inner", 11),
        ("begin", "outer/add", "task", {"x": 1}),
        ("end", "outer/add", 2),
        ("end", "outer", 13),
    ]


@colours
def test_parallel_async_tasks_have_the_same_parent(spanned: None, colour: str) -> None:
    assert run(aouter, 1, colour) == 5
    assert seen[0] == ("begin", "aouter", "workflow", 1)
    assert sorted(map(repr, seen[1:-1])) == sorted(
        map(
            repr,
            [
                ("begin", "aouter/aadd", "task", {"x": 1}),
                ("begin", "aouter/aadd", "task", {"x": 1, "by": 2}),
                ("end", "aouter/aadd", 2),
                ("end", "aouter/aadd", 3),
            ],
        )
    )
    assert seen[-1] == ("end", "aouter", 5)


def test_the_library_s_own_calls_are_no_bodies(spanned: None) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def apart(x: int) -> int:
        return x

    @entrypoint()
    def waiting(x: int) -> int:
        done = [future.result() for future in as_completed([add(x)])]
        return done[0] + apart.invoke(x, thread_id="other")

    assert waiting.invoke(1) == 3
    assert [entry[1] for entry in seen if entry[0] == "begin"] == ["waiting", "waiting/add", "waiting/apart"]


def test_replayed_calls_have_no_body(spanned: None) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def asking(x: int) -> str:
        return f"{add(x).result()} {interrupt('?')}"

    asking.invoke(1, thread_id="1")
    assert ("failed", "asking", GraphInterrupt) in seen
    seen.clear()
    assert asking.invoke(Command(resume="yes"), thread_id="1") == "2 yes"
    assert seen == [("begin", "asking", "workflow", 1), ("end", "asking", "2 yes")]


@colours
def test_each_attempt_is_a_body(spanned: None, colour: str) -> None:
    failures = [ValueError("one"), ValueError("two")]

    @task(retry_policy=RetryPolicy(initial_interval=0.0, retry_on=ValueError))
    def flaky() -> str:
        if failures:
            raise failures.pop()
        return "done"

    @entrypoint()
    def trying(_: int) -> str:
        return flaky().result()

    assert run(trying, 0, colour) == "done"
    assert [entry[0] for entry in seen] == ["begin", "begin", "failed", "begin", "failed", "begin", "end", "end"]


@colours
def test_an_instrument_cannot_change_the_outcome(colour: str) -> None:
    def meddling(body: Any) -> Any:
        try:
            yield
        except ValueError:
            pass  # content with it
        return "something else"

    @task
    def failing() -> None:
        raise ValueError("mine")

    @entrypoint()
    def catching(_: int) -> str:
        with pytest.raises(ValueError, match="mine"):
            failing().result()
        return "kept"

    remove = install(meddling)
    try:
        assert run(catching, 0, colour) == "kept"
    finally:
        remove()


def test_around_async_bodies_it_may_wait() -> None:
    def waiting(body: Any) -> Any:
        if body.is_async:
            seen.append((yield asyncio.sleep(0, f"before {body.name}")))
        result = yield
        if body.is_async:
            seen.append((yield asyncio.sleep(0, f"after {result}")))
            with pytest.raises(OSError, match="no"):
                yield broken()

    async def broken() -> None:
        raise OSError("no")

    remove = install(waiting)
    try:
        assert asyncio.run(aouter.ainvoke(1)) == 5
        assert seen[0] == "before aouter"
        assert sorted(seen[1:-1]) == ["after 2", "after 3", "before aadd", "before aadd"]
        assert outer.invoke(1) == 13
    finally:
        remove()


class Never:
    def __await__(self) -> Iterator[Any]:
        raise AssertionError("nobody awaits it")


def waiting_in_sync(body: Any) -> Any:
    yield Never()


def running_twice(body: Any) -> Any:
    yield
    yield


def failing_before(body: Any) -> Any:
    raise ConfigError("not this time")
    yield


@pytest.mark.parametrize(
    ("instrument", "says"),
    [(running_twice, "let the body run twice"), (failing_before, "not this time")],
)
@colours
def test_its_own_mistakes_are_the_body_s(instrument: Instrument, says: str, colour: str) -> None:
    remove = install(instrument)
    try:
        with pytest.raises(ConfigError, match=says):
            run(inner, 1, colour)
    finally:
        remove()


def test_waiting_around_a_sync_body_is_a_mistake() -> None:
    remove = install(waiting_in_sync)
    try:
        with pytest.raises(ConfigError, match=r"ask body\.is_async first"):
            inner.invoke(1)
    finally:
        remove()


@colours
def test_it_may_skip_a_body(colour: str) -> None:
    def only_tasks(body: Any) -> Any:
        if body.kind == "workflow":
            return
        seen.append(body.name)
        yield

    remove = install(only_tasks)
    try:
        assert run(outer, 1, colour) == 13
    finally:
        remove()
    assert seen == ["add", "add"]


@colours
def test_the_config_of_an_attempt_can_be_changed(colour: str) -> None:
    def numbered(body: Any) -> Any:
        attempt = body.runtime.execution_info.node_attempt
        assert "seen_by" not in body.config, "the change was for the attempt before"
        body.configure(metadata={"of": body.name, "attempt": attempt}, seen_by="me")
        yield

    failures = [ValueError("once")]

    @task(retry_policy=RetryPolicy(initial_interval=0.0, retry_on=ValueError))
    def where(*, config: dict[str, Any]) -> Any:
        if failures:
            raise failures.pop()
        assert config["metadata"] == get_config()["metadata"]
        return config["metadata"]

    @entrypoint()
    def asking(_: int) -> Any:
        return where().result(), get_config()["metadata"]

    remove = install(numbered)
    try:
        assert run(asking, 0, colour) == ({"of": "where", "attempt": 2}, {"of": "asking", "attempt": 1})
    finally:
        remove()


PLUGIN = """
from durably.instruments import install

def noticed(body):
    body.configure(metadata={"noticed": body.name})
    yield

remove = install(noticed)
"""


def test_a_plug_in_comes_with_the_library_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "some_tracing_library.py").touch()
    (tmp_path / "some_plugin.py").write_text(PLUGIN)

    @entrypoint()
    def metadata(_: int) -> Any:
        return get_config()["metadata"]

    when_imported("some_tracing_library", "some_plugin")
    assert metadata.invoke(0) == {}
    assert "some_plugin" not in sys.modules
    import some_tracing_library  # type: ignore[import-not-found]  # noqa: F401

    assert metadata.invoke(0) == {"noticed": "metadata"}
    sys.modules["some_plugin"].remove()
    assert metadata.invoke(0) == {}


def test_a_plug_in_that_does_not_fit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plugin_for_another_version.py").write_text("from json import what_is_not_there")
    when_imported("json", "plugin_for_another_version")
    assert inner.invoke(1) == 11
    assert inner.invoke(1) == 11
    assert [record.message for record in caplog.records] == [
        "plugin_for_another_version cannot be imported, so what it is for does not happen"
    ]
