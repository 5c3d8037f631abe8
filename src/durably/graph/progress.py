"""How far a graph has come. Pure: it calls no node, and knows no run and no clock.

A graph's state is not stored step by step. It is what comes out when the recorded results of the nodes are applied one
step after the other: in the loop that runs the graph, and again wherever an earlier moment is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..constants import END, START
from ..errors import InvalidUpdateError
from ..serde import register
from ..types import Command, Overwrite, Send
from .schema import State, Values, update_from

__all__ = ["Planned", "Progress", "Standing", "Topology", "Wrote", "wrote"]

Update = Values | list[Values] | None
Target = str | Send


for kind in (Send, Overwrite, Command):
    register(kind)


@register
@dataclass(frozen=True, slots=True)
class Wrote:
    """What a node did that also said where to go; one that did not leaves its update alone.

    Args:
        update: of the state: a dict, a list of them, or None.
        goto: the nodes to run next, beside those to which edges lead.
    """

    update: Any
    goto: tuple[Any, ...] = ()


def wrote(result: Any) -> Wrote:
    """What a recorded result stands for."""
    return result if isinstance(result, Wrote) else Wrote(result)


def shown(result: Any) -> Any:
    """The part of a recorded result that is an update."""
    return result.update if isinstance(result, (Wrote, Command)) else result


@register
@dataclass(frozen=True, slots=True)
class Planned:
    """A node to run in a step.

    Args:
        node: its name.
        arg: the input of its own that a `Send` gave it.
        sent: whether there is one.
    """

    node: str
    arg: Any = None
    sent: bool = False


@register
@dataclass(frozen=True, slots=True)
class Standing:
    """How a graph stands between two steps: with this as its input a run goes on from there.

    Args:
        values: the state.
        plan: what runs in the next step.
        waiting: of each edge from several nodes, those that have run.
        deferred: nodes that run when nothing else is left to run.
        step: how many steps were made.
        last: the nodes of the last step.
    """

    values: dict[str, Any]
    plan: tuple[Planned, ...] = (Planned(START),)
    waiting: tuple[tuple[str, ...], ...] = ()
    deferred: tuple[str, ...] = ()
    step: int = -1
    last: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """What leads where, as far as it is known before anything runs.

    Args:
        state: the keys, and how they are merged.
        nodes: all names.
        edges: from each node to the nodes that follow it.
        joins: edges from several nodes: these, and the node that follows when all of them have run.
        deferred: nodes that run when nothing else is left to run.
        ending: nodes with an edge to the end.
    """

    state: State
    nodes: frozenset[str]
    edges: Mapping[str, tuple[str, ...]]
    joins: tuple[tuple[tuple[str, ...], str], ...] = ()
    deferred: frozenset[str] = frozenset()
    ending: frozenset[str] = frozenset()

    def initial(self, previous: Values | None) -> Standing:
        """Before the first step on a thread, or before a further input."""
        values = {**self.state.initial(), **(previous or {})}
        return Standing(values, waiting=((),) * len(self.joins))

    def after(self, standing: Standing, results: Sequence[Wrote]) -> Standing:
        """How it stands after a step.

        Args:
            standing: before it.
            results: of what was planned, in that order.

        Raises:
            InvalidUpdateError: the updates exclude one another, or lead to a node that is not there.
        """
        ran = tuple(planned.node for planned in standing.plan)
        pulled, sent, waiting = set(standing.deferred), list[Planned](), list[tuple[str, ...]]()
        for node, result in zip(ran, results, strict=True):
            pulled.update(self.edges.get(node, ()))
            for target in result.goto:
                if isinstance(target, Send):
                    sent.append(Planned(target.node, target.arg, True))
                else:
                    pulled.add(target)
        for (sources, target), seen in zip(self.joins, standing.waiting, strict=True):
            seen = tuple(sorted({*seen, *(node for node in ran if node in sources)}))
            if len(seen) == len(sources):
                pulled.add(target)
                seen = ()
            waiting.append(seen)
        plan, deferred = self._planned(pulled, sent)
        return Standing(
            values=self.partly(standing.values, zip(ran, results, strict=True)),
            plan=plan,
            waiting=tuple(waiting),
            deferred=deferred,
            step=standing.step + 1,
            last=tuple(dict.fromkeys(ran)),
        )

    def _planned(self, pulled: set[str], sent: list[Planned]) -> tuple[tuple[Planned, ...], tuple[str, ...]]:
        """What runs next, by name and then as it was sent; and what is deferred, as long as anything else is left."""
        now = sorted(pulled - self.deferred)
        later = tuple(sorted(pulled & self.deferred))
        if not now and not sent:
            return tuple(map(Planned, later)), ()
        return (*map(Planned, now), *sent), later

    def partly(self, values: Values, results: Iterable[tuple[str, Wrote]]) -> dict[str, Any]:
        """The state in the middle of a step: with what those of its nodes wrote that have ended."""
        return self.state.updated(
            values, [(node, update) for node, result in results for update in updates_of(result.update)]
        )

    def understood(self, result: Any, node: str) -> Wrote:
        """What a node returned, as it is recorded.

        Raises:
            InvalidUpdateError: it is no update, or leads to a node that is not there.
        """
        where = f"node {node!r}"
        parts = result if isinstance(result, list) and not _is_pairs(result) else [result]
        updates, goto = list[Values](), list[Target]()
        for part in parts:
            update, more = (part.update, targets_of(part.goto)) if isinstance(part, Command) else (part, ())
            if update is not None:
                updates.append(self.state.known(update_from(update, where), where))
            goto.extend(self.checked(more, where))
        return Wrote(updates if len(updates) > 1 else updates[0] if updates else None, tuple(goto))

    def checked(self, targets: Iterable[Any], where: str) -> list[Target]:
        """Where a node leads, END left out.

        Raises:
            InvalidUpdateError: there is no such node.
        """
        found = list[Target]()
        for target in targets:
            name = target.node if isinstance(target, Send) else target
            if name == END and not isinstance(target, Send):
                continue
            if name not in self.nodes:
                raise InvalidUpdateError(
                    f"{where} leads to {name!r}, and the nodes are {', '.join(sorted(self.nodes))}"
                )
            found.append(target)
        return found


def updates_of(update: Update) -> list[Values]:
    """An update as a list."""
    if update is None:
        return []
    return update if isinstance(update, list) else [update]


def targets_of(goto: Any) -> tuple[Any, ...]:
    """What was given as ``goto``, or returned by a router."""
    if goto is None:
        return ()
    return tuple(goto) if isinstance(goto, (list, tuple, set)) else (goto,)


def _is_pairs(result: list[Any]) -> bool:
    return bool(result) and all(isinstance(item, tuple) and len(item) == 2 for item in result)


@dataclass(slots=True)
class Progress:
    """A walk through a graph: how it stands, and which call each planned node is.

    Args:
        topology: the graph's.
        standing: how it stands.
    """

    topology: Topology
    standing: Standing
    _calls: Counter[str] = field(default_factory=Counter)

    @property
    def plan(self) -> tuple[Planned, ...]:
        """What runs in the next step; empty at the end."""
        return self.standing.plan

    def calls(self) -> list[tuple[str, int]]:
        """Name and number of each planned call: the n-th of its name."""
        ahead = Counter[str]()
        keys = list[tuple[str, int]]()
        for planned in self.plan:
            keys.append((planned.node, self._calls[planned.node] + ahead[planned.node]))
            ahead[planned.node] += 1
        return keys

    def advance(self, results: Sequence[Wrote]) -> None:
        """One step on."""
        self._calls.update(planned.node for planned in self.plan)
        self.standing = self.topology.after(self.standing, results)

    def enter(self, given: Values) -> None:
        """An input takes the place of what was planned."""
        self.standing = replace(self.standing, plan=(Planned(START, given),))
