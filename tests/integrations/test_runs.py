"""Workflows and tasks as runs of LangChain's: for its tracers, its callback handlers and LangSmith."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run
from models import speaking

from durably import Command, InMemorySaver, RetryPolicy, Workflow, entrypoint, get_config, interrupt, task
from durably.integrations.langchain import as_runnable

colours = pytest.mark.parametrize("colour", ["sync", "async"])


def run(workflow: Any, value: Any, colour: str, *config: Any, **how: Any) -> Any:
    if colour == "async":
        return asyncio.run(workflow.ainvoke(value, *config, **how))
    return workflow.invoke(value, *config, **how)


class Tracer(BaseTracer):
    """Keeps each finished tree of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


def tree(run: Run) -> Any:
    """Name and children; those who ran at the same time in alphabetical order."""
    return (run.name, sorted(map(tree, run.child_runs), key=repr)) if run.child_runs else run.name


def every(run: Run) -> Iterator[Run]:
    yield run
    for child in run.child_runs:
        yield from every(child)


@task
def ask(question: str, *, loud: bool = False) -> str:
    return str(speaking("hello").invoke(question).content)


@task
async def aask(question: str) -> str:
    return str((await speaking("hello").ainvoke(question)).content)


@entrypoint()
def chat(question: str) -> list[str]:
    return [future.result() for future in [ask(question), ask(question, loud=True)]]


@entrypoint()
async def achat(question: str) -> list[str]:
    return list(await asyncio.gather(aask(question), ask(question)))


@entrypoint()
def around(question: str) -> list[str]:
    return [*chat.invoke(question), ask("again").result()]


@colours
def test_workflow_task_and_model_stand_inside_one_another(colour: str) -> None:
    tracer = Tracer()
    assert run(chat, "hi", colour, {"callbacks": [tracer]}) == ["hello", "hello"]
    (root,) = tracer.roots
    assert tree(root) == ("chat", [("ask", ["Named"]), ("ask", ["Named"])])
    assert (root.inputs, root.outputs) == ({"input": "hi"}, {"output": ["hello", "hello"]})
    assert [child.inputs for child in root.child_runs] == [{"question": "hi"}, {"question": "hi", "loud": True}]
    assert [child.outputs for child in root.child_runs] == [{"output": "hello"}] * 2


@colours
def test_parallel_tasks_have_their_own_models(colour: str) -> None:
    tracer = Tracer()
    run(achat, "hi", colour, {"callbacks": [tracer]})
    (root,) = tracer.roots
    assert tree(root) == ("achat", [("aask", ["Named"]), ("ask", ["Named"])])


@colours
def test_nested_workflows_stand_inside_their_caller(colour: str) -> None:
    tracer = Tracer()
    run(around, "hi", colour, {"callbacks": [tracer], "run_name": "tonight"})
    (root,) = tracer.roots
    assert tree(root) == ("tonight", [("ask", ["Named"]), ("chat", [("ask", ["Named"]), ("ask", ["Named"])])])


@colours
@pytest.mark.once("each pass is traced")
def test_an_independent_run_stands_inside_its_caller_too(colour: str) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def apart(question: str) -> str:
        return ask(question).result()

    @entrypoint()
    def calling(question: str) -> str:
        return apart.invoke(question, thread_id="other")

    tracer = Tracer()
    run(calling, "hi", colour, {"callbacks": [tracer]})
    (root,) = tracer.roots
    assert tree(root) == ("calling", [("apart", [("ask", ["Named"])])])


@colours
def test_the_config_reaches_models(colour: str) -> None:
    tracer = Tracer()
    config = {
        "callbacks": [tracer],
        "tags": ["outer"],
        "metadata": {"user": "Ada"},
        "run_id": uuid4(),
        "run_name": "tonight",
        "grace": 1.0,
        "configurable": {"thread_id": "7"},
    }
    run(around, "hi", colour, config)
    (root,) = tracer.roots
    assert root.id == config["run_id"]
    models = [found for found in every(root) if found.run_type == "llm"]
    assert len(models) == 3
    for model in models:
        assert model.name == "Named"
        assert model.tags == ["outer"]
        known = {"user": "Ada", "task": "ask", "langgraph_node": "ask", "ls_model_name": "paper-1", "thread_id": "7"}
        assert (model.extra or {})["metadata"] | known == (model.extra or {})["metadata"]


