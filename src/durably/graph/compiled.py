"""A compiled graph: a workflow whose body takes one step after the other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from msgspec.structs import replace

from ..concurrency import pause
from ..config import get_config, get_stream_writer
from ..constants import START
from ..errors import EmptyInputError, GraphRecursionError, InvalidUpdateError, ParentCommand
from ..func import Task, entrypoint
from ..moments import Moments
from ..types import Command, Display, Send
from ..workflow import Workflow
from .node import Node, Turn, in_node
from .picture import GraphPicture, picture_of
from .progress import Planned, Progress, Standing, Topology, Wrote, targets_of, wrote
from .schema import Schema, Values, update_from

__all__ = ["CompiledStateGraph", "Plan"]

StateT = TypeVar("StateT")

RECURSION_LIMIT: Final = 10_000

Calls = list[Any]
"""What calling tasks has returned: futures."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a graph is.

    Args:
        name: under which its runs are stored.
        topology: what leads where.
        nodes: by name; the start among them.
        input: the shape of its input; likewise ``output``.
        tasks: the nodes as tasks.
        before: the nodes before which a run pauses; likewise ``after``.
    """

    name: str
    topology: Topology
    nodes: Mapping[str, Node]
    input: Schema
    output: Schema
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    tasks: dict[str, Task[..., Any]] = field(default_factory=dict)

    @property
    def is_async(self) -> bool:
        """Whether any node is to be awaited."""
        return any(node.is_async for node in self.nodes.values())

    def begun(self, given: Any, previous: Values | None) -> Progress:
        """Where a run begins: from an input, or from a moment of an earlier run."""
        if isinstance(given, Standing):
            return Progress(self.topology, given)
        if isinstance(given, Command):
            nothing_planned = dataclasses.replace(self.topology.initial(previous), plan=())
            return Progress(self.topology, self.commanded(nothing_planned, given))
        progress = Progress(self.topology, self.topology.initial(previous))
        progress.enter(self.read(given))
        return progress

    def read(self, given: Any) -> Values:
        """An input as an update of the state.

        Raises:
            EmptyInputError: it says nothing.
            InvalidUpdateError: it is no update.
        """
        if given is None:
            raise EmptyInputError(f"graph {self.name!r} was given None, and there is nothing to resume: give an input")
        where = f"the input of graph {self.name!r}"
        update = update_from(given, where)
        self.input.check(update)
        known = self.topology.state.known(update, where)
        return {name: value for name, value in known.items() if name in self.input.keys}

    def commanded(self, standing: Standing, command: Command[Any]) -> Standing:
        """How the graph stands after a command from outside: what was planned runs beside what the command leads to."""
        where = f"the command given to graph {self.name!r}"
        update = {} if command.update is None else self.topology.state.known(update_from(command.update, where), where)
        targets = self.topology.checked(targets_of(command.goto), where)
        planned = {one.node for one in standing.plan if not one.sent}
        more = [Planned(one.node, one.arg, True) if isinstance(one, Send) else Planned(one) for one in targets]
        return dataclasses.replace(
            standing,
            values=self.topology.partly(standing.values, [(where, Wrote(update))]),
            plan=(*standing.plan, *(one for one in more if one.sent or one.node not in planned)),
        )

    def value(self, values: dict[str, Any]) -> dict[str, Any]:
        """What the graph returns at this state."""
        shown = {name: value for name, value in values.items() if name in self.output.keys}
        return values if len(shown) == len(values) else shown

    def call(self, planned: Planned, values: Values) -> Any:
        """Begin a node."""
        return self.tasks[planned.node](Turn(values, planned.arg, planned.sent))

    def steps(self, given: Any, previous: Values | None) -> Generator[Calls, list[Any], Any]:
        """The loop: yields the calls of a step, gets their results, and at the end returns what the graph does."""
        progress = self.begun(given, previous)
        if progress.plan[:1] and progress.plan[0].node == START and START not in self.tasks:
            progress.advance([Wrote(progress.plan[0].arg)])
        limit = get_config().get("recursion_limit") or RECURSION_LIMIT
        say = get_stream_writer("values")
        say(dict(self.value(progress.standing.values)))  # a copy: whoever hears it may do with it as they like
        taken = 0
        while progress.plan:
            if taken == limit:
                raise self._too_long(limit, progress)
            if (taken or not isinstance(given, Standing)) and self._pauses_at(progress.standing):
                pause(f"step {progress.standing.step + 1}")
            results = yield [self.call(planned, progress.standing.values) for planned in progress.plan]
            progress.advance(
                [self._own(result, planned) for result, planned in zip(results, progress.plan, strict=True)]
            )
            taken += 1
            say(dict(self.value(progress.standing.values)))
        values = progress.standing.values
        steps = taken + (0 if isinstance(given, Standing) else 1)
        return entrypoint.final(value=self.value(values), save=values, steps=max(1, steps))

    def _pauses_at(self, standing: Standing) -> bool:
        return not self.after.isdisjoint(standing.last) or any(one.node in self.before for one in standing.plan)

    def _own(self, result: Any, planned: Planned) -> Wrote:
        """A node's result; a command for the graph around ends this one."""
        if isinstance(result, Command):
            if not in_node.get():
                raise InvalidUpdateError(
                    f"node {planned.node!r} returned a Command for the graph around {self.name!r}, and there is none"
                )
            raise ParentCommand(result)
        done = wrote(result)
        return dataclasses.replace(done, update=planned.arg) if planned.node == START else done

    def _too_long(self, limit: int, progress: Progress) -> GraphRecursionError:
        ahead = ", ".join(repr(planned.node) for planned in progress.plan)
        return GraphRecursionError(
            f"graph {self.name!r} took {limit} steps and has not ended; next would be {ahead}. If that is meant, raise the "
            f'limit: config={{"recursion_limit": {2 * limit}}}'
        )


