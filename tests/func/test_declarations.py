"""`@entrypoint` and `@task`: what can be marked, what cannot, and what the error says."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from durably import CachePolicy, InMemorySaver, RetryPolicy, Task, TimeoutPolicy, Workflow, entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import AnnotationError, DeclarationError, GeneratorFunctionError, OutsideRunError


def call(task: Any, *args: Any, **kwargs: Any) -> Any:
    """What a task returns, called from a sync workflow and from an async one."""

    @entrypoint()
    def sync_flow(_: None) -> Any:
        return task(*args, **kwargs).result()

    @entrypoint()
    async def async_flow(_: None) -> Any:
        return await task(*args, **kwargs)

    results = sync_flow.invoke(None), asyncio.run(async_flow.ainvoke(None))
    assert results[0] == results[1]
    return results[0]


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def aadd(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


class Adder:
    """Adds its number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, a: int) -> int:
        return a + self.number

    def add(self, a: int) -> int:
        return a + self.number

    async def aadd(self, a: int) -> int:
        await asyncio.sleep(0)
        return a + self.number

    @task
    def task_method(self, a: int) -> int:
        return a + self.number

    @task
    async def atask_method(self, a: int) -> int:
        return a + self.number

    @staticmethod
    @task
    def task_inside_static(a: int) -> int:
        return a + 5

    @task
    @staticmethod
    def task_around_static(a: int) -> int:
        return a + 5

    @task
    @staticmethod
    async def task_around_async_static(a: int) -> int:
        return a + 5

    @classmethod
    @task
    def task_inside_class(cls, a: int) -> int:
        return cls(5).number + a


class AsyncAdder(Adder):
    async def __call__(self, a: int) -> int:  # type: ignore[override]
        return a + self.number


class TestWhatCanBeATask:
    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (add, "add"),
            (aadd, "aadd"),
            (functools.partial(add, b=5), "add"),
            (functools.partial(aadd, b=5), "aadd"),
            (functools.partial(functools.partial(add), b=5), "add"),
            (Adder(5).add, "add"),
            (Adder(5).aadd, "aadd"),
            (functools.partial(Adder(5).aadd), "aadd"),
            (Adder(5), "Adder"),
            (AsyncAdder(5), "AsyncAdder"),
            (functools.partial(AsyncAdder(5)), "AsyncAdder"),
            (lambda a, b=5: a + b, "<lambda>"),
        ],
    )
    def test_anything_that_can_be_called(self, function: Any, name: str) -> None:
        for marked in (task(function), task()(function), task(name="other")(function)):
            expected = 2 if name in ("add", "aadd") and function in (add, aadd) else 6
            assert isinstance(marked, Task)
            assert call(marked, 1) == expected
        assert task(function).name == name
        assert task(name="other")(function).name == "other"

    def test_methods_of_a_class(self) -> None:
        adder = Adder(5)
        for method in (
            adder.task_method,
            adder.atask_method,
            adder.task_inside_static,
            adder.task_around_static,
            adder.task_around_async_static,
            Adder.task_inside_static,
            Adder.task_inside_class,
        ):
            assert isinstance(method, Task) or callable(method)
            assert call(method, 1) == 6, method
        assert call(Adder.task_method, adder, 1) == 6

    def test_a_class(self) -> None:
        assert call(task(complex), 1, imag=2) == 1 + 2j
        assert task(complex).name == "complex"

    def test_a_builtin_without_a_signature(self) -> None:
        assert call(task(max), 1, 3, 2) == 3

    @pytest.mark.parametrize("value", [None, 0, "text", (1, 2)], ids=repr)
    def test_arguments_of_every_kind(self, value: Any) -> None:
        @task
        def collect(a: Any, /, b: Any, *rest: Any, c: Any, **more: Any) -> Any:
            return a, b, rest, c, more

        assert call(collect, value, 2, 3, 4, c=5, d=6) == (value, 2, (3, 4), 5, {"d": 6})

    def test_it_looks_like_its_function(self) -> None:
        marked = task(add)
        assert (marked.__name__, marked.__doc__, marked.__module__, marked.__wrapped__) == (
            "add", "Add two numbers.", __name__, add,
        )  # fmt: skip
        assert repr(marked) == "<Task 'add'>"

    @pytest.mark.parametrize("name", ["with space", "a/b~c%d.0", "größe", "\N{SNOWMAN}", "x" * 500])
    def test_any_name_will_do(self, name: str) -> None:
        saver = InMemorySaver()
        marked = task(name=name)(add)

        @entrypoint(checkpointer=saver)
        def workflow(a: int) -> int:
            return marked(a).result()

        assert workflow.invoke(1, thread_id="1") == 2

    def test_outside_a_run(self) -> None:
        with pytest.raises(OutsideRunError, match=r"task 'add' was called outside a run.*@entrypoint"):
            task(add)(1)
        with pytest.raises(RuntimeError):
            task(aadd)(1)


