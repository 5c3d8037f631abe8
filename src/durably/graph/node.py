"""One node: the user's function, what it is given, and where it leads, as one task."""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
from collections.abc import Callable, Generator, Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec.structs

from ..arguments import Retry, Timeout
from ..config import get_config
from ..errors import DeclarationError, InvalidUpdateError, ParentCommand
from ..func import Task, task
from ..serde import TypedSerializer, learn
from ..types import CachePolicy, Command, Display, Send
from ..workflow import Workflow
from .progress import Target, Topology, Wrote, shown, targets_of
from .schema import Schema, Values

__all__ = ["Branch", "Callee", "Node", "Policies", "Turn", "adrive", "drive", "in_node"]

INJECTED: Final = ("config", "runtime", "store", "writer", "previous")

in_node: ContextVar[bool] = ContextVar("durably_graph_node", default=False)
"""Whether code runs inside a node: then a graph called there has a graph around it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a node's task is called with. It is not what identifies the call: the state may be large.

    Args:
        values: the state.
        arg: the input that a `Send` gave the node instead.
        sent: whether one did.
    """

    values: Values
    arg: Any = None
    sent: bool = False

    def identity(self) -> tuple[Any, ...]:
        """What the call is recognized by beside its name and number."""
        return (self.arg,) if self.sent else ()


class Callee:
    """A function of the user's that takes the state: a node's, or a router's.

    Args:
        function: the function, or something else that can be called or invoked.
        where: names it in errors.
        brief: whether it only decides, so that an event loop can wait for it.
    """

    __slots__ = ("brief", "first", "function", "hints", "injected", "is_async", "is_plain", "parameters")

    def __init__(self, function: Any, where: str, *, brief: bool = False) -> None:
        self.brief = brief
        self.function: Any = _callable(function, where)
        self.is_async = _is_async(function)
        signature = _signature(self.function)
        self.is_plain = self.function is function  # and not something that calls the user's
        self.hints = _hints(getattr(function, "__wrapped__", self.function))
        parameters = list(signature.parameters.values())
        if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
            raise DeclarationError(f"{where} takes no input: its first parameter is the state")
        self.first = parameters[0].name
        self.parameters = {p.name: p for p in parameters[1:] if p.name in INJECTED}
        self.injected = frozenset(self.parameters)
        missing = [p.name for p in parameters[1:] if _is_required(p) and p.name not in INJECTED]
        if missing:
            raise DeclarationError(
                f"{where} needs {', '.join(missing)}: beside the state it can take {', '.join(INJECTED)}"
            )

    def __call__(self, given: Any, injected: Mapping[str, Any]) -> Any:
        """What the function returns, or what is to be awaited."""
        return self.function(given, **{name: value for name, value in injected.items() if name in self.injected})


def _callable(function: Any, where: str) -> Callable[..., Any]:
    """What to call: for a workflow or a Runnable, its ``invoke``."""
    if isinstance(function, Workflow):
        return _nested(function)
    if isinstance(function, Task):
        return _waiting(function)
    if callable(function):
        return function  # type: ignore[no-any-return]
    if hasattr(function, "invoke"):
        return lambda given: function.invoke(given, get_config())
    raise DeclarationError(f"{where} is {function!r}: give a function, or a workflow")


def _nested(workflow: Workflow[Any, Any]) -> Callable[..., Any]:
    if _is_async(workflow):
        return lambda given: workflow.ainvoke(given)
    return lambda given: workflow.invoke(given)


def _waiting(work: Task[..., Any]) -> Callable[..., Any]:
    async def awaiting(given: Any) -> Any:
        return await work(given)

    return awaiting if _is_async(work) else lambda given: work(given).result()


def _is_async(function: Any) -> bool:
    if isinstance(function, (Task, Workflow)):
        return function.is_async
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return inspect.signature(lambda state: None)


