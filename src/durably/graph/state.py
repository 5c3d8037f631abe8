"""Building graphs: nodes, and what leads from one to the next."""

from __future__ import annotations

import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from ..arguments import Retry, Timeout
from ..constants import END, START
from ..errors import DeclarationError
from ..func import entrypoint
from ..types import CachePolicy, Command
from ..workflow import Workflow
from .checks import check
from .compiled import CompiledStateGraph, Plan, body_of
from .moments import GraphMoments
from .node import Branch, Callee, Node, Policies
from .progress import Topology
from .schema import Schema, State, is_shape

if TYPE_CHECKING:
    from ..cache.base import BaseCache
    from ..checkpoint.base import BaseCheckpointer
    from ..store.base import BaseStore

__all__ = ["CompiledStateGraph", "StateGraph"]

StateT = TypeVar("StateT")


class StateGraph(Generic[StateT]):
    """A graph under construction: nodes that read a common state and update it.

    Args:
        state_schema: what the state consists of: a TypedDict, a dataclass or a pydantic model. A key annotated with
            ``Annotated[T, reducer]`` is merged by ``reducer(value, update)``; any other takes the last value.
        context_schema: what ``context=`` has to be, as for ``@entrypoint``.
        input_schema: the part of the state that the input may set; by default all.
        output_schema: the part that is returned; by default all.

    Raises:
        DeclarationError: a schema cannot be used.

    >>> from typing import TypedDict
    >>> class State(TypedDict):
    ...     n: int
    >>> builder = StateGraph(State)
    >>> graph = builder.add_node("double", lambda state: {"n": 2 * state["n"]}).add_edge(START, "double").compile()
    >>> graph.invoke({"n": 4})
    {'n': 8}
    """

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[Any] | None = None,
        *,
        input_schema: type[Any] | None = None,
        output_schema: type[Any] | None = None,
    ) -> None:
        self.state_schema = state_schema
        self.context_schema = context_schema
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.waiting_edges: dict[tuple[tuple[str, ...], str], None] = {}
        self._branches: dict[str, list[Branch]] = {}
        self._state = State()
        self._schema, self._input, self._output = (
            self._kept(schema or state_schema) for schema in (state_schema, input_schema, output_schema)
        )

    def _kept(self, shape: Any) -> Schema:
        schema = Schema(shape)
        self._state.add(schema)
        return schema

    # Nodes.

    def add_node(
        self,
        node: str | Callable[..., Any] | Workflow[Any, Any],
        action: Callable[..., Any] | Workflow[Any, Any] | None = None,
        *,
        defer: bool = False,
        metadata: Mapping[str, Any] | None = None,
        input_schema: type[Any] | None = None,
        retry_policy: Retry = None,
        cache_policy: CachePolicy | None = None,
        destinations: Sequence[str] | Mapping[str, str] | None = None,
        timeout: Timeout = None,
    ) -> Self:
        """Add a node.

        Args:
            node: its name, or its function, which then names it.
            action: its function: sync or async, of the state and, if it wants, ``config``, ``runtime``, ``store``,
                ``writer`` or ``previous``. It returns an update of the state, a `Command`, a list of these, or None. Or a
                workflow, such as another graph.
            defer: whether it waits until nothing else is left to run.
            metadata: for people.
            input_schema: the shape in which it sees the state; by default what its first parameter is annotated with, else
                the graph's.
            retry_policy: as for ``@task``; likewise ``cache_policy`` and ``timeout``.
            destinations: where its commands can lead; where its return annotation is ``Command[Literal[...]]``, that.

        Raises:
            DeclarationError: the name is taken, or the function cannot be a node.
        """
        name, action = (node, action) if isinstance(node, str) else (_name_of(node), node)
        if action is None:
            raise DeclarationError(f"node {name!r} has no function: add_node({name!r}, function)")
        self._check_name(name)
        if isinstance(action, Workflow):
            action = action.with_name(name)
        callee = Callee(action, f"node {name!r}")
        shape = input_schema or _first_annotation(callee)
        self.nodes[name] = Node(
            name,
            callee,
            self._schema if shape is None else self._kept(shape),
            policies=Policies(retry_policy, cache_policy, timeout),
            metadata=metadata,
            deferred=defer,
            destinations=_destinations(callee) if destinations is None else tuple(destinations),
            graph=action if isinstance(action, Workflow) else None,
        )
        return self

    def _check_name(self, name: str) -> None:
        if name in (START, END) or not name:
            raise DeclarationError(f"a node cannot be named {name!r}, which has a meaning of its own")
        if name in self.nodes:
            raise DeclarationError(
                f"there is a node {name!r} already: give this one another name, add_node(name, function)"
            )

    def add_sequence(self, nodes: Sequence[Any]) -> Self:
        """Add nodes that run one after the other: functions, or pairs of name and function.

        Raises:
            DeclarationError: there are none, or one cannot be a node.
        """
        names = list[str]()
        for node in nodes:
            self.add_node(*node) if isinstance(node, tuple) else self.add_node(node)
            names.append(next(reversed(self.nodes)))
        if not names:
            raise DeclarationError("add_sequence() was given no nodes")
        for before, after in pairwise(names):
            self.add_edge(before, after)
        return self

    # Edges.

    def add_edge(self, start_key: str | Sequence[str], end_key: str) -> Self:
        """Let one node follow another, or several, when all of them have run.

        Raises:
            DeclarationError: nothing can lead there, or from there.
        """
        sources = (start_key,) if isinstance(start_key, str) else tuple(dict.fromkeys(start_key))
        if END in sources or end_key == START or not sources:
            raise DeclarationError(
                f"there can be no edge from {start_key!r} to {end_key!r}: nothing follows END or leads to START"
            )
        if isinstance(start_key, str) or (len(sources) == 1):
            self.edges[sources[0], end_key] = None
        elif START in sources:
            raise DeclarationError(
                f"the edge to {end_key!r} cannot wait for START, where every run begins: leave it out"
            )
        else:
            self.waiting_edges[tuple(sorted(sources)), end_key] = None
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Callable[..., Any],
        path_map: Mapping[Hashable, str] | Sequence[str] | None = None,
    ) -> Self:
        """Let a function of the state, as it is after a node, say what follows that node.

        What it says is recorded with the node's result.

        Args:
            source: the node.
            path: returns the name of a node, END, a `Send`, or a list of these; or a key of ``path_map``. Sync or async,
                with the same parameters as a node.
            path_map: the nodes that it can return, or a dict from what it returns to nodes; by default what its return
                annotation ``Literal[...]`` says.
        """
        callee = Callee(path, f"the conditional edge of {source!r}", brief=True)
        ends: Mapping[Hashable, str] | None
        if path_map is None:
            ends = {name: name for name in _literals(callee.hints.get("return"))} or None
        else:
            ends = dict(path_map) if isinstance(path_map, Mapping) else {name: name for name in path_map}
        shape = _first_annotation(callee)
        self._branches.setdefault(source, []).append(Branch(callee, ends, None if shape is None else self._kept(shape)))
        return self

    def set_entry_point(self, key: str) -> Self:
        """As ``add_edge(START, key)``."""
        return self.add_edge(START, key)

    def set_finish_point(self, key: str) -> Self:
        """As ``add_edge(key, END)``."""
        return self.add_edge(key, END)

    def set_conditional_entry_point(
        self, path: Callable[..., Any], path_map: Mapping[Hashable, str] | Sequence[str] | None = None
    ) -> Self:
        """As ``add_conditional_edges(START, path, path_map)``."""
        return self.add_conditional_edges(START, path, path_map)

    # Compiling.

    def compile(
        self,
        checkpointer: BaseCheckpointer | bool | None = None,
        *,
        cache: BaseCache | None = None,
        store: BaseStore | None = None,
        interrupt_before: Sequence[str] | Literal["*"] | None = None,
        interrupt_after: Sequence[str] | Literal["*"] | None = None,
        name: str | None = None,
    ) -> CompiledStateGraph[StateT]:
        """Make the graph a workflow.

        Args:
            checkpointer: as for ``@entrypoint``; likewise ``cache`` and ``store``.
            interrupt_before: the nodes before which a run pauses, ``"*"`` for all; ``invoke(None, config)`` goes on.
            interrupt_after: likewise, after which.
            name: under which its runs are stored; by default ``"Graph"``.

        Raises:
            DeclarationError: an edge leads to a node that is not there, nothing leads to a node, or from a node no way leads
                to the end.
        """
        nodes = {node.name: replace(node, branches=self._branches_of(node.name)) for node in self.nodes.values()}
        start = Node(START, None, self._input, self._branches_of(START))
        check(nodes, start, self.edges, self.waiting_edges, self._branches)
        topology = Topology(
            self._state,
            frozenset(nodes),
            _followers(self.edges),
            tuple((sources, target) for sources, target in self.waiting_edges if target != END),
            frozenset(node.name for node in nodes.values() if node.deferred),
            frozenset(source for source, target in self.edges if target == END),
        )
        plan = Plan(
            name or "Graph",
            topology,
            {START: start, **nodes},
            self._input,
            self._output,
            _named_nodes("interrupt_before", interrupt_before, nodes),
            _named_nodes("interrupt_after", interrupt_after, nodes),
        )
        working = nodes.values() if not start.branches else (start, *nodes.values())
        plan.tasks.update((node.name, node.as_task(topology)) for node in working)
        mark = entrypoint(
            checkpointer=checkpointer, store=store, cache=cache, context_schema=self.context_schema, name=plan.name
        )
        return CompiledStateGraph(plan, GraphMoments(plan), mark(body_of(plan, self.state_schema)), self)

    def _branches_of(self, name: str) -> tuple[Branch, ...]:
        return tuple(self._branches.get(name, ()))