class TestWhatCannot:
    def test_generators(self) -> None:
        def numbers(_: int) -> Iterator[int]:
            yield 1

        async def anumbers(_: int) -> AsyncIterator[int]:
            yield 1

        class Numbers:
            def __call__(self, _: int) -> Iterator[int]:
                yield 1

        for function in (numbers, anumbers, Numbers(), functools.partial(numbers)):
            for decorate in (task, entrypoint()):
                with pytest.raises(GeneratorFunctionError, match=r"generator function.*Return a list") as raised:
                    decorate(function)  # type: ignore[operator]
                assert isinstance(raised.value, NotImplementedError)
                assert isinstance(raised.value, ValueError)

    @pytest.mark.parametrize("thing", [1, "text", None, object()], ids=type)
    def test_what_cannot_be_called(self, thing: Any) -> None:
        with pytest.raises(DeclarationError, match="cannot be a task: mark a function"):
            task()(thing)
        with pytest.raises(DeclarationError, match="cannot be an entrypoint: mark a function"):
            entrypoint()(thing)

    def test_what_is_marked_already(self) -> None:
        workflow = entrypoint()(add)
        for thing in (workflow, task(add)):
            for decorate in (task, entrypoint()):
                with pytest.raises(DeclarationError, match="is marked already"):
                    decorate(thing)  # type: ignore[operator]

    def test_the_name_of_questions(self) -> None:
        with pytest.raises(ValueError, match="cannot be named 'interrupt'"):
            task(name="interrupt")(add)

    @pytest.mark.parametrize("name", ["", 1, b"bytes"], ids=repr)
    def test_a_name_that_is_none(self, name: Any) -> None:
        with pytest.raises(DeclarationError, match=r"name=.*give a string"):
            task(name=name)(add)
        with pytest.raises(DeclarationError, match=r"name=.*give a string"):
            entrypoint(name=name)(add)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")], ids=repr)
    def test_a_timeout_that_is_not_positive(self, timeout: float) -> None:
        with pytest.raises(ValueError, match="a timeout is a positive number of seconds"):
            task(timeout=timeout)(aadd)
        with pytest.raises(ValueError, match="a timeout is a positive number of seconds"):
            entrypoint(timeout=timeout)

    @pytest.mark.parametrize("timeout", ["1", [1], True, object()], ids=type)
    def test_a_timeout_that_is_no_time(self, timeout: Any) -> None:
        with pytest.raises(DeclarationError, match="not a time span"):
            task(timeout=timeout)(aadd)

    @pytest.mark.parametrize("timeout", [1, 1.5, TimeoutPolicy(run_timeout=1)], ids=repr)
    @pytest.mark.parametrize("function", [add, Adder(1), functools.partial(add)], ids=repr)
    def test_a_timeout_on_a_sync_function(self, timeout: Any, function: Any) -> None:
        with pytest.raises(ValueError, match=r"sync function, which cannot be stopped safely.*`async def`"):
            task(timeout=timeout)(function)
        with pytest.raises(ValueError, match=r"sync function, which cannot be stopped safely.*`async def`"):
            entrypoint(timeout=timeout)(function)

    @pytest.mark.parametrize("policy", ["retry", 3, [3], [RetryPolicy(), None]], ids=repr)
    def test_a_retry_policy_that_is_none(self, policy: Any) -> None:
        with pytest.raises(DeclarationError, match="give a RetryPolicy, or a list of them"):
            task(retry_policy=policy)(add)
        with pytest.raises(DeclarationError, match="give a RetryPolicy, or a list of them"):
            entrypoint(retry_policy=policy)

    def test_a_cache_policy_that_is_none(self) -> None:
        with pytest.raises(DeclarationError, match="give a CachePolicy"):
            task(cache_policy=60)(add)  # type: ignore[call-overload]
        with pytest.raises(DeclarationError, match="give a CachePolicy"):
            entrypoint(cache_policy=60)  # type: ignore[arg-type]

    def test_a_cache_that_is_none(self) -> None:
        with pytest.raises(DeclarationError, match=r"is no cache: give InMemoryCache\(\)"):
            entrypoint(cache={})  # type: ignore[arg-type]

    @pytest.mark.parametrize("checkpointer", ["runs.db", object(), InMemorySaver], ids=repr)
    def test_a_checkpointer_of_the_wrong_kind(self, checkpointer: Any) -> None:
        with pytest.raises(DeclarationError, match=r"is no checkpointer: give InMemorySaver\(\), SqliteSaver"):
            entrypoint(checkpointer=checkpointer)

    def test_a_checkpointer_that_was_not_entered(self) -> None:
        with pytest.raises(DeclarationError, match=r"use `with \.\.\. as checkpointer:`"):
            entrypoint(checkpointer=SqliteSaver.from_conn_string(":memory:"))  # type: ignore[arg-type]

    @pytest.mark.parametrize("count", [0, -1, 1.5, "2", True], ids=repr)
    def test_max_workers(self, count: Any) -> None:
        with pytest.raises(DeclarationError, match=r"max_workers=.*at least 1, or None"):
            entrypoint(max_workers=count)

    def test_replay_and_on_busy(self) -> None:
        with pytest.raises(DeclarationError, match="replay='loose': give one of 'warn', 'strict'"):
            entrypoint(replay="loose")
        with pytest.raises(DeclarationError, match="on_busy='wait': give one of 'reject'"):
            entrypoint(on_busy="wait")

    def test_arguments_that_do_not_exist(self) -> None:
        with pytest.raises(DeclarationError, match=r"task.. has no argument 'retries'"):
            task(retries=3)  # type: ignore[call-overload]
        with pytest.raises(DeclarationError, match=r"entrypoint.. has no argument 'checkpoint'"):
            entrypoint(checkpoint=None)


