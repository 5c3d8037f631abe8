"""Both colours, any depth, any width, any limit: everything mixes with everything, and nothing locks up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from durably import Task, Workflow, entrypoint, get_runtime, task
from durably.errors import BlockingError

LONG = 30.0


def invoke(workflow: Workflow[Any, Any], value: Any, config: Any = None) -> Any:
    return workflow.invoke(value, config)


def ainvoke(workflow: Workflow[Any, Any], value: Any, config: Any = None) -> Any:
    return asyncio.run(workflow.ainvoke(value, config))


both_ways = pytest.mark.parametrize("run", [invoke, ainvoke])
limits = pytest.mark.parametrize("limit", [None, 1, 2, 7])


def limited(limit: int | None) -> dict[str, Any]:
    return {} if limit is None else {"max_concurrency": limit}


@task
def one(x: int) -> int:
    return x + 1


@task
async def aone(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@entrypoint()
def sync_flow(n: int) -> list[int]:
    """Tasks of both colours from a thread, waited for in three ways."""
    futures = [(one if i % 2 else aone)(i) for i in range(n)]
    first = futures[0].result()
    concurrent.futures.wait(futures)
    return [first, *(future.result() for future in futures)]


@entrypoint()
async def async_flow(n: int) -> list[int]:
    futures = [(one if i % 2 else aone)(i) for i in range(n)]
    first = await futures[0]
    await asyncio.wait(futures)
    return [first, *await asyncio.gather(*futures)]


class Gauge:
    """Counts how many are inside at once, and remembers the highest."""

    def __init__(self) -> None:
        self.highest = self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            self.highest = max(self.highest, self._inside)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1


@both_ways
@limits
@pytest.mark.parametrize("flow", [sync_flow, async_flow], ids=["sync", "async"])
def test_every_colour_under_every_colour(run: Any, flow: Any, limit: int | None) -> None:
    assert run(flow, 40, limited(limit)) == [1, *range(1, 41)]


# Depth.


@task
def down(n: int) -> int:
    return 0 if n == 0 else 1 + down(n - 1).result()


@task
async def adown(n: int) -> int:
    return 0 if n == 0 else 1 + await adown(n - 1)


@task
def zig(n: int) -> int:
    return 0 if n == 0 else 1 + zag(n - 1).result()


@task
async def zag(n: int) -> int:
    return 0 if n == 0 else 1 + await zig(n - 1)


@both_ways
@limits
@pytest.mark.parametrize("nested", [down, adown, zig, zag], ids=lambda t: t.name)
@pytest.mark.parametrize("depth", [5, 100])
def test_depth(run: Any, nested: Task[[int], int], limit: int | None, depth: int) -> None:
    @entrypoint()
    def sync_root(n: int) -> int:
        return nested(n).result()

    @entrypoint()
    async def async_root(n: int) -> int:
        return await nested(n)

    assert run(sync_root, depth, limited(limit)) == depth
    assert run(async_root, depth, limited(limit)) == depth


@task
def fan(levels: int, width: int) -> int:
    """A tree of calls, each level waited for with `concurrent.futures.wait`."""
    if levels == 0:
        return 1
    futures = [(fan if i % 2 else afan)(levels - 1, width) for i in range(width)]
    concurrent.futures.wait(futures)
    return sum(future.result() for future in futures)


@task
async def afan(levels: int, width: int) -> int:
    if levels == 0:
        return 1
    futures = [(fan if i % 2 else afan)(levels - 1, width) for i in range(width)]
    done, _ = await asyncio.wait(futures)
    return sum(future.result() for future in done)


@both_ways
@limits
@pytest.mark.parametrize("root", [fan, afan], ids=lambda t: t.name)
def test_trees_of_waiting_tasks(run: Any, root: Any, limit: int | None) -> None:
    @entrypoint()
    async def tree(_: None) -> int:
        return await root(5, 3)

    assert run(tree, None, limited(limit)) == 3**5


@both_ways
@pytest.mark.parametrize("workers", [1, 3])
def test_trees_under_max_workers(run: Any, workers: int) -> None:
    @entrypoint(max_workers=workers)
    def tree(_: None) -> int:
        return fan(4, 4).result()

    assert run(tree, None) == 4**4


def test_more_waiting_bodies_than_the_pool_has_threads() -> None:
    """Each outer task blocks a thread until its inner one has run, and none of them asks for it in a way that helps."""

    @task
    def outer(n: int) -> int:
        inner = one(n)
        concurrent.futures.wait([inner])
        return inner.result()

    @entrypoint()
    def wide(n: int) -> int:
        return sum(future.result() for future in [outer(i) for i in range(n)])

    assert wide.invoke(1500) == sum(range(1, 1501))


# Width.


@both_ways
@pytest.mark.parametrize("leaf", [one, aone], ids=lambda t: t.name)
def test_ten_thousand_wide(run: Any, leaf: Any) -> None:
    """In the colour of the caller; less wide in the other, where each call costs more."""
    threads: list[int] = []
    before = threading.active_count()  # some may be idle

    @task
    def count_threads(x: int) -> int:
        threads.append(threading.active_count() - before)
        return x

    @entrypoint()
    def sync_wide(n: int) -> int:
        futures = [leaf(i) for i in range(n)]
        concurrent.futures.wait(futures)
        return sum(future.result() for future in futures) + count_threads(0).result()

    @entrypoint()
    async def async_wide(n: int) -> int:
        return sum(await asyncio.gather(*[leaf(i) for i in range(n)])) + await count_threads(0)

    for workflow in (sync_wide, async_wide):
        n = 10_000 if (workflow is sync_wide) == (run is invoke) else 2_000
        assert run(workflow, n) == sum(range(1, n + 1))
    assert max(threads) < 1_000


def test_sync_tasks_truly_run_side_by_side() -> None:
    line = threading.Barrier(50)

    @task
    def meet(_: int) -> int:
        return min(line.wait(LONG), 0)

    @entrypoint()
    def workflow(n: int) -> int:
        return sum(future.result() for future in [meet(i) for i in range(n)])

    assert workflow.invoke(50) == 0


@both_ways
def test_sync_tasks_run_side_by_side_under_an_async_workflow(run: Any) -> None:
    line = threading.Barrier(20)

    @task
    def meet(_: int) -> int:
        return min(line.wait(LONG), 0)

    @entrypoint()
    async def workflow(n: int) -> int:
        return sum(await asyncio.gather(*(meet(i) for i in range(n))))

    assert run(workflow, 20) == 0


# Limits.


@both_ways
@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_max_concurrency_bounds_the_bodies_under_way(run: Any, limit: int, colour: str) -> None:
    gauge = Gauge()
    pause = threading.Event()

    @task
    def work(_: int) -> None:
        with gauge.inside():
            pause.wait(0.002)

    @task
    async def awork(_: int) -> None:
        with gauge.inside():
            await asyncio.sleep(0.002)

    @entrypoint()
    def sync_flow(n: int) -> None:
        concurrent.futures.wait([(work if i % 2 else awork)(i) for i in range(n)])

    @entrypoint()
    async def async_flow(n: int) -> None:
        await asyncio.gather(*((work if i % 2 else awork)(i) for i in range(n)))

    run(sync_flow if colour == "sync" else async_flow, 30, {"max_concurrency": limit})
    assert 1 <= gauge.highest <= limit


@both_ways
def test_max_concurrency_is_used_up_to_the_bound(run: Any) -> None:
    line = threading.Barrier(3)

    @task
    def meet(_: int) -> None:
        line.wait(LONG)

    @entrypoint()
    def workflow(n: int) -> None:
        concurrent.futures.wait([meet(i) for i in range(n)])

    run(workflow, 9, {"max_concurrency": 3})
    assert not line.broken


@both_ways
def test_max_workers_bounds_sync_bodies_only(run: Any) -> None:
    gauge = Gauge()
    together = threading.Barrier(6)

    @task
    def work(_: int) -> None:
        with gauge.inside():
            threading.Event().wait(0.002)

    @task
    async def meet(_: int) -> None:
        await asyncio.to_thread(together.wait, LONG)

    @entrypoint(max_workers=2)
    async def workflow(_: None) -> None:
        await asyncio.gather(*(work(i) for i in range(20)), *(meet(i) for i in range(6)))

    run(workflow, None)
    assert 1 <= gauge.highest <= 2


@both_ways
def test_a_body_that_waits_holds_no_slot(run: Any) -> None:
    """With one slot, nested bodies run while those around them wait, and never two at once compute."""
    gauge = Gauge()

    @task
    async def leaf(_: int) -> int:
        with gauge.inside():
            await asyncio.sleep(0)
        return 1

    @task
    def branch(n: int) -> int:
        futures = [leaf(i) for i in range(n)]
        concurrent.futures.wait(futures)
        return sum(f.result() for f in futures)

    @entrypoint()
    async def workflow(n: int) -> int:
        return sum(await asyncio.gather(*(branch(n) for _ in range(n))))

    assert run(workflow, 6, {"max_concurrency": 1}) == 36
    assert gauge.highest == 1


@both_ways
def test_waiting_for_a_call_that_another_body_made(run: Any) -> None:
    """With one slot, a body that waits for its sibling has to lend the sibling its slot."""

    @task
    def second(_: int) -> int:
        return 2

    @task
    def first(sibling: Any) -> int:
        return 1 + sibling[0].result()

    @entrypoint()
    def workflow(_: None) -> int:
        box: list[Any] = []
        waiting = first(box)
        box.append(second(0))
        return waiting.result()

    assert run(workflow, None, {"max_concurrency": 1}) == 3


@both_ways
def test_awaiting_a_call_that_another_body_made(run: Any) -> None:
    @task
    async def second(_: int) -> int:
        return 2

    @task
    async def first(sibling: Any) -> int:
        return 1 + await sibling[0]

    @entrypoint()
    async def workflow(_: None) -> int:
        box: list[Any] = []
        waiting = first(box)
        box.append(second(0))
        return await waiting

    assert run(workflow, None, {"max_concurrency": 1}) == 3


# Starting by itself.


def test_a_lone_sync_call_starts_by_itself() -> None:
    begun = threading.Event()

    @task
    def lone() -> None:
        begun.set()

    @entrypoint()
    def workflow(_: None) -> bool:
        lone()
        return begun.wait(LONG)

    assert workflow.invoke(None) is True


@both_ways
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_lone_call_on_a_loop_starts_by_itself(run: Any, colour: str) -> None:
    begun = threading.Event()

    @task
    def lone() -> None:
        begun.set()

    @task
    async def alone() -> None:
        begun.set()

    @entrypoint()
    async def workflow(_: None) -> bool:
        (lone if colour == "sync" else alone)()
        return await asyncio.to_thread(begun.wait, LONG)

    assert run(workflow, None) is True


def test_lone_calls_go_on_starting_after_many_runs() -> None:
    """The sentinel sleeps when there is nothing to watch, and is woken again."""
    for _ in range(3):
        test_a_lone_sync_call_starts_by_itself()
        threading.Event().wait(0.08)  # longer than the sentinel lingers


def test_calls_from_threads_and_from_the_loop_at_once_all_start() -> None:
    """Un-awaited calls made on a loop while threads make calls too: none may be forgotten."""

    @task
    def spin(_: int) -> int:
        return sum(one(i).result() for i in range(3))

    @entrypoint()
    async def workflow(n: int) -> int:
        total = 0
        for i in range(n):
            futures = [spin(i), aone(i)]
            done, pending = await asyncio.wait(futures, timeout=LONG)
            assert not pending
            total += len(done)
        return total

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        assert asyncio.run(workflow.ainvoke(150)) == 300
    finally:
        sys.setswitchinterval(interval)


# Contexts.

request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


@both_ways
def test_context_variables_are_seen_in_tasks(run: Any) -> None:
    @task
    def look() -> str:
        seen = request.get()
        request.set("changed in a task")
        return seen

    @task
    async def alook() -> str:
        seen = request.get() + ", " + await look()
        request.set("changed in a task")
        return seen

    @entrypoint()
    async def workflow(_: None) -> Any:
        outside = request.get()
        request.set("inside")
        first = alook()
        request.set("later")
        second, third = await asyncio.gather(alook(), look())
        return outside, await first, second, third, request.get()

    @entrypoint()
    def sync_workflow(_: None) -> Any:
        outside = request.get()
        request.set("inside")
        first = alook()
        request.set("later")
        return outside, first.result(), alook().result(), look().result(), request.get()

    expected = ("caller", "inside, inside", "later, later", "later", "later")
    token = request.set("caller")
    try:
        assert run(workflow, None) == expected
        assert run(sync_workflow, None) == expected
        assert request.get() == "caller"
    finally:
        request.reset(token)


# Loops inside loops.


def test_a_sync_workflow_invoked_on_a_running_loop() -> None:
    async def main() -> Any:
        return sync_flow.invoke(10)

    assert asyncio.run(main()) == [1, *range(1, 11)]


def test_an_async_workflow_invoked_on_a_running_loop() -> None:
    async def main() -> Any:
        with pytest.raises(BlockingError, match=r"async_flow.*await workflow.ainvoke"):
            async_flow.invoke(10)
        return await async_flow.ainvoke(10)

    assert asyncio.run(main()) == [1, *range(1, 11)]


def test_a_loop_of_the_users_own_inside_a_sync_body() -> None:
    async def gather(n: int) -> list[int]:
        futures = [(one if i % 2 else aone)(i) for i in range(n)]
        await asyncio.wait(futures)
        return await asyncio.gather(*futures)

    @task
    def looping(n: int) -> list[int]:
        return asyncio.run(gather(n))

    @entrypoint()
    def workflow(n: int) -> list[list[int]]:
        return [asyncio.run(gather(n)), *(future.result() for future in [looping(n) for _ in range(4)])]

    assert workflow.invoke(6) == [list(range(1, 7))] * 5
    assert asyncio.run(workflow.ainvoke(6)) == [list(range(1, 7))] * 5


@both_ways
def test_blocking_waits_in_threads_of_an_async_body(run: Any) -> None:
    @entrypoint()
    async def workflow(n: int) -> int:
        return await asyncio.to_thread(lambda: sum(f.result() for f in [(one if i % 2 else aone)(i) for i in range(n)]))

    assert run(workflow, 10) == 55


@both_ways
@pytest.mark.parametrize("child_is_async", [False, True])
@limits
def test_workflows_inside_workflows(run: Any, child_is_async: bool, limit: int | None) -> None:
    child: Workflow[int, Any] = async_flow if child_is_async else sync_flow

    @entrypoint()
    def sync_parent(n: int) -> Any:
        return child.invoke(n)

    @entrypoint()
    async def async_parent(n: int) -> Any:
        return (await asyncio.gather(child.ainvoke(n), child.ainvoke(n)))[0]

    assert run(sync_parent, 5, limited(limit)) == [1, *range(1, 6)]
    assert run(async_parent, 5, limited(limit)) == [1, *range(1, 6)]


def test_runs_on_many_loops_and_threads_at_once() -> None:
    flows: list[Callable[[], Any]] = [
        lambda: sync_flow.invoke(8),
        lambda: async_flow.invoke(8),
        lambda: asyncio.run(sync_flow.ainvoke(8)),
        lambda: asyncio.run(async_flow.ainvoke(8)),
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        results = [executor.submit(flows[i % 4]) for i in range(80)]
        assert [result.result(LONG) for result in results] == [[1, *range(1, 9)]] * 80


def test_many_runs_on_one_loop_at_once() -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*((sync_flow if i % 2 else async_flow).ainvoke(8) for i in range(40)))

    assert asyncio.run(main()) == [[1, *range(1, 9)]] * 40


def test_a_loop_gets_its_task_factory_back() -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def in_a_branch() -> int:
        return await aone(1)

    @entrypoint()
    async def workflow(_: None) -> int:
        return await asyncio.create_task(in_a_branch())

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        answer = await workflow.ainvoke(None)
        return answer, loop.get_task_factory() is factory

    assert asyncio.run(main()) == (2, True)
    assert "in_a_branch" in made


def test_a_task_factory_that_knows_nothing_of_contexts() -> None:
    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=loop)

    async def in_a_branch() -> int:
        return await aone(1)

    @entrypoint()
    async def workflow(_: None) -> int:
        return sum(await asyncio.gather(in_a_branch(), in_a_branch()))

    async def main() -> Any:
        asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]
        return await workflow.ainvoke(None)

    if sys.version_info >= (3, 13):
        pytest.skip("asyncio itself passes more arguments here")
    assert asyncio.run(main()) == 4


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks() -> None:
    async def main() -> Any:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        return await async_flow.ainvoke(20), await sync_flow.ainvoke(20)

    assert asyncio.run(main()) == ([1, *range(1, 21)], [1, *range(1, 21)])


@both_ways
def test_asyncio_tasks_made_with_a_context_of_their_own(run: Any) -> None:
    async def ask() -> int:
        return await aone(1)

    @entrypoint()
    async def workflow(_: None) -> Any:
        current = asyncio.current_task()
        contexts = [contextvars.copy_context()]
        if hasattr(current, "get_context"):
            contexts.append(current.get_context())
        return {await asyncio.create_task(ask(), context=context) for context in contexts}

    assert run(workflow, None) == {2}


@both_ways
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_branches_have_scopes_of_their_own_under_every_colour(run: Any, colour: str) -> None:
    """A run begun with `invoke` finds its records when it is resumed with `ainvoke`, and the other way round."""

    @task
    def scope() -> str:
        info = get_runtime().execution_info
        assert info is not None
        return info.checkpoint_ns

    async def twice() -> list[str]:
        return [await scope(), await scope()]

    @task
    async def fan_out() -> list[list[str]]:
        return await asyncio.gather(twice(), twice())

    @entrypoint()
    def sync_root(_: None) -> list[list[str]]:
        return fan_out().result()

    @entrypoint()
    async def async_root(_: None) -> list[list[str]]:
        return await fan_out()

    assert run(sync_root if colour == "sync" else async_root, None) == [
        ["fan_out.0~0/scope.0", "fan_out.0~0/scope.1"],
        ["fan_out.0~1/scope.0", "fan_out.0~1/scope.1"],
    ]
