"""Stand-ins for tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from ..engine.function import Function
from ..errors import ConfigError
from ..func import Task
from ..types import MISSING

__all__ = ["Call", "Stub", "stub"]

R = TypeVar("R")

NOTHING: Final[Any] = MISSING


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a stub: what it was given, injected parameters left out."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stub:
    """What `stub` hands out: the calls made, in the order in which they began; a retry is another one."""

    calls: list[Call] = field(default_factory=list)


@contextmanager
def stub(
    task: Task[..., R],
    *,
    returning: R = NOTHING,
    raising: BaseException | type[BaseException] | None = None,
    calling: Callable[..., Any] | None = None,
) -> Iterator[Stub]:
    """Replace what a task does, for the length of a ``with`` block.

    Its calls are recorded, retried and replayed as the task's own; they are not cached.

    Args:
        task: what ``@task`` returned.
        returning: what its calls return.
        raising: or what they raise.
        calling: or a function that takes the arguments, and is async only where the task is.

    Raises:
        ConfigError: not exactly one of the three was given.

    >>> from durably import entrypoint, task
    >>> @task
    ... def ask_model(prompt: str) -> str:
    ...     raise NotImplementedError("this costs money")
    >>> @entrypoint()
    ... def shout(prompt: str) -> str:
    ...     return ask_model(prompt).result().upper()
    >>> with stub(ask_model, returning="hello") as stubbed:
    ...     print(shout.invoke("greet"), stubbed.calls)
    HELLO [Call(args=('greet',), kwargs={})]
    """
    given = sum((returning is not NOTHING, raising is not None, calling is not None))
    if given != 1:
        raise ConfigError(
            f"stub({task!r}) takes exactly one of returning=, raising= and calling=, and was given {given}"
        )
    if not isinstance(task, Task):
        raise ConfigError(f"stub({task!r}): give what @task returned")
    stubbed = Stub()
    function = task._function
    task._function = _standing_in(function, stubbed, _behaviour(returning, raising, calling))
    try:
        yield stubbed
    finally:
        task._function = function


def _behaviour(returning: Any, raising: Any, calling: Callable[..., Any] | None) -> Callable[..., Any]:
    if calling is not None:
        return calling

    def behave(*args: Any, **kwargs: Any) -> Any:
        if raising is not None:
            raise raising
        return returning

    return behave


def _standing_in(function: Function, stubbed: Stub, behave: Callable[..., Any]) -> Function:
    injected = {parameter.name for parameter in function.parameters.injected}

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = {name: value for name, value in kwargs.items() if name not in injected}
        stubbed.calls.append(Call(args, kwargs))
        return behave(*args, **kwargs)

    @functools.wraps(function.call)  # the signature too: arguments are bound, and runs replayed, as the task's own
    def blocking(*args: Any, **kwargs: Any) -> Any:
        return begin(args, kwargs)

    @functools.wraps(function.call)
    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        value = begin(args, kwargs)
        return await value if isawaitable(value) else value

    call = awaiting if function.is_async else blocking
    policies = replace(function.policies, cache=None)
    return Function(call, function.name, function.is_async, policies, given_parameters=function.parameters)