def _hints(function: Any) -> dict[str, Any]:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not hasattr(inner, "__annotations__"):
        inner = type(inner).__call__
    try:
        return typing.get_type_hints(inner, include_extras=True)
    except Exception:  # names that only type checkers can resolve
        return {}


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind in (
        parameter.POSITIONAL_ONLY,
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


Work = Generator[tuple[Callee, Any], Any, Any]
"""Yields functions with what they are to be given, and gets what they return."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A conditional edge.

    Args:
        path: says where to go.
        ends: what it returns, and the nodes these stand for; None where it returns the nodes themselves.
        schema: the shape in which it sees the state.
    """

    path: Callee
    ends: Mapping[Hashable, str] | None
    schema: Schema | None = None

    def targets(self, chosen: Any, where: str) -> list[Target]:
        """Where a returned value leads.

        Raises:
            InvalidUpdateError: nowhere.
        """
        found = list[Target]()
        for choice in (None,) if chosen is None else targets_of(chosen):
            if self.ends is not None and not isinstance(choice, Send):
                if choice not in self.ends:
                    raise InvalidUpdateError(
                        f"the conditional edge of {where} returned {choice!r}, which is not in its path_map: "
                        f"{', '.join(map(repr, self.ends))}"
                    )
                choice = self.ends[choice]
            if not isinstance(choice, (str, Send)):
                raise InvalidUpdateError(
                    f"the conditional edge of {where} returned {chosen!r}: return the name of a node, END, a Send, or a list"
                )
            found.append(choice)
        return found


@dataclass(frozen=True, slots=True)
class Policies:
    """What `StateGraph.add_node` says of how a node runs.

    Args:
        retry: what to do when it fails.
        cache: whether its results are shared across runs.
        timeout: for async functions.
    """

    retry: Retry = None
    cache: CachePolicy | None = None
    timeout: Timeout = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    Args:
        name: its name.
        callee: its function; None for the graph's start, which only leads somewhere.
        schema: the shape in which it sees the state.
        branches: its conditional edges.
        policies: how it runs.
        metadata: for people.
        deferred: whether it runs when nothing else is left to run.
        destinations: where its commands can lead; None where that is not known.
        graph: the graph that it is, where it is one.
    """

    name: str
    callee: Callee | None
    schema: Schema
    branches: tuple[Branch, ...] = ()
    policies: Policies = Policies()
    metadata: Mapping[str, Any] | None = None
    deferred: bool = False
    destinations: tuple[str, ...] | None = None
    graph: Any = None

    @property
    def callees(self) -> list[Callee]:
        """Its function and those of its conditional edges."""
        return [*([self.callee] if self.callee else []), *(branch.path for branch in self.branches)]

    @property
    def is_async(self) -> bool:
        """Whether any of them is to be awaited."""
        return any(callee.is_async for callee in self.callees)

    @property
    def is_routed_async(self) -> bool:
        """Whether any of its conditional edges is to be awaited."""
        return any(branch.path.is_async for branch in self.branches)

    def given(self, turn: Turn) -> Any:
        """What its function is called with."""
        return turn.arg if turn.sent else self.schema.view(turn.values)

    def work(self, topology: Topology, turn: Turn) -> Work:
        """Run it: yields the calls to make, and returns what is recorded.

        That is its update, a `Wrote` where it leads somewhere, or the command by which it turns to the graph around.
        """
        where = f"node {self.name!r}"
        done = Wrote(turn.arg)
        if self.callee is not None:
            in_node.set(True)
            try:
                result = yield self.callee, self.given(turn)
                outward = _outward(result)
            except ParentCommand as signal:  # of a graph that ran inside this node
                result, outward = replace(signal.command, graph=None), None
            if outward is not None:
                return outward
            done = topology.understood(result, self.name)
        goto = list(done.goto)
        if self.branches:
            fresh = topology.partly(turn.values, [(self.name, done)])
            for branch in self.branches:
                chosen = yield branch.path, (branch.schema or self.schema).view(fresh)
                goto += topology.checked(branch.targets(chosen, where), where)
        if self.callee is None:
            return Wrote(None, tuple(goto))  # a graph's input is recorded as such
        return Wrote(done.update, tuple(goto)) if goto else done.update

    def as_task(self, topology: Topology) -> Task[..., Any]:
        """The task whose calls are the node's runs."""

        def blocking(turn: Turn, /, **injected: Any) -> Any:
            return drive(self.work(topology, turn), injected)

        async def awaiting(turn: Turn, /, **injected: Any) -> Any:
            return await adrive(self.work(topology, turn), injected)

        function: Any = awaiting if self.is_async else blocking
        self._dress(function)
        return task(
            name=self.name,
            retry_policy=self.policies.retry,
            cache_policy=self._cached_by_input(),
            timeout=self.policies.timeout,
            identity=Turn.identity,
            display=Display(input=self.given, update=shown, hidden=self.callee is None),
        )(function)

    def _dress(self, function: Any) -> None:
        """Let it look like the user's, so that the same is injected, and the same classes may be stored."""
        inner = self.callee.function if self.callee else self.branches[0].path.function
        for attribute in ("__module__", "__qualname__", "__doc__"):
            setattr(function, attribute, getattr(inner, attribute, getattr(function, attribute)))
        wanted = {name: p for callee in self.callees for name, p in callee.parameters.items()}
        turn = inspect.Parameter("turn", inspect.Parameter.POSITIONAL_ONLY)
        function.__signature__ = inspect.Signature(
            [turn, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in wanted.values())]
        )
        for callee in self.callees:
            if hasattr(callee.function, "__annotations__"):
                learn(callee.function)

    def _cached_by_input(self) -> CachePolicy | None:
        """The node's policy, with its key made from what the node is given."""
        policy = self.policies.cache
        if not isinstance(policy, CachePolicy):
            return policy

        def key(turn: Turn) -> str | bytes:
            given = self.given(turn)
            return PLAIN.cache_key((given,)) if policy.key_func is None else policy.key_func(given)

        return msgspec.structs.replace(policy, key_func=key)


PLAIN: Final = TypedSerializer()


def _outward(result: Any) -> Command[Any] | None:
    """The command in a node's result that is for the graph around."""
    for part in result if isinstance(result, list) else (result,):
        if isinstance(part, Command) and part.graph is not None:
            if part.graph != Command.PARENT:
                raise InvalidUpdateError(f"Command(graph={part.graph!r}): give Command.PARENT, or leave it out")
            return part
    return None


def drive(work: Work, injected: Mapping[str, Any]) -> Any:
    """Make the calls on this thread."""
    try:
        callee, given = next(work)
        while True:
            try:
                result = callee(given, injected)
            except BaseException as error:
                callee, given = work.throw(error)
            else:
                callee, given = work.send(result)
    except StopIteration as stop:
        return stop.value


async def adrive(work: Work, injected: Mapping[str, Any]) -> Any:
    """Await the calls; those of sync functions that may take long are made on threads."""
    try:
        callee, given = next(work)
        while True:
            try:
                if not (callee.is_async or callee.brief):
                    result = await asyncio.to_thread(callee, given, injected)
                else:
                    result = callee(given, injected)
                    result = await result if callee.is_async else result
            except BaseException as error:
                callee, given = work.throw(error)
            else:
                callee, given = work.send(result)
    except StopIteration as stop:
        return stop.value
