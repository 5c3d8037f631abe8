"""The workflow object: what its methods take, give, and refuse."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from durably import (
    Command,
    InMemorySaver,
    Runtime,
    Workflow,
    entrypoint,
    get_config,
    get_runtime,
    get_store,
    get_stream_writer,
    interrupt,
    task,
)
from durably.errors import (
    BlockingError,
    ConfigError,
    EmptyInputError,
    GraphRecursionError,
    InvalidUpdateError,
    OutsideRunError,
)
from durably.store.memory import InMemoryStore
from durably.types import GraphOutput

LONG = 20.0


def invoke(workflow: Workflow[Any, Any], value: Any, config: Any = None, **how: Any) -> Any:
    return workflow.invoke(value, config, **how)


def ainvoke(workflow: Workflow[Any, Any], value: Any, config: Any = None, **how: Any) -> Any:
    return asyncio.run(workflow.ainvoke(value, config, **how))


both_ways = pytest.mark.parametrize("run", [invoke, ainvoke])


@task
def double(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


@entrypoint()
def doubled(x: int) -> int:
    return double(x).result()


def batch(workflow: Workflow[Any, Any], inputs: Any, config: Any = None, **how: Any) -> Any:
    return workflow.batch(inputs, config, **how)


def abatch(workflow: Workflow[Any, Any], inputs: Any, config: Any = None, **how: Any) -> Any:
    return asyncio.run(workflow.abatch(inputs, config, **how))


@pytest.mark.parametrize("batch", [batch, abatch])
class TestBatch:
    def test_values_come_in_the_order_of_the_inputs(self, batch: Any) -> None:
        assert batch(doubled, list(range(100))) == [2 * x for x in range(100)]
        assert batch(doubled, []) == []
        assert batch(doubled, [], []) == []

    def test_an_exception_is_raised(self, batch: Any) -> None:
        with pytest.raises(ValueError, match="-1 is negative"):
            batch(doubled, [1, -1, 2])

    def test_or_returned(self, batch: Any) -> None:
        first, error, last = batch(doubled, [1, -1, 2], return_exceptions=True)
        assert (first, last) == (2, 4)
        assert isinstance(error, ValueError)

    def test_a_config_for_each(self, batch: Any) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def add(x: int, *, previous: int = 0) -> int:
            return previous + x

        configs = [{"configurable": {"thread_id": str(n)}} for n in range(3)]
        assert batch(add, [1, 2, 3], configs) == [1, 2, 3]
        assert batch(add, [1, 2, 3], configs) == [2, 4, 6]

    def test_a_config_too_few(self, batch: Any) -> None:
        with pytest.raises(ConfigError, match="1 configs were given for 2 inputs"):
            batch(doubled, [1, 2], [{}])

    def test_one_config_for_all(self, batch: Any) -> None:
        @entrypoint()
        def tags(_: int) -> Any:
            return get_config()["tags"]

        assert batch(tags, [1, 2], {"tags": ["a"]}) == [["a"], ["a"]]

    def test_runs_are_side_by_side(self, batch: Any) -> None:
        line = threading.Barrier(5)

        @entrypoint()
        def meet(x: int) -> int:
            line.wait(LONG)
            return x

        assert batch(meet, list(range(5))) == list(range(5))

    def test_max_concurrency_bounds_them(self, batch: Any) -> None:
        lock, inside, highest = threading.Lock(), 0, 0

        @entrypoint()
        def count(_: int) -> None:
            nonlocal inside, highest
            with lock:
                inside += 1
                highest = max(highest, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= 1

        batch(count, list(range(20)), {"max_concurrency": 2})
        assert 1 <= highest <= 2

    def test_context_and_other_arguments_reach_each_run(self, batch: Any) -> None:
        @entrypoint()
        def context(_: int) -> Any:
            return get_runtime().context

        assert batch(context, [1, 2], context="shared") == ["shared", "shared"]

    def test_questions_are_returned(self, batch: Any) -> None:
        @entrypoint()
        def ask(x: int) -> Any:
            return interrupt(x)

        assert [answer["__interrupt__"][0].value for answer in batch(ask, [1, 2])] == [1, 2]


class TestWithConfig:
    def test_adds_up(self) -> None:
        @entrypoint()
        def config(_: None) -> Any:
            return get_config()

        configured = config.with_config({"tags": ["a"], "metadata": {"x": 1}, "configurable": {"u": 1}}).with_config(
            tags=["b"], metadata={"y": 2}
        )
        seen = configured.invoke(None, {"tags": ["c", "a"], "metadata": {"x": 3}, "configurable": {"v": 2}})
        assert seen["tags"] == ["a", "b", "c"]
        assert seen["metadata"] == {"x": 3, "y": 2}
        assert seen["configurable"] == {"u": 1, "v": 2}

    def test_leaves_the_workflow_as_it_was(self) -> None:
        configured = doubled.with_config(tags=["a"])
        assert configured is not doubled
        assert configured.name == doubled.name

        @entrypoint()
        def tags(_: None) -> Any:
            return get_config()["tags"]

        tags.with_config(tags=["a"])
        assert tags.invoke(None) == []

    def test_can_name_the_thread(self) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def count(_: None, *, previous: int = 0) -> int:
            return previous + 1

        on_thread = count.with_config(configurable={"thread_id": "1"})
        assert [on_thread.invoke(0), on_thread.invoke(0), count.invoke(0, thread_id="1")] == [1, 2, 3]  # type: ignore[arg-type]

    def test_refuses_what_is_no_config(self) -> None:
        with pytest.raises(ConfigError, match="config is list, not a dict"):
            doubled.with_config([])  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="unknown config entries: bogus"):
            doubled.with_config(bogus=1)


class Options(TypedDict):
    user: str


@dataclass
class Context:
    user: str
    admin: bool = False


class Model(BaseModel):
    user: str
    admin: bool = False


class TestSchemas:
    def test_of_plain_types(self) -> None:
        @entrypoint()
        def workflow(x: int, *, config: dict[str, Any], previous: str) -> list[str]:
            return [str(x)]

        assert workflow.get_input_jsonschema() == {"type": "integer"}
        assert workflow.get_output_jsonschema() == {"type": "array", "items": {"type": "string"}}
        assert workflow.get_context_jsonschema() is None

    @pytest.mark.parametrize("kind", [Context, Model, Options])
    def test_of_structures(self, kind: Any) -> None:
        def function(x: Any) -> Any:
            return x

        function.__annotations__ = {"x": kind, "return": entrypoint.final[kind, int]}
        workflow = entrypoint(context_schema=kind)(function)
        for schema in (
            workflow.get_input_jsonschema(),
            workflow.get_output_jsonschema(),
            workflow.get_context_jsonschema(),
        ):
            assert "user" in str(schema)
            assert "string" in str(schema)

    def test_of_an_async_function_and_a_method(self) -> None:
        class Service:
            async def handle(self, x: int) -> str:
                return str(x)

        workflow = entrypoint()(Service().handle)
        assert workflow.get_input_jsonschema() == {"type": "integer"}
        assert workflow.get_output_jsonschema() == {"type": "string"}

    def test_anything_goes_where_nothing_is_said(self) -> None:
        @entrypoint()
        def workflow(x):  # type: ignore[no-untyped-def]
            return x

        @entrypoint()
        def unresolvable(x: Nowhere) -> Nowhere:  # type: ignore[name-defined] # noqa: F821
            return x

        for each in (workflow, unresolvable):
            assert each.get_input_jsonschema() == {}
            assert each.get_output_jsonschema() == {}


@both_ways
class TestContext:
    def context_seen(self, schema: Any) -> Workflow[Any, Any]:
        @entrypoint(context_schema=schema)
        async def workflow(_: None, runtime: Runtime[Any]) -> Any:
            assert get_runtime().context is runtime.context
            return await look()

        @task
        def look(runtime: Runtime[Any]) -> Any:
            return runtime.context

        return workflow

    @pytest.mark.parametrize("schema", [Context, Model])
    def test_a_dict_becomes_what_the_schema_says(self, run: Any, schema: Any) -> None:
        assert run(self.context_seen(schema), None, context={"user": "Ada"}) == schema(user="Ada")

    @pytest.mark.parametrize("schema", [Context, Model])
    def test_an_object_is_passed_on(self, run: Any, schema: Any) -> None:
        context = schema(user="Ada")
        assert run(self.context_seen(schema), None, context=context) is context

    @pytest.mark.parametrize(
        ("schema", "context"),
        [
            *((schema, context) for schema in (Context, Model) for context in ({}, "Ada", 1, ["Ada"])),
            (Context, {"user": "Ada", "no": "field"}),
            (Model, {"user": []}),
        ],
        ids=repr,
    )
    def test_what_does_not_fit_is_refused(self, run: Any, schema: Any, context: Any) -> None:
        with pytest.raises(ConfigError, match="context= of workflow 'workflow'"):
            run(self.context_seen(schema), None, context=context)

    def test_a_typed_dict(self, run: Any) -> None:
        assert run(self.context_seen(Options), None, context={"user": "Ada"}) == {"user": "Ada"}
        with pytest.raises(ConfigError, match="lacks user"):
            run(self.context_seen(Options), None, context={})
        with pytest.raises(ConfigError, match="give a dict"):
            run(self.context_seen(Options), None, context="Ada")

    def test_without_a_schema_anything_goes(self, run: Any) -> None:
        marker = object()
        assert run(self.context_seen(None), None, context=marker) is marker
        assert run(self.context_seen(None), None) is None


@both_ways
class TestThreads:
    def count(self) -> Workflow[Any, int]:
        @entrypoint(checkpointer=InMemorySaver())
        def count(_: Any, *, previous: int = 0) -> int:
            return previous + 1

        return count

    def test_three_ways_to_name_one(self, run: Any) -> None:
        count = self.count()
        assert run(count, 0, {"configurable": {"thread_id": "1"}}) == 1
        assert run(count, 0, thread_id="1") == 2
        assert run(count, 0, {"configurable": {"thread_id": "other"}}, thread_id="1") == 3
        assert run(count, 0, thread_id="2") == 1

    def test_a_uuid(self, run: Any) -> None:
        count, name = self.count(), uuid4()
        assert run(count, 0, thread_id=name) == 1
        assert run(count, 0, thread_id=str(name)) == 2
        assert run(count, 0, {"configurable": {"thread_id": UUID(str(name))}}) == 3

    def test_none_with_a_checkpointer(self, run: Any) -> None:
        line = (
            r'count\.invoke\(input, \{"configurable": \{"thread_id": "1"\}\}\) or count\.invoke\(input, thread_id="1"\)'
        )
        for config in (None, {}, {"configurable": {}}, {"configurable": None}):
            with pytest.raises(ConfigError, match=line):
                run(self.count(), 0, config)

    @pytest.mark.parametrize("thread_id", ["", 1, b"1", ["1"]], ids=repr)
    def test_a_bad_one(self, run: Any, thread_id: Any) -> None:
        with pytest.raises(ValueError, match=r"thread_id is .*give a string that is not empty, or a UUID"):
            run(self.count(), 0, thread_id=thread_id)

    def test_nothing_to_resume(self, run: Any) -> None:
        count = self.count()
        with pytest.raises(EmptyInputError, match=r"thread '1' has never run.*Start a run with an input"):
            run(count, None, thread_id="1")
        run(count, 0, thread_id="1")
        with pytest.raises(EmptyInputError, match="has nothing open"):
            run(count, None, thread_id="1")

    def test_none_is_an_input_where_nothing_is_stored(self, run: Any) -> None:
        @entrypoint()
        def workflow(x: Any) -> Any:
            return x

        assert run(workflow, None) is None


@both_ways
class TestBadArguments:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("text", "config is str, not a dict"),
            ([("configurable", {})], "config is list, not a dict"),
            ({"thread_id": "1"}, "unknown config entries: thread_id.*under 'configurable' or 'metadata'"),
            ({"configurable": "1"}, r"config\['configurable'\] is str: give a dict"),
            ({"metadata": [1]}, r"config\['metadata'\] is list: give a dict"),
            ({"max_concurrency": 0}, r"config\['max_concurrency'\] is 0: give a whole number, at least 1"),
            ({"max_concurrency": 1.5}, r"config\['max_concurrency'\] is 1.5"),
            ({"max_concurrency": True}, r"config\['max_concurrency'\] is True"),
            ({"recursion_limit": -1}, r"config\['recursion_limit'\] is -1"),
            ({"grace": -1}, r"config\['grace'\] is -1"),
            ({"grace": "1"}, r"config\['grace'\] is '1'"),
            ({"grace": float("nan")}, r"config\['grace'\] is nan"),
        ],
        ids=str,
    )
    def test_config(self, run: Any, config: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            run(doubled, 1, config)

    def test_durability(self, run: Any) -> None:
        with pytest.raises(ValueError, match="unknown durability 'later': give one of 'sync', 'async', 'exit'"):
            run(doubled, 1, durability="later")

    def test_version(self, run: Any) -> None:
        with pytest.raises(ConfigError, match="unknown version 'v3': give 'v1' or 'v2'"):
            run(doubled, 1, version="v3")

    def test_an_argument_that_does_not_exist(self, run: Any) -> None:
        with pytest.raises(TypeError, match="bogus"):
            run(doubled, 1, bogus=True)

    def test_an_answer_where_nothing_is_stored(self, run: Any) -> None:
        with pytest.raises(ConfigError, match=r"declare @entrypoint\(checkpointer=\.\.\.\)"):
            run(doubled, Command(resume=1))

    @pytest.mark.parametrize("command", [Command(update={}), Command(goto="node"), Command(graph="parent")], ids=repr)
    def test_commands_for_graphs(self, run: Any, command: Command) -> None:
        with pytest.raises(InvalidUpdateError, match=r"Command\(resume=answer\)"):
            run(doubled, command)


@both_ways
def test_version_2(run: Any) -> None:
    @entrypoint()
    def ask(x: int) -> Any:
        return x or interrupt("?")

    assert run(ask, 1, version="v2") == GraphOutput(1)
    output = run(ask, 0, version="v2")
    assert output.value is None
    assert [question.value for question in output.interrupts] == ["?"]


class TestAccessors:
    @pytest.mark.parametrize(
        ("accessor", "name"),
        [
            (get_config, "get_config"),
            (get_store, "get_store"),
            (get_runtime, "get_runtime"),
            (get_stream_writer, "get_stream_writer"),
            (lambda: interrupt("?"), "interrupt"),
        ],
    )
    def test_outside_a_run(self, accessor: Any, name: str) -> None:
        with pytest.raises(OutsideRunError, match=rf"{name}\(\) was called outside a run"):
            accessor()

    @both_ways
    def test_inside_bodies_of_both_colours(self, run: Any) -> None:
        store = InMemoryStore()

        def facts() -> Any:
            return get_config()["tags"], get_store() is store, get_runtime().context

        @task
        def sync_facts() -> Any:
            return facts()

        @task
        async def async_facts() -> Any:
            return facts()

        @entrypoint(store=store)
        async def workflow(_: None) -> Any:
            return [facts(), await sync_facts(), await async_facts(), await asyncio.to_thread(facts)]

        assert run(workflow, None, {"tags": ["a"]}, context="c") == [(["a"], True, "c")] * 4

    def test_without_a_store(self) -> None:
        @entrypoint()
        def workflow(_: None) -> Any:
            return get_store()

        with pytest.raises(ConfigError, match=r"@entrypoint\(store=InMemoryStore\(\)\)"):
            workflow.invoke(None)

    def test_in_a_thread_that_does_not_carry_the_context(self) -> None:
        errors: list[BaseException] = []

        @entrypoint()
        def workflow(_: None) -> None:
            def call() -> None:
                try:
                    double(1)
                except OutsideRunError as error:
                    errors.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            thread.join(LONG)

        workflow.invoke(None)
        (error,) = errors
        for way_out in ("asyncio.to_thread", "contextvars.copy_context().run", "durably.in_context"):
            assert way_out in str(error)

    def test_after_a_run(self) -> None:
        doubled.invoke(1)
        with pytest.raises(OutsideRunError):
            double(1)


class TestRecursionLimit:
    @both_ways
    def test_deeper_is_an_error(self, run: Any) -> None:
        @task
        def down(n: int) -> int:
            return down(n - 1).result() if n else 0

        @entrypoint()
        def workflow(n: int) -> int:
            return down(n).result()

        assert run(workflow, 9, {"recursion_limit": 10}) == 0
        with pytest.raises(
            GraphRecursionError, match=r"task 'down' is nested 11 calls deep.*\"recursion_limit\": 20"
        ) as e:
            run(workflow, 10, {"recursion_limit": 10})
        assert isinstance(e.value, RecursionError)

    def test_the_number_of_calls_does_not_count(self) -> None:
        @entrypoint()
        def workflow(n: int) -> int:
            return sum(double(x).result() for x in range(n))

        assert workflow.invoke(100, {"recursion_limit": 1}) == sum(2 * x for x in range(100))


class TestNested:
    @both_ways
    def test_in_all_colours(self, run: Any) -> None:
        @entrypoint()
        async def achild(x: int) -> int:
            return await double(x)

        @entrypoint()
        async def aparent(x: int) -> Any:
            return await doubled.ainvoke(x), await achild.ainvoke(x)

        @entrypoint()
        def parent(x: int) -> Any:
            return doubled.invoke(x), achild.invoke(x)

        @task
        def inside_a_task(x: int) -> int:
            return doubled.invoke(x) + achild.invoke(x)

        @entrypoint()
        def deeper(x: int) -> Any:
            return inside_a_task(x).result()

        assert run(parent, 1) == (2, 2)
        assert run(aparent, 1) == (2, 2)
        assert run(deeper, 1) == 4

    def test_blocking_in_an_async_body_is_refused(self) -> None:
        @entrypoint()
        async def parent(x: int) -> int:
            return doubled.invoke(x)

        for run in (invoke, ainvoke):
            with pytest.raises(BlockingError, match=r"workflow 'doubled'.*await workflow.ainvoke"):
                run(parent, 1)

    @both_ways
    def test_what_it_inherits(self, run: Any) -> None:
        store = InMemoryStore()

        @entrypoint()
        def child(_: int) -> Any:
            config = get_config()
            return config["tags"], config["configurable"].get("user"), get_store() is store, get_runtime().context

        @entrypoint(store=store)
        def parent(x: int) -> Any:
            return child.invoke(x), child.invoke(x, {"tags": ["c"]}, context="own")

        expected = ((["p"], "Ada", True, "outer"), (["p", "c"], "Ada", True, "own"))
        assert run(parent, 1, {"tags": ["p"], "configurable": {"user": "Ada"}}, context="outer") == expected

    @both_ways
    def test_version_2(self, run: Any) -> None:
        saver = InMemorySaver()
        own = entrypoint(checkpointer=saver, name="own")(lambda x: x)

        @entrypoint()
        def parent(x: int) -> Any:
            return doubled.invoke(x, version="v2"), own.invoke(x, thread_id="1", version="v2")

        assert run(parent, 1) == (GraphOutput(2), GraphOutput(1))

    @both_ways
    def test_a_config_with_nothing_in_it(self, run: Any) -> None:
        @entrypoint()
        def parent(x: int) -> Any:
            return doubled.invoke(x, {"configurable": None})

        assert run(parent, 1) == 2

    @both_ways
    def test_an_error_passes_through(self, run: Any) -> None:
        @entrypoint()
        def parent(x: int) -> Any:
            return doubled.invoke(x)

        with pytest.raises(ValueError, match="-1 is negative"):
            run(parent, -1)

    @both_ways
    def test_a_question_surfaces_through_the_parent(self, run: Any) -> None:
        @entrypoint()
        def child(x: int) -> Any:
            return interrupt("how much?") * x

        @entrypoint(checkpointer=InMemorySaver())
        def parent(x: int) -> Any:
            return child.invoke(x) + 1

        answer = run(parent, 5, thread_id="1")
        assert [question.value for question in answer["__interrupt__"]] == ["how much?"]
        assert run(parent, Command(resume=3), thread_id="1") == 16

    @both_ways
    def test_another_thread_is_a_run_of_its_own(self, run: Any) -> None:
        saver = InMemorySaver()

        @entrypoint(checkpointer=saver)
        def child(x: int, *, previous: int = 0) -> int:
            return previous + x

        @entrypoint(checkpointer=saver)
        def parent(x: int) -> Any:
            return child.invoke(x, thread_id="child")

        assert [run(parent, 1, thread_id="parent"), run(parent, 2, thread_id="parent")] == [1, 3]
        assert child.invoke(3, thread_id="child") == 6

    @both_ways
    def test_an_answer_belongs_to_the_parent(self, run: Any) -> None:
        @entrypoint()
        def parent(_: int) -> Any:
            return doubled.invoke(Command(resume=1))

        with pytest.raises(ConfigError, match="answer its questions by resuming that run"):
            run(parent, 1)


def test_many_loops_one_after_the_other() -> None:
    """Nothing is kept of a loop that is gone."""

    async def main(x: int) -> int:
        return await doubled.ainvoke(x)

    assert [asyncio.run(main(x)) for x in range(30)] == [2 * x for x in range(30)]
