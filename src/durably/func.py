"""`@entrypoint` and `@task`: what a user sees first.

>>> from durably.checkpoint.memory import InMemorySaver
>>> @task
... def slogan(product: str) -> str:
...     return f"{product}: now with durability"
>>> @entrypoint(checkpointer=InMemorySaver())
... def campaign(products: list[str]) -> list[str]:
...     drafts = [slogan(product) for product in products]  # side by side
...     return [draft.result() for draft in drafts]
>>> campaign.invoke(["Soap", "Rope"], thread_id="spring")
['Soap: now with durability', 'Rope: now with durability']
"""

from __future__ import annotations

import typing
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

from msgspec.structs import replace

from .arguments import (
    Retry,
    Timeout,
    cache_backend,
    cache_policy_of,
    checked_name,
    checkpointer_of,
    chosen,
    retry_policies,
    timeout_policy,
    worker_count,
)
from .cache.base import BaseCache
from .checkpoint.base import BaseCheckpointer
from .context import current, here
from .engine.caching import namespace_of
from .engine.function import FinalValue, Function, Policies, as_transactional, describe, is_async_callable, name_of
from .engine.run import QUESTION
from .engine.steps import Do
from .errors import AnnotationError, DeclarationError
from .invocation import Settings
from .serde import learn
from .types import CachePolicy, Display
from .workflow import Workflow

if TYPE_CHECKING:
    from .engine.call import TaskFuture
    from .store.base import BaseStore