@colours
def test_a_config_handed_on_keeps_the_parents(colour: str) -> None:
    @task
    def handing_on(question: str, config: RunnableConfig) -> str:
        return str(speaking("hello").invoke(question, config).content)

    @entrypoint()
    def inner(question: str, config: RunnableConfig) -> str:
        return handing_on(question).result()

    @entrypoint()
    def outer(question: str) -> str:
        return inner.invoke(question, get_config())

    tracer = Tracer()
    run(outer, "hi", colour, {"callbacks": [tracer], "run_name": "tonight"})
    (root,) = tracer.roots
    assert tree(root) == ("tonight", [("inner", [("handing_on", ["Named"])])])


@colours
def test_failures_are_runs_with_errors(colour: str) -> None:
    @task(retry_policy=RetryPolicy(initial_interval=0.0, max_attempts=2, retry_on=ValueError))
    def failing(text: str) -> None:
        raise ValueError(text)

    @entrypoint()
    def flow(text: str) -> None:
        failing(text).result()

    tracer = Tracer()
    with pytest.raises(ValueError, match="broken"):
        run(flow, "broken", colour, {"callbacks": [tracer]})
    (root,) = tracer.roots
    assert tree(root) == ("flow", ["failing", "failing"])
    for found in every(root):
        assert found.error is not None
        assert "ValueError('broken')" in found.error


@colours
@pytest.mark.once("each pass is traced")
def test_a_question_is_no_error_and_replayed_tasks_are_no_runs(colour: str) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def asking(question: str) -> str:
        return f"{ask(question).result()} {interrupt('really?')}"

    tracer = Tracer()
    run(asking, "hi", colour, {"callbacks": [tracer]}, thread_id="1")
    assert run(asking, Command(resume="yes"), colour, {"callbacks": [tracer]}, thread_id="1") == "hello yes"
    first, second = tracer.roots
    assert tree(first) == ("asking", [("ask", ["Named"])])
    assert (first.error, first.outputs) == (None, {"__interrupt__": ["really?"]})
    assert tree(second) == "asking"
    assert (second.error, second.outputs) == (None, {"output": "hello yes"})


@colours
def test_runs_of_the_callers_own_are_parents(colour: str) -> None:
    tracer = Tracer()
    step = RunnableLambda(chat.invoke, afunc=chat.ainvoke).with_config(run_name="step")
    run(step, "hi", colour, {"callbacks": [tracer], "tags": ["outer"]})
    (root,) = tracer.roots
    assert tree(root) == ("step", [("chat", [("ask", ["Named"]), ("ask", ["Named"])])])
    assert {tuple(found.tags or ()) for found in every(root)} == {("outer",)}


def test_collected_runs() -> None:
    collector = RunCollectorCallbackHandler()
    chat.invoke("hi", {"callbacks": [collector]})
    assert [found.name for found in collector.traced_runs] == ["chat"]


@colours
def test_async_handlers_are_awaited(colour: str) -> None:
    class Handler(AsyncCallbackHandler):
        async def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            told.append(("start", kwargs["name"]))

        async def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            told.append(("end", outputs))

    told: list[Any] = []

    @task
    async def one(x: int) -> int:
        return x + 1

    @entrypoint()
    async def flow(x: int) -> int:
        return await one(x)

    run(flow, 1, colour, {"callbacks": [Handler()]})
    assert told == [("start", "flow"), ("start", "one"), ("end", 2), ("end", 2)]


class Watchful(BaseCallbackHandler):
    """Refuses to go on."""

    raise_error = True

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        raise PermissionError("over the budget")


