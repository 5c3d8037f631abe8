"""What can be told to be wrong with a graph before it runs."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any

from ..constants import END, START
from ..errors import DeclarationError
from ..types import Command
from .node import Node

__all__ = ["check"]

Edges = Mapping[tuple[str, str], None]
Joins = Mapping[tuple[tuple[str, ...], str], None]


def check(nodes: Mapping[str, Node], start: Node, edges: Edges, joins: Joins, routed: Iterable[str]) -> None:
    """See that a graph hangs together.

    Args:
        nodes: by name.
        start: where it begins.
        edges: from node to node.
        joins: from several nodes to one.
        routed: what has conditional edges.

    Raises:
        DeclarationError: an edge leads to or from a node that is not there, nothing leads to a node, or from a node no way
            leads to the end.
    """
    _check_names(nodes, start, edges, joins)
    for name in routed:
        _check_known(name, f"a conditional edge of {name!r}", {START, *nodes})
    everything = {START: start, **nodes}
    ahead = {name: _followers(node, edges, joins) for name, node in everything.items()}
    if not ahead[START]:
        raise DeclarationError("nothing follows START, so the graph cannot begin: add_edge(START, node)")
    reached = _closure({START}, lambda name: ahead[name])
    lost = sorted(nodes.keys() - reached)
    if lost and not any(_may_jump(everything[name]) for name in reached):
        raise DeclarationError(
            f"nothing leads to node {lost[0]!r}: add an edge to it, or remove it. If a command leads there, say so where "
            f"it comes from: add_node(..., destinations=[{lost[0]!r}])"
        )
    behind: dict[str, set[str]] = {name: set() for name in everything}
    for name, followers in ahead.items():
        for follower in followers - {END}:
            behind[follower].add(name)
    ending = _closure({name for name, node in everything.items() if _may_end(node, edges)}, lambda name: behind[name])
    endless = sorted((nodes.keys() & reached) - ending)
    if endless:
        raise DeclarationError(
            f"no way leads to the end from {', '.join(map(repr, endless))}: let a conditional edge of one lead to END"
        )


def _check_names(nodes: Mapping[str, Node], start: Node, edges: Edges, joins: Joins) -> None:
    for source, target in [*edges, *((source, target) for sources, target in joins for source in sources)]:
        what = f"the edge from {source!r} to {target!r}"
        _check_known(source, what, {START, *nodes})
        _check_known(target, what, {END, *nodes})
    for node in (start, *nodes.values()):
        for branch in node.branches:
            for target in (branch.ends or {}).values():
                _check_known(target, f"the conditional edge of {node.name!r}", {END, *nodes})
        for target in node.destinations or ():
            _check_known(target, f"node {node.name!r}", {END, *nodes})


def _check_known(name: str, what: str, known: Iterable[str]) -> None:
    if name not in known:
        raise DeclarationError(f"{what} names {name!r}, which is no node: the nodes are {', '.join(sorted(known))}")


def _followers(node: Node, edges: Edges, joins: Joins) -> set[str]:
    """The nodes that are known to follow a node, or to be able to."""
    found = {target for source, target in edges if source == node.name}
    found.update(target for sources, target in joins if node.name in sources)
    for branch in node.branches:
        found.update((branch.ends or {}).values())
    found.update(node.destinations or ())
    if any(branch.ends is None for branch in node.branches):
        found.add(END)  # it leads somewhere
    return found


def _closure(found: set[str], around: Callable[[str], Iterable[str]]) -> set[str]:
    """Everything that can be come to from some nodes."""
    pending = list(found)
    while pending:
        for name in around(pending.pop()):
            if name not in found and name != END:
                found.add(name)
                pending.append(name)
    return found


def _may_end(node: Node, edges: Edges) -> bool:
    """Whether nothing need follow a run of a node."""
    if any(source == node.name and target != END for source, target in edges):
        return False
    return all(branch.ends is None or END in branch.ends.values() for branch in node.branches)


def _may_jump(node: Node) -> bool:
    """Whether a node may lead to nodes that cannot be told: by a router without a map, or by a command."""
    if any(branch.ends is None for branch in node.branches):
        return True
    if node.callee is None or node.destinations is not None:
        return False
    returned = node.callee.hints.get("return")
    says_so = any(
        typing.get_origin(part) is Command or part is Command for part in (returned, *typing.get_args(returned))
    )
    return says_so or not node.callee.is_plain or _names_commands(node.callee.function)


def _names_commands(function: Any) -> bool:
    """Whether a function's code speaks of commands; of what is no plain function nothing is known."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None:
        return True
    codes = [code]
    while codes:
        code = codes.pop()
        if any("command" in name.lower() for name in (*code.co_names, *code.co_freevars)):
            return True
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
    return False