__all__ = ["Task", "entrypoint", "task"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
In = TypeVar("In")

Q = ParamSpec("Q")

OnBusy = Literal["reject", "enqueue", "join", "interrupt", "rollback"]


class Task(Generic[P, R]):
    """A function whose calls are recorded. Made by `task`, not by hand.

    Calling it inside a run returns a `TaskFuture` at once: wait with ``.result()``, or ``await`` it.
    """

    def __init__(self, function: Function, bound_to: tuple[Any, ...] = ()) -> None:
        self._function = function
        self._bound_to = bound_to
        self.__name__ = function.name
        self.__qualname__ = getattr(function.call, "__qualname__", function.name)
        self.__module__ = getattr(function.call, "__module__", __name__)
        self.__doc__ = getattr(function.call, "__doc__", None)
        self.__wrapped__ = function.call

    def __repr__(self) -> str:
        return f"<Task {self._function.name!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Call the task in the run under way.

        Returns:
            A future of its result. Where the run has recorded the call before, it is done already.

        Raises:
            OutsideRunError: no run is under way.
        """
        place: Any = current.get()
        if place is None:
            place = here(f"task {self._function.name!r}")
        return place.body.run.call(place, self._function, self._bound_to + args, kwargs)  # type: ignore[no-any-return]

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Task[P, R]: ...

    @overload
    def __get__(self: Task[Concatenate[Any, Q], R], instance: object, owner: type[Any]) -> Task[Q, R]: ...

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None or isinstance(self._function.call, staticmethod):
            return self
        return Task(self._function, (instance,))

    @property
    def name(self) -> str:
        """Under which its calls are recorded."""
        return self._function.name

    @property
    def is_async(self) -> bool:
        """Whether its function is a coroutine function."""
        return self._function.is_async

    def clear_cache(self, cache: BaseCache) -> None:
        """Forget this task's results in ``cache``."""
        cache.clear(namespace_of(self._function))

    async def aclear_cache(self, cache: BaseCache) -> None:
        """As `clear_cache`, without blocking the running event loop."""
        await Do(lambda: self.clear_cache(cache), inline=cache.inline).wait()


@overload
def task(func: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...


@overload
def task(func: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    func: None = None,
    /,
    *,
    name: str | None = None,
    retry_policy: Retry = None,
    cache_policy: CachePolicy | None = None,
    timeout: Timeout = None,
    transactional: bool = False,
    identity: Callable[..., tuple[Any, ...]] | None = None,
    display: Display | None = None,
) -> _TaskDecorator: ...


def task(
    func: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry_policy: Retry = None,
    cache_policy: CachePolicy | None = None,
    timeout: Timeout = None,
    transactional: bool = False,
    identity: Callable[..., tuple[Any, ...]] | None = None,
    display: Display | None = None,
    **old: Any,
) -> Any:
    """Mark a function as a task: work whose calls are recorded.

    Args:
        func: a function, coroutine function, method, partial or callable object; or nothing, as in ``@task(name=...)``.
        name: under which the calls are recorded; by default the function's own name. Keep it when you rename the function
            while runs are open.
        retry_policy: what to do when it fails; by default what the workflow says.
        cache_policy: whether results are shared across runs; by default what the workflow says.
        timeout: seconds, a timedelta or a `TimeoutPolicy`, for async functions.
        transactional: whether it writes on a ``connection`` it is given, in the transaction that records its result.
        identity: takes the arguments of a call and returns a tuple: what the call is recognized by when it is replayed, in
            the place of its arguments. For those so large that hashing them at each call would cost too much.
        display: how its calls look to those who stream the run.

    Returns:
        A `Task`: called inside a run it returns a future.

    Raises:
        DeclarationError: the function or a policy cannot be used.

    >>> from durably import RetryPolicy
    >>> @task(name="add", retry_policy=RetryPolicy(max_attempts=2))
    ... def add_numbers(a: int, b: int = 1) -> int:
    ...     return a + b
    >>> add_numbers
    <Task 'add'>
    """
    retry_policy = _old_spelling(old, "retry", "retry_policy", retry_policy, "task")

    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        policies = Policies(retry_policies(retry_policy), cache_policy_of(cache_policy), timeout_policy(timeout))
        made = replace(_declare(function, name, policies), identity=identity, display=display or Display())
        return Task(as_transactional(made) if transactional else made)

    return decorate if func is None else decorate(func)


class _TaskDecorator(typing.Protocol):
    """What ``task(...)`` with arguments returns."""

    @overload
    def __call__(self, func: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, func: Callable[P, R], /) -> Task[P, R]: ...


class entrypoint:
    """Mark a function as a workflow: its runs survive questions, errors and crashes.

    The function takes one input (and injected parameters: ``previous``, ``store``, ``writer``, ``config``, ``runtime``).

    Args:
        checkpointer: where runs are stored. Without one nothing is, and a run lives as long as its call.
        store: long-term memory, shared by all threads.
        cache: results shared across runs, for tasks with a cache policy.
        context_schema: what ``context=`` has to be: a dataclass, pydantic model or TypedDict.
        cache_policy: the default of its tasks.
        retry_policy: for the workflow itself, whose finished tasks do not run again, and the default of its tasks.
        timeout: seconds, a timedelta or a `TimeoutPolicy`, for async functions.
        name: under which runs are stored; by default the function's own name.
        replay: what to do when a resumed run makes other calls than it did before: ``"warn"`` or ``"strict"``.
        on_busy: what a new run does whose thread is held by another: ``"reject"`` (`ThreadBusy`), ``"enqueue"`` (waits its
            turn), ``"join"`` (returns the other run's result), ``"interrupt"`` (stops the other run, whose progress is
            kept) or ``"rollback"`` (likewise, and the thread is as if the other had not begun).
        max_workers: how many sync bodies may be under way at once; None for any number.
        durable_stream: whether what bodies write to the stream is stored with the run, for ``join_stream``.

    Raises:
        DeclarationError: an argument, or the function, cannot be used.

    >>> @entrypoint()
    ... def greet(name: str) -> str:
    ...     return f"Hello, {name}"
    >>> greet.invoke("Ada")
    'Hello, Ada'
    """

    class final(FinalValue, Generic[R, S]):
        """Return one thing and save another, which the thread's next run sees as ``previous``.

        Args:
            value: what ``invoke`` returns.
            save: what is saved.
            steps: how many steps it took, of a workflow that can tell its state after each.

        >>> from durably.checkpoint.memory import InMemorySaver
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def count(_: str, *, previous: int = 0) -> entrypoint.final[str, int]:
        ...     return entrypoint.final(value=f"call {previous + 1}", save=previous + 1)
        >>> count.invoke("", thread_id="1"), count.invoke("", thread_id="1")
        ('call 1', 'call 2')
        """

        if typing.TYPE_CHECKING:
            value: R
            save: S
            steps: int

            def __init__(self, *, value: R, save: S, steps: int = 1) -> None: ...

        def __class_getitem__(cls, parameters: Any) -> Any:
            if not isinstance(parameters, tuple) or len(parameters) != 2:
                raise AnnotationError(
                    "entrypoint.final needs two types, what is returned and what is saved: entrypoint.final[str, list[str]]"
                )
            return super().__class_getitem__(parameters)  # type: ignore[misc]

    def __init__(
        self,
        checkpointer: BaseCheckpointer | bool | None = None,
        store: BaseStore | None = None,
        cache: BaseCache | None = None,
        context_schema: type[Any] | None = None,
        cache_policy: CachePolicy | None = None,
        retry_policy: Retry = None,
        timeout: Timeout = None,
        *,
        name: str | None = None,
        replay: Literal["warn", "strict"] = "warn",
        on_busy: OnBusy = "reject",
        max_workers: int | None = None,
        durable_stream: bool = False,
        **old: Any,
    ) -> None:
        context_schema = _old_spelling(old, "config_schema", "context_schema", context_schema, "entrypoint")
        retry_policy = _old_spelling(old, "retry", "retry_policy", retry_policy, "entrypoint")
        retry = retry_policies(retry_policy)
        self._name = name
        self._policies = Policies(retry, None, timeout_policy(timeout))
        self._settings = Settings(
            checkpointer=checkpointer_of(checkpointer),
            store=store,
            cache=cache_backend(cache),
            context_schema=context_schema,
            defaults=Policies(retry, cache_policy_of(cache_policy)),
            strict=chosen("replay", replay, ("warn", "strict")) == "strict",
            on_busy=chosen("on_busy", on_busy, typing.get_args(OnBusy)),
            max_workers=worker_count(max_workers),
            durable_stream=durable_stream,
        )

    @overload
    def __call__(self, func: Callable[Concatenate[In, ...], Awaitable[final[R, S]]], /) -> Workflow[In, R]: ...

    @overload
    def __call__(self, func: Callable[Concatenate[In, ...], final[R, S]], /) -> Workflow[In, R]: ...

    @overload
    def __call__(self, func: Callable[Concatenate[In, ...], Awaitable[R]], /) -> Workflow[In, R]: ...

    @overload
    def __call__(self, func: Callable[Concatenate[In, ...], R], /) -> Workflow[In, R]: ...

    def __call__(self, func: Callable[..., Any], /) -> Workflow[Any, Any]:
        """Make the workflow."""
        function = _declare(func, self._name, self._policies, is_workflow=True)
        _check_input(function)
        return Workflow(function, self._settings)


def _declare(func: Callable[..., Any], name: str | None, policies: Policies, *, is_workflow: bool = False) -> Function:
    kind = "an entrypoint" if is_workflow else "a task"
    if isinstance(func, (Task, Workflow)):
        raise DeclarationError(f"{func!r} is marked already: mark the function itself, once")
    if not callable(func):
        raise DeclarationError(f"{func!r} cannot be {kind}: mark a function, or something else that can be called")
    is_async = is_async_callable(func)
    if policies.timeout is not None and not is_async:
        raise DeclarationError(
            f"{describe(func)} is a sync function, which cannot be stopped safely, so it cannot have a timeout: "
            "make it `async def`, or bound the waiting inside it"
        )
    learn(func)
    name = checked_name(name) or name_of(func)
    if name == QUESTION:
        raise DeclarationError(f"{kind} cannot be named {QUESTION!r}: questions are recorded under that name")
    return Function(func, name, is_async, policies, is_workflow)


def _check_input(function: Function) -> None:
    what = describe(function.call)
    takes_input = any(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL)
        and parameter.name not in {injected.name for injected in function.parameters.injected}
        for parameter in function.parameters.signature.parameters.values()
    )
    if not takes_input:
        raise DeclarationError(
            f"{what} takes no input: an entrypoint has one positional parameter, which is given to invoke()"
            + ("; a parameter named after what is injected is not it" if function.parameters.injected else "")
        )
    required = function.parameters.required()
    if len(required) > 1:
        raise DeclarationError(
            f"{what} needs {len(required)} arguments ({', '.join(required)}), and an entrypoint is given one input: "
            "take one dict, dataclass or pydantic model with these as its fields"
        )


def _old_spelling(old: dict[str, Any], old_name: str, new_name: str, value: Any, where: str) -> Any:
    """Take an argument under the name it had before; nothing else may be left in ``old``."""
    if old_name in old:
        warnings.warn(f"{where}({old_name}=...) is now called {new_name}", DeprecationWarning, stacklevel=3)
        value = old.pop(old_name)
    if old and (where == "task" or old_name == "retry"):
        raise DeclarationError(f"{where}() has no argument {', '.join(map(repr, old))}")
    return value