class TestEntrypoints:
    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (add, "add"),
            (aadd, "aadd"),
            (functools.partial(add, b=5), "add"),
            (functools.partial(aadd, b=5), "aadd"),
            (Adder(5).add, "add"),
            (Adder(5).aadd, "aadd"),
            (Adder(5), "Adder"),
            (AsyncAdder(5), "AsyncAdder"),
            (lambda a, b=5: a + b, "<lambda>"),
        ],
    )
    def test_anything_that_can_be_called(self, function: Any, name: str) -> None:
        workflow = entrypoint()(function)
        expected = 2 if function in (add, aadd) else 6
        assert isinstance(workflow, Workflow)
        assert workflow.name == workflow.__name__ == name
        assert repr(workflow) == f"<Workflow '{name}'>"
        assert workflow.invoke(1) == expected
        assert asyncio.run(workflow.ainvoke(1)) == expected
        assert entrypoint(name="other")(function).name == "other"

    def test_it_keeps_the_docstring(self) -> None:
        assert entrypoint()(add).__doc__ == "Add two numbers."

    def test_without_an_input(self) -> None:
        def nothing() -> None: ...

        def only_injected(*, config: dict[str, Any], previous: Any = None) -> None: ...

        def only_keywords(*, value: int = 1) -> None: ...

        for function in (nothing, only_injected, only_keywords):
            with pytest.raises(ValueError, match=f"{function.__name__} takes no input.*one positional parameter"):
                entrypoint()(function)  # type: ignore[arg-type,call-overload]

    def test_with_more_than_one(self) -> None:
        def two(a: int, b: int) -> None: ...

        async def three(a: int, b: int, c: int, *, config: dict[str, Any]) -> None: ...

        for function, names in ((two, r"2 arguments \(a, b\)"), (three, r"3 arguments \(a, b, c\)")):
            with pytest.raises(ValueError, match=f"needs {names}.*one dict, dataclass or pydantic model"):
                entrypoint()(function)

    def test_inputs_that_are_fine(self) -> None:
        def optional(a: int = 1) -> int:
            return a

        def two(a: int, b: int = 2) -> int:
            return a + b

        def positional_only(a: int, /) -> int:
            return a

        def anything(*args: Any, **kwargs: Any) -> int:
            return args[0]  # type: ignore[no-any-return]

        assert [entrypoint()(f).invoke(1) for f in (optional, two, positional_only, anything)] == [1, 3, 1, 1]