@colours
def test_a_handler_that_raises_stops_the_body(colour: str) -> None:
    with pytest.raises(PermissionError, match="over the budget"):
        run(chat, "hi", colour, {"callbacks": [Watchful()]})


def test_handlers_of_a_context_reach_models_in_tasks() -> None:
    used = AIMessage(
        "x",
        usage_metadata={"input_tokens": 2, "output_tokens": 3, "total_tokens": 5},
        response_metadata={"model_name": "paper-1"},
    )

    @task
    def costly() -> None:
        type(speaking())(messages=iter([used])).invoke("hi")

    @entrypoint()
    def flow(_: int) -> None:
        costly().result()

    with get_usage_metadata_callback() as usage:
        flow.invoke(1)
    assert usage.usage_metadata["paper-1"]["total_tokens"] == 5


# Workflows in chains.


@entrypoint(checkpointer=InMemorySaver())
def remembering(question: str, *, previous: str | None, config: dict[str, Any]) -> str:
    return f"{previous or ''}{question}{ask(question).result()}{config['configurable'].get('mood', '')}"


def chain_of(workflow: Workflow[Any, Any], **how: Any) -> Any:
    return RunnableLambda(str.strip) | as_runnable(workflow, **how) | RunnableLambda(str.upper)


@colours
@pytest.mark.once("each pass is traced")
def test_a_workflow_in_a_chain(colour: str) -> None:
    tracer = Tracer()
    config = {"configurable": {"thread_id": f"chain {colour}", "mood": "!"}, "callbacks": [tracer], "tags": ["t"]}
    assert run(chain_of(remembering), " hi ", colour, config) == "HIHELLO!"
    assert run(chain_of(remembering), " ho ", colour, config) == "HIHELLO!HOHELLO!"
    (first, _) = tracer.roots
    assert [child.name for child in first.child_runs] == ["strip", "remembering", "upper"]
    assert tree(first.child_runs[1]) == ("remembering", [("ask", ["Named"])])


@colours
def test_a_chain_streams_what_its_workflow_returns(colour: str) -> None:
    assert streamed(chain_of(remembering), "hi", colour, {"configurable": {"thread_id": f"whole {colour}"}}) == [
        "HIHELLO"
    ]


@colours
def test_a_chain_streams_what_its_workflow_writes(colour: str) -> None:
    @entrypoint()
    def writing(text: str, *, writer: Any) -> str:
        for word in text.split():
            writer(word)
        return text

    chain = as_runnable(writing, stream_mode="custom") | RunnableLambda(str.upper)
    assert streamed(as_runnable(writing, stream_mode="custom"), "a b", colour) == ["a", "b"]
    assert streamed(chain, "a b", colour) == ["AB"]


def streamed(runnable: Any, value: Any, colour: str, *config: Any) -> list[Any]:
    async def collected() -> list[Any]:
        return [chunk async for chunk in runnable.astream(value, *config)]

    return asyncio.run(collected()) if colour == "async" else list(runnable.stream(value, *config))


@colours
def test_a_chain_in_batches(colour: str) -> None:
    runnable = as_runnable(remembering)
    configs = [{"configurable": {"thread_id": f"batch {colour} {i}"}} for i in range(3)]
    values = (
        asyncio.run(runnable.abatch(["a", "b", "c"], configs))
        if colour == "async"
        else runnable.batch(["a", "b", "c"], configs)
    )
    assert values == ["ahello", "bhello", "chello"]


def test_a_chain_may_nest_as_deep_as_a_workflow() -> None:
    @task
    def down(n: int) -> int:
        return down(n - 1).result() + 1 if n else 0

    @entrypoint()
    def deep(n: int) -> int:
        return down(n).result()

    assert (RunnableLambda(lambda x: x) | as_runnable(deep)).invoke(40) == 40


def test_a_runnable_bound_to_a_thread() -> None:
    bound = as_runnable(remembering).bind(thread_id="bound")
    assert bound.invoke("a") == "ahello"
    assert bound.invoke("b") == "ahellobhello"
