"""How a graph stood after each of its steps, told from what its nodes recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec.structs

from ..checkpoint.records import Key
from ..constants import END, START
from ..errors import InvalidUpdateError
from ..moments import Call, CallKey, Changed, Step, Story
from ..runtime import Runtime
from ..types import Command, Interrupt, PregelTask, StateSnapshot
from .compiled import Plan
from .node import Turn, adrive, drive
from .progress import Planned, Progress, Standing, Wrote, shown, wrote
from .schema import Values, update_from

__all__ = ["GraphMoments"]


class GraphMoments:
    """What a graph knows of the moments of its runs; a `durably.moments.Moments`.

    Args:
        plan: the graph.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    # Telling.

    def steps(self, story: Story) -> list[Step]:
        """How a run stood: before its input, and after each step that has begun or is to begin."""
        return [work.step(at) for work, at in self._walk(story, subgraphs=False)]

    def at(self, story: Story, index: int | None, *, subgraphs: bool = False) -> tuple[Step, int]:
        """One of these, and its number; None for the latest."""
        number, found = -1, None
        for work, at in self._walk(story, subgraphs=subgraphs):
            number, found = number + 1, (work, at)
            if number == index:
                break
        if found is None or (index is not None and number < index):
            raise IndexError(number)
        return found[0].step(found[1]), number

    def _walk(self, story: Story, *, subgraphs: bool) -> Iterator[tuple[_Work, float]]:
        """Step by step: the work ahead, and when that behind had ended."""
        progress, at = self._begun(story), 0.0
        while True:
            work = _Work(self._plan, progress, story, subgraphs)
            yield work, at
            results = work.results()
            if results is None or not progress.plan:
                return
            try:
                progress.advance(results)
            except InvalidUpdateError:  # the run failed of it
                return
            at = max(at, work.ended_at)

    def _begun(self, story: Story) -> Progress:
        try:
            return self._plan.begun(story.input, story.saved)
        except Exception:  # the run failed of its input
            return Progress(self._plan.topology, self._plan.topology.initial(story.saved))

    # Going on from there.

    def entered(self, step: Step, given: Any) -> Standing:
        """The input with which a run begins that takes an input at an earlier moment."""
        standing: Standing = step.start
        if isinstance(given, Command):
            return self._plan.commanded(standing, given)
        return replace(standing, plan=(Planned(START, self._plan.read(given)),), deferred=())

    def changed(self, step: Step | None, values: Any, as_node: str | None) -> Changed:
        """An update of the state, taken to be written by a node."""
        standing = self._standing(step)
        node = as_node or (START if step is None else self._writer(standing))
        if node == END:
            written = self._plan.topology.partly(standing.values, [(node, Wrote(self._update(values, node)))])
            after = replace(standing, values=written, plan=(), deferred=(), last=())
        else:
            after = self._written(standing, node, self._update(values, node))
        start = after if after.plan else None
        return Changed(after.values, start, self._plan.value(after.values))

    def _standing(self, step: Step | None) -> Standing:
        if step is not None and isinstance(step.start, Standing):
            return step.start
        return self._plan.topology.initial(None if step is None else step.values)

    def _update(self, values: Any, node: str) -> Values | list[Values] | None:
        where = f"the update as {node!r}"
        return None if values is None else self._plan.topology.state.known(update_from(values, where), where)

    def _writer(self, standing: Standing) -> str:
        """The node that ran last, if there is one that did."""
        if not standing.last:  # a run without steps: the thread was last updated from outside
            return END
        writer, *others = standing.last
        if others:
            raise InvalidUpdateError(
                f"{', '.join(map(repr, standing.last))} ran last, so say as which of them the state is updated: as_node=..."
            )
        return writer

    def _written(self, standing: Standing, name: str, update: Any) -> Standing:
        """How the graph stands after a step of this one node, which wrote the update."""
        node = self._plan.nodes.get(name)
        if node is None:
            raise InvalidUpdateError(
                f"graph {self._plan.name!r} has no node {name!r} to update as: its nodes are {', '.join(self._plan.nodes)}"
            )
        fresh = self._plan.topology.partly(standing.values, [(name, Wrote(update))])
        leading = replace(node, callee=None).work(self._plan.topology, Turn(fresh))
        injected = {"config": {}, "runtime": Runtime(), "store": None, "writer": print, "previous": None}
        led: Wrote = asyncio.run(adrive(leading, injected)) if node.is_routed_async else drive(leading, injected)
        alone = replace(standing, plan=(Planned(name),), deferred=())
        return self._plan.topology.after(alone, [Wrote(update, led.goto)])


