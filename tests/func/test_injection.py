"""Parameters that the engine fills in: `previous`, `store`, `writer`, `config`, `runtime`."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Optional, Union

import pytest

from durably import InMemorySaver, Runtime, entrypoint, task
from durably.store.base import BaseStore
from durably.store.memory import InMemoryStore
from durably.types import StreamWriter

STORE = InMemoryStore()


def injected(function: Callable[..., Any], config: Any = None, /, **arguments: Any) -> Any:
    """What ``function`` returns as a task, called with ``arguments``."""
    marked = task(function)

    @entrypoint(store=STORE)
    def workflow(_: None) -> Any:
        return marked(**arguments).result()

    return workflow.invoke(None, config, context="the context")


def kinds(values: dict[str, Any]) -> dict[str, Any]:
    return {name: type(value).__name__ for name, value in values.items()}


ALL = {"store": "InMemoryStore", "writer": "function", "config": "dict", "runtime": "Runtime", "previous": "NoneType"}


class TestByName:
    def test_without_annotations(self) -> None:
        def function(previous, store, writer, config, runtime):  # type: ignore[no-untyped-def]
            return kinds(locals())

        assert injected(function) == ALL

    def test_keyword_only(self) -> None:
        def function(*, previous, store, writer, config, runtime):  # type: ignore[no-untyped-def]
            return kinds(locals())

        assert injected(function) == ALL

    def test_async(self) -> None:
        async def function(*, previous, store, writer, config, runtime):  # type: ignore[no-untyped-def]
            return kinds(locals())

        assert injected(function) == ALL

    def test_methods_and_callable_objects(self) -> None:
        class Thing:
            def method(self, x: int, *, runtime: Runtime, config: dict[str, Any]) -> Any:
                return x, type(runtime).__name__, type(config).__name__

            __call__ = method

        assert injected(Thing().method, x=1) == (1, "Runtime", "dict")
        assert injected(Thing(), x=1) == (1, "Runtime", "dict")

    def test_entrypoints(self) -> None:
        @entrypoint(store=STORE)
        def sync_flow(
            x: int, previous: Any, store: BaseStore, writer: StreamWriter, config: dict[str, Any], *, runtime: Runtime
        ) -> Any:
            return kinds({k: v for k, v in locals().items() if k != "x"})

        @entrypoint(store=STORE)
        async def async_flow(
            x: int, previous: Any, store: BaseStore, writer: StreamWriter, config: dict[str, Any], *, runtime: Runtime
        ) -> Any:
            return kinds({k: v for k, v in locals().items() if k != "x"})

        assert sync_flow.invoke(1) == ALL
        assert async_flow.invoke(1) == ALL
        assert asyncio.run(async_flow.ainvoke(1)) == ALL

    @pytest.mark.parametrize(
        ("name", "annotation"),
        [
            ("store", BaseStore),
            ("store", Optional[BaseStore]),  # noqa: UP045
            ("store", BaseStore | None),
            ("store", "BaseStore"),
            ("store", "BaseStore | None"),
            ("store", "base.BaseStore"),
            ("store", Any),
            ("writer", StreamWriter),
            ("writer", Callable[[Any], None]),
            ("writer", "StreamWriter"),
            ("writer", "types.StreamWriter"),
            ("config", dict),
            ("config", dict[str, Any]),
            ("config", Mapping[str, Any]),
            ("config", Union[dict[str, Any], None]),  # noqa: UP007
            ("config", "RunnableConfig"),
            ("config", "Optional[RunnableConfig]"),
            ("runtime", Runtime),
            ("runtime", Runtime[str]),
            ("runtime", "Runtime"),
            ("runtime", "Runtime[Context]"),
            ("previous", int),
            ("previous", "list[str] | None"),
        ],
        ids=str,
    )
    def test_matching_annotations(self, name: str, annotation: Any) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def function({name}): return type({name}).__name__", namespace)
        namespace["function"].__annotations__ = {name: annotation}
        assert injected(namespace["function"]) == ALL[name]

    @pytest.mark.parametrize(
        ("name", "annotation"),
        [
            ("store", dict),
            ("store", "Storefront"),
            ("store", list[BaseException]),
            ("writer", str),
            ("writer", "Author"),
            ("config", str),
            ("config", "MyConfig"),
            ("config", "RunnableConfigs"),
            ("runtime", float),
            ("runtime", "float | None"),
        ],
        ids=str,
    )
    def test_other_annotations_are_parameters_of_the_tasks_own(self, name: str, annotation: Any) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def function({name}): return {name}", namespace)
        namespace["function"].__annotations__ = {name: annotation}
        assert injected(namespace["function"], **{name: "given"}) == "given"
        with pytest.raises(TypeError, match=name):
            injected(namespace["function"])

    def test_other_names_are_never_injected(self) -> None:
        def function(settings: Any = "default", the_store: BaseStore | None = None) -> Any:
            return settings, the_store

        assert injected(function) == ("default", None)

    def test_subclasses_match(self) -> None:
        def function(store: InMemoryStore) -> Any:
            return store is STORE

        assert injected(function) is True

    def test_under_future_annotations(self) -> None:
        module = ModuleType("postponed")
        source = (
            "from __future__ import annotations\n"
            "def function(previous: list[Whatever] | None, store: BaseStore, writer: StreamWriter,\n"
            "             config: RunnableConfig, *, runtime: Runtime[Context]) -> dict[str, str]:\n"
            "    return {name: type(value).__name__ for name, value in locals().items()}\n"
        )
        exec(compile(source, "postponed.py", "exec"), module.__dict__)
        assert injected(module.function) == ALL

    def test_positional_or_variable_parameters_are_left_alone(self) -> None:
        def function(config: Any, /, *writer: Any, **store: Any) -> Any:
            return config, writer, store

        marked = task(function)

        @entrypoint()
        def workflow(_: None) -> Any:
            return marked(1, 2, x=3).result()

        assert workflow.invoke(None) == (1, (2,), {"x": 3})


class TestGiven:
    @pytest.mark.parametrize("name", sorted(ALL))
    @pytest.mark.parametrize("value", ["given", None, 0], ids=repr)
    def test_an_argument_that_is_given_wins(self, name: str, value: Any) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def function({name}): return {name}", namespace)
        assert injected(namespace["function"], **{name: value}) == value

    def test_by_position_too(self) -> None:
        @task
        def function(x: int, config: Any, runtime: Any = None) -> Any:
            return x, config, type(runtime).__name__

        @entrypoint()
        def workflow(_: None) -> Any:
            return function(1, "given").result(), function(1, "given", "given").result()

        assert workflow.invoke(None) == ((1, "given", "Runtime"), (1, "given", "str"))

    def test_the_default_of_an_injected_parameter_does_not_matter(self) -> None:
        def function(x: int = 1, *, config: dict[str, Any] | None = None, runtime: Runtime | None = None) -> Any:
            return x, type(config).__name__, type(runtime).__name__

        assert injected(function) == (1, "dict", "Runtime")


class TestValues:
    def test_config_is_the_plain_dict(self) -> None:
        def function(config: dict[str, Any]) -> Any:
            return config

        given = {"configurable": {"user": "Ada"}, "tags": ["a"], "metadata": {"m": 1}}
        config = injected(function, given)
        assert type(config) is dict
        assert config == {**given, "callbacks": None}

    def test_changing_the_config_does_not_reach_others(self) -> None:
        def function(config: dict[str, Any]) -> Any:
            config["tags"] = ["mine"]
            config.pop("metadata")
            return None

        given = {"tags": ["a"]}
        marked = task(function)

        @entrypoint()
        def workflow(_: None, config: dict[str, Any]) -> Any:
            marked().result()
            return config["tags"], config["metadata"]

        assert workflow.invoke(None, given) == (["a"], {})

    def test_runtime(self) -> None:
        def function(runtime: Runtime) -> Any:
            info = runtime.execution_info
            assert info is not None
            return runtime.context, runtime.store is STORE, info.node_attempt, info.thread_id, len(runtime.call_id)

        assert injected(function) == ("the context", True, 1, None, 32)

    def test_runtime_knows_the_thread(self) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def workflow(_: int, runtime: Runtime) -> Any:
            info = runtime.execution_info
            assert info is not None
            return info.thread_id, info.checkpoint_ns, runtime.previous

        assert workflow.invoke(1, thread_id="t") == ("t", "", None)
        assert workflow.invoke(1, thread_id="t") == ("t", "", ("t", "", None))

    def test_writer(self) -> None:
        @entrypoint()
        def workflow(n: int, writer: StreamWriter) -> None:
            for i in range(n):
                writer(i)

        assert list(workflow.stream(3, stream_mode="custom")) == [0, 1, 2]
        assert workflow.invoke(3) is None

    def test_store_is_none_where_there_is_none(self) -> None:
        @entrypoint()
        def workflow(_: None, store: BaseStore | None) -> Any:
            return store

        assert workflow.invoke(None) is None


class TestPrevious:
    def test_is_none_on_the_first_run(self) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def workflow(x: int, previous: int) -> Any:
            return (x, previous)

        assert workflow.invoke(1, thread_id="1") == (1, None)
        assert workflow.invoke(2, thread_id="1") == (2, (1, None))

    @pytest.mark.parametrize("default", [0, "", [], {"a": 1}, False], ids=repr)
    def test_or_its_own_default(self, default: Any) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        async def workflow(x: int, *, previous: Any = default) -> Any:
            return entrypoint.final(value=previous, save=x)

        assert workflow.invoke(1, thread_id="1") == default
        assert workflow.invoke(2, thread_id="1") == 1

    def test_a_default_that_compares_oddly(self) -> None:
        zeros = pytest.importorskip("numpy").zeros(3)

        @entrypoint(checkpointer=InMemorySaver())
        def workflow(x: int, *, previous: Any = zeros) -> Any:
            return float(previous.sum())

        assert workflow.invoke(1, thread_id="1") == 0.0

    @pytest.mark.parametrize("saved", [None, 0, False, ""], ids=repr)
    def test_a_falsy_one_is_not_taken_for_none(self, saved: Any) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def workflow(x: int, *, previous: Any = "default") -> Any:
            return entrypoint.final(value=previous, save=saved)

        assert [workflow.invoke(1, thread_id="1") for _ in range(2)] == ["default", saved]

    def test_of_a_failed_run_is_not_seen(self) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def workflow(x: int, *, previous: Any = None) -> Any:
            if x < 0:
                raise ValueError
            return entrypoint.final(value=previous, save=x)

        assert workflow.invoke(1, thread_id="1") is None
        with pytest.raises(ValueError):
            workflow.invoke(-1, thread_id="1")
        assert workflow.invoke(2, thread_id="1") == 1

    def test_in_tasks(self) -> None:
        @task
        def look(previous: Any = None) -> Any:
            return previous

        @entrypoint(checkpointer=InMemorySaver())
        def workflow(x: int) -> Any:
            return entrypoint.final(value=look().result(), save=x)

        assert [workflow.invoke(n, thread_id="1") for n in range(3)] == [None, 0, 1]

    def test_without_a_checkpointer(self) -> None:
        @entrypoint()
        def workflow(x: int, previous: Any) -> Any:
            return previous

        assert [workflow.invoke(n) for n in range(2)] == [None, None]


def test_the_annotation_of_langchain_works() -> None:
    runnables = pytest.importorskip("langchain_core.runnables")

    def function(config: runnables.RunnableConfig) -> Any:
        return sorted(config)

    assert injected(function) == ["callbacks", "configurable", "metadata", "tags"]


def test_langchain_is_not_imported() -> None:
    source = """
import sys
from typing import TYPE_CHECKING
from durably import entrypoint, task
if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
@task
def look(config: 'RunnableConfig'):
    return config['tags']
@entrypoint()
def workflow(_: int, config: 'RunnableConfig | None' = None):
    return look().result() + config['tags']
print(workflow.invoke(1, {'tags': ['x']}), [name for name in sys.modules if 'langchain' in name])
"""
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['x', 'x'] []"
