"""Which calls are tried again after an attempt has ended with an exception. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from .identity import Key, body_path
from .journal import in_body

__all__ = ["FailedCall", "chain", "culprits_within", "tried_again"]


class FailedCall(Protocol):
    """A call that raised."""

    seen: bool
    because: tuple[Key, ...]

    @property
    def key(self) -> Key:
        """What identifies it within the run."""
        ...

    @property
    def failed(self) -> BaseException | None:
        """What it raised."""
        ...

    def describe(self) -> str:
        """Names it in errors."""
        ...


def tried_again(error: BaseException, failed: Sequence[Any]) -> list[Key]:
    """The keys of the calls to try again.

    They are the calls whose failure ended the attempt: for each member of a group, the first one met on the way from
    the exception through its causes and contexts. And those whose failure the workflow was never told of. Of each, since
    it runs again, also the one in its own body that made it fail, and so on inwards.

    Args:
        error: what ended the attempt.
        failed: all calls that raised in it, replayed failures included.
    """
    raised = _by_error(failed)
    keys: dict[Key, None] = {}
    for call in failed:
        if not call.seen:
            keys.update(dict.fromkeys(_inwards(call, raised)))
    for member in _members(error):
        keys.update(dict.fromkeys(_culprits(member, "", raised)))
    return list(keys)


def culprits_within(key: Key, error: BaseException, failed: Sequence[Any]) -> tuple[Key, ...]:
    """The calls in a call's body that made it fail with ``error``, to be recorded with it."""
    if not failed:
        return ()
    raised = _by_error(failed)
    keys = (inner for member in _members(error) for inner in _culprits(member, body_path(key), raised))
    return tuple(dict.fromkeys(keys))


def _by_error(failed: Sequence[Any]) -> Mapping[int, list[Any]]:
    raised = defaultdict[int, list[Any]](list)
    for call in failed:
        raised[id(call.failed)].append(call)
    return raised


def _members(error: BaseException) -> Iterator[BaseException]:
    """The exception itself; of a group, its members instead, however deep, unless the group is a call's own failure."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _members(member)


def _culprits(error: BaseException, path: str, raised: Mapping[int, list[Any]]) -> Iterator[Key]:
    """From the outermost call in the body at ``path`` that this exception came out of to the innermost."""
    for link in chain(error):
        calls = [call for call in raised.get(id(link), ()) if in_body(call.key, path)]
        if calls:
            yield from _inwards(min(calls, key=lambda call: call.key.scope.count("/") + bool(call.key.scope)), raised)
            return


def _inwards(call: Any, raised: Mapping[int, list[Any]]) -> Iterator[Key]:
    """A call that failed, and those in its body that made it fail."""
    yield call.key
    yield from call.because
    if call.failed is not None:
        for member in _members(call.failed):
            yield from _culprits(member, body_path(call.key), raised)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, what caused it, and what was being handled, nearest first."""
    pending, seen = [error], set[int]()
    while pending:
        link = pending.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        pending += [other for other in (link.__cause__, link.__context__) if other is not None]