class _Work:
    """The planned nodes of one step, as far as they came.

    Args:
        plan: the graph.
        progress: how it stands.
        story: what was recorded.
        subgraphs: whether nodes that are graphs show their own state.
    """

    def __init__(self, plan: Plan, progress: Progress, story: Story, subgraphs: bool) -> None:
        self._plan = plan
        self._standing = progress.standing
        self._story = story
        self._subgraphs = subgraphs
        self._keys: list[CallKey] = [(story.scope, *key) for key in progress.calls()]
        self._calls = [self._call(planned, key) for planned, key in zip(progress.plan, self._keys, strict=True)]
        self._values = [_value(call) for call in self._calls]

    def _call(self, planned: Planned, key: CallKey) -> Call | None:
        if planned.node == START and START not in self._plan.tasks:
            return Call(lambda: Wrote(planned.arg), None, 0.0) if planned.arg is not None else None
        return self._story.calls.get(key)

    @property
    def ended_at(self) -> float:
        """When the last of them ended."""
        return max((call.ended_at for call in self._calls if call is not None), default=0.0)

    def results(self) -> list[Wrote] | None:
        """What they wrote, None where not all have ended."""
        if not all(_has_returned(call) for call in self._calls):
            return None
        if any(isinstance(value, Command) for value in self._values):  # for the graph around: that ended this one
            return None
        return [self._wrote(planned, value) for planned, value in zip(self._standing.plan, self._values, strict=True)]

    def _wrote(self, planned: Planned, value: Any) -> Wrote:
        done = wrote(value)
        return replace(done, update=planned.arg) if planned.node == START else done

    def step(self, at: float) -> Step:
        """How the graph stood before them, with what those wrote that had ended where not all had."""
        standing, plan = self._standing, self._standing.plan
        waiting = [planned for planned, call in zip(plan, self._calls, strict=True) if not _has_returned(call)]
        values = standing.values
        if waiting:
            ended = zip(plan, self._calls, self._values, strict=True)
            values = self._plan.topology.partly(
                values, [(p.node, self._wrote(p, value)) for p, call, value in ended if _has_returned(call)]
            )
        pending = waiting or plan
        names = tuple(dict.fromkeys(planned.node for planned in pending))
        return Step(values, names, tuple(self._tasks()), standing, at)

    def _tasks(self) -> list[PregelTask]:
        return [self._task(index, planned) for index, planned in enumerate(self._standing.plan)]

    def _task(self, index: int, planned: Planned) -> PregelTask:
        key, call = self._keys[index], self._calls[index]
        error = None if call is None else call.error
        returned = shown(self._values[index]) if _has_returned(call) else None
        return PregelTask(
            id=self._story.id_of(key),
            name=planned.node,
            path=("__pregel_push", index) if planned.sent else ("__pregel_pull", planned.node),
            error=error if isinstance(error, Exception) else None,
            interrupts=() if call is not None else self._asked(key),
            state=self._inner(planned, key) if call is None else None,
            result=planned.arg if planned.node == START and returned is None and call is not None else returned,
        )

    def _asked(self, key: CallKey) -> tuple[Interrupt[Any], ...]:
        body = path_of(key)
        return tuple(question for where, question in self._story.questions if is_inside(where[0], body))

    def _inner(self, planned: Planned, key: CallKey) -> Any:
        """How a graph stands that is the node."""
        graph = self._plan.nodes[planned.node].graph
        inner = getattr(graph, "moments", None)
        if inner is None:
            return None
        scope = path_of((path_of(key), graph.name, 0))
        config = {"configurable": {"checkpoint_ns": f"{planned.node}:{self._story.id_of(key)}"}}
        if not self._subgraphs:
            return config
        given = self._plan.nodes[planned.node].given(Turn(self._standing.values, planned.arg, planned.sent))
        step, _ = inner.at(
            msgspec.structs.replace(self._story, input=given, saved=None, scope=scope), None, subgraphs=True
        )
        asked = tuple(question for task in step.tasks for question in task.interrupts)
        return StateSnapshot(step.values, step.next, config, None, None, None, step.tasks, asked)


def _has_returned(call: Call | None) -> bool:
    return call is not None and call.error is None


def _value(call: Call | None) -> Any:
    return call.value() if call is not None and call.error is None else None


def path_of(key: CallKey) -> str:
    """The scope of a call's body."""
    return str(Key(*key))


def is_inside(scope: str, body: str) -> bool:
    """Whether a scope is a body, or lies within it."""
    return scope == body or scope.startswith((f"{body}/", f"{body}~"))