class TestFinal:
    def test_returns_one_thing_and_saves_another(self) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def count(_: str, *, previous: int | None = None) -> entrypoint.final[str, int]:
            n = (previous or 0) + 1
            return entrypoint.final(value=f"call {n}", save=n)

        assert [count.invoke("", thread_id="1") for _ in range(3)] == ["call 1", "call 2", "call 3"]
        assert count.invoke("", thread_id="2") == "call 1"

    @pytest.mark.parametrize("save", [None, False, 0, ""], ids=repr)
    def test_falsy_values(self, save: Any) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        async def workflow(_: str, *, previous: Any = "first") -> Any:
            return entrypoint.final(value=previous, save=save)

        assert workflow.invoke("", thread_id="1") == "first"
        assert workflow.invoke("", thread_id="1") == save

    def test_without_a_checkpointer(self) -> None:
        @entrypoint()
        def workflow(x: int) -> entrypoint.final[int, int]:
            return entrypoint.final(value=x, save=-x)

        assert workflow.invoke(1) == 1
        assert list(workflow.stream(1)) == [{"workflow": 1}]
        assert list(workflow.stream(1, stream_mode="values")) == [1]

    def test_of_a_nested_workflow(self) -> None:
        @entrypoint()
        def child(x: int) -> entrypoint.final[int, int]:
            return entrypoint.final(value=x, save=-x)

        @entrypoint()
        def parent(x: int) -> int:
            return child.invoke(x)

        assert parent.invoke(1) == 1

    @pytest.mark.parametrize("parameters", [int, (int,), (int, int, int), ()], ids=repr)
    def test_its_annotation_needs_two_types(self, parameters: Any) -> None:
        with pytest.raises(TypeError, match=r"two types.*entrypoint.final\[str, list\[str\]\]") as raised:
            entrypoint.final[parameters]
        assert isinstance(raised.value, AnnotationError)
        assert isinstance(raised.value, ValueError)


class TestOldSpellings:
    def test_retry(self) -> None:
        attempts: list[int] = []
        policy = RetryPolicy(initial_interval=0, max_attempts=2, retry_on=ValueError)

        with pytest.warns(DeprecationWarning, match=r"task\(retry=...\) is now called retry_policy") as warned:

            @task(retry=policy)  # type: ignore[call-overload,misc,untyped-decorator,unused-ignore]
            def flaky() -> int:
                attempts.append(1)
                if len(attempts) == 1:
                    raise ValueError
                return len(attempts)

        assert warned[0].filename == __file__

        assert call_once(flaky) == 2

        with pytest.warns(DeprecationWarning, match=r"entrypoint\(retry=...\) is now called retry_policy") as warned:
            decorator = entrypoint(retry=policy)
        assert warned[0].filename == __file__

        @decorator
        def workflow(_: None) -> int:
            attempts.append(1)
            if len(attempts) == 3:
                raise ValueError
            return len(attempts)

        assert workflow.invoke(None) == 4

    def test_config_schema(self) -> None:
        with pytest.warns(DeprecationWarning, match=r"entrypoint\(config_schema=...\) is now called context_schema"):
            decorator = entrypoint(config_schema=dict)

        @decorator
        def workflow(_: None) -> int:
            return 1

        assert workflow.get_context_jsonschema() is not None

    def test_both_at_once(self) -> None:
        with pytest.warns(DeprecationWarning) as warned:
            entrypoint(config_schema=dict, retry=RetryPolicy())
        assert len(warned) == 2


def call_once(task: Any) -> Any:
    @entrypoint()
    def workflow(_: None) -> Any:
        return task().result()

    return workflow.invoke(None)


def test_policies_are_accepted_in_all_their_forms() -> None:
    for retry in (RetryPolicy(), [RetryPolicy()], (RetryPolicy(), RetryPolicy()), []):
        assert call(task(retry_policy=retry, cache_policy=CachePolicy(ttl=1))(add), 1) == 2