def body_of(plan: Plan, state: Any) -> Callable[..., Any]:
    """The function of the workflow; its annotations name the classes that its state may hold."""

    def blocking(given: Any, *, previous: Any = None) -> Any:
        steps = plan.steps(given, previous)
        try:
            calls = next(steps)
            while True:
                calls = steps.send([call.result() for call in calls])
        except StopIteration as stop:
            return stop.value

    async def awaiting(given: Any, *, previous: Any = None) -> Any:
        steps = plan.steps(given, previous)
        try:
            calls = next(steps)
            while True:
                calls = steps.send(await _all(calls))
        except StopIteration as stop:
            return stop.value

    body: Any = awaiting if plan.is_async else blocking
    body.__module__ = state.__module__
    body.__qualname__ = f"{state.__qualname__}.{plan.name}"
    keys = {f"key {name}": key.annotation for name, key in plan.topology.state.keys.items()}
    body.__annotations__ = {"given": plan.input.shape, "return": plan.output.shape, "previous": state, **keys}
    return body  # type: ignore[no-any-return]


async def _all(calls: Calls) -> list[Any]:
    return [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)


class CompiledStateGraph(Workflow[Any, dict[str, Any]], Generic[StateT]):
    """A graph that can be run: a `Workflow`. Made by `StateGraph.compile`, not by hand."""

    def __init__(self, plan: Plan, moments: Moments, made: Workflow[Any, Any], builder: Any) -> None:
        function = replace(made._function, says_values=True, display=Display(hidden=True))
        super().__init__(function, replace(made._settings, moments=moments))
        self.moments = moments
        self._plan = plan
        self.builder = builder

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}>"

    def get_graph(self, config: Mapping[str, Any] | None = None, *, xray: bool = False) -> GraphPicture:
        """The graph's nodes and edges; ``get_graph().draw_mermaid()`` draws them. What a run did draws `Workflow.draw`.

        Args:
            config: accepted for ported programs.
            xray: whether nodes that are graphs show what is in them.

        >>> from durably.graph import START, MessagesState, StateGraph
        >>> builder = StateGraph(MessagesState).add_node("chat", lambda state: None).add_edge(START, "chat")
        >>> print(builder.compile().get_graph().draw_mermaid())
        flowchart TD
            n0(["start"]):::terminal
            n1["chat"]
            n2(["end"]):::terminal
            n0 --> n1
            n1 --> n2
            classDef terminal fill:none,stroke-dasharray:3
        """
        return picture_of(self._plan.topology, self._plan.nodes, xray=xray)

    def get_subgraphs(self) -> Iterator[tuple[str, Workflow[Any, Any]]]:
        """The nodes that are workflows, such as graphs, each with its name."""
        return ((node.name, node.graph) for node in self._plan.nodes.values() if node.graph is not None)