def _followers(edges: Mapping[tuple[str, str], None]) -> dict[str, tuple[str, ...]]:
    """The nodes behind each node."""
    found: dict[str, tuple[str, ...]] = {}
    for source, target in edges:
        if target != END:
            found[source] = (*found.get(source, ()), target)
    return found


def _named_nodes(what: str, names: Sequence[str] | str | None, nodes: Mapping[str, Node]) -> frozenset[str]:
    if names == "*":
        return frozenset(nodes)
    found = frozenset((names,) if isinstance(names, str) else names or ())
    unknown = sorted(found - nodes.keys())
    if unknown:
        raise DeclarationError(
            f"{what} names {unknown[0]!r}, which is no node: the nodes are {', '.join(sorted(nodes))}"
        )
    return found


def _name_of(action: Any) -> str:
    name = getattr(action, "name", None) or getattr(action, "__name__", None) or type(action).__name__
    if not isinstance(name, str):
        raise DeclarationError(f"{action!r} has no name: add_node(name, function)")
    return name


def _first_annotation(callee: Callee) -> Any:
    """What a function's first parameter is annotated with, where that is the shape of a state."""
    shape = callee.hints.get(callee.first)
    return shape if is_shape(shape) else None


def _destinations(callee: Callee) -> tuple[str, ...] | None:
    """The nodes that a return annotation names, where it says that commands are returned."""
    returns = callee.hints.get("return")
    for part in (returns, *typing.get_args(returns)):
        if typing.get_origin(part) is Command:
            return tuple(_literals(typing.get_args(part)[0])) or None
    return None


def _literals(annotation: Any) -> list[Any]:
    """The values of a ``Literal``, alone, in a list, or in a union."""
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    return [value for part in typing.get_args(annotation) for value in _literals(part)]
