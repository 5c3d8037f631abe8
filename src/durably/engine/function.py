"""A user's function as the engine sees it: how to call it, what to inject, what its arguments are."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..errors import DeclarationError, GeneratorFunctionError
from ..types import CachePolicy, Display, RetryPolicy, TimeoutPolicy

__all__ = [
    "Final",
    "Function",
    "Injected",
    "Parameters",
    "Policies",
    "as_transactional",
    "describe",
    "is_async_callable",
    "name_of",
]


class Policies(msgspec.Struct, frozen=True):
    """What applies to a function's calls; a workflow's are the defaults of its tasks."""

    retry: tuple[RetryPolicy, ...] = ()
    cache: CachePolicy | None = None
    timeout: TimeoutPolicy | None = None


@dataclass(frozen=True, slots=True)
class FinalValue:
    """A return value, and what the thread's next run is to see as ``previous`` instead of it."""

    value: Any
    save: Any
    steps: int = 1


class Injected(msgspec.Struct, frozen=True):
    """A parameter that the engine fills in where the caller does not.

    Args:
        name: its name.
        index: its place among the positional parameters, a large number for a keyword-only one.
        has_default: whether the function declares a default other than None.
    """

    name: str
    index: int
    has_default: bool


KEYWORD_ONLY: Final = 1 << 30

WORDS: Final = {
    "config": {"RunnableConfig", "dict", "Dict", "Mapping"},
    "runtime": {"Runtime"},
    "store": {"BaseStore"},
    "writer": {"StreamWriter", "Callable"},
}
"""Which words in an annotation say that a parameter of that name is to be injected; `previous` may have any."""
CONNECTION: Final = "connection"
"""The parameter that a transactional task must have; elsewhere the name means nothing."""


def _wants_injection(parameter: inspect.Parameter, transactional: bool) -> bool:
    name, annotation = parameter.name, parameter.annotation
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return False
    if (
        name == "previous"
        or (transactional and name == CONNECTION)
        or (name in WORDS and annotation is parameter.empty)
    ):
        return True
    return name in WORDS and bool(_words(annotation) & (WORDS[name] | {"Any"}))


def _words(annotation: Any) -> set[str]:
    """The names in an annotation, written out or as a string, and those of a class's bases."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return {base.__name__ for base in annotation.__mro__[:-1]}
    return set(re.findall(r"[A-Za-z_]\w*", annotation if isinstance(annotation, str) else repr(annotation)))


class Parameters:
    """A function's parameters: which ones are injected, and how arguments are bound to the others."""

    __slots__ = ("_defaults", "_simple", "_width", "injected", "signature")

    def __init__(self, function: Callable[..., Any], *, transactional: bool = False) -> None:
        try:
            self.signature = inspect.signature(function)
        except (TypeError, ValueError):  # some builtins have none
            self.signature = inspect.Signature(
                [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                 inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]
            )  # fmt: skip
        parameters = list(self.signature.parameters.values())
        self.injected = tuple(
            Injected(
                p.name,
                i if p.kind is p.POSITIONAL_OR_KEYWORD else KEYWORD_ONLY,
                p.default is not p.empty and p.default is not None,
            )
            for i, p in enumerate(parameters)
            if _wants_injection(p, transactional)
        )
        names = {injected.name for injected in self.injected}
        plain = [p for p in parameters if p.name not in names]
        # Injected parameters behind all others never shift a position; then arguments in order are the bound ones.
        self._simple = (
            all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in plain)
            and parameters[: len(plain)] == plain
        )
        self._width = len(plain)
        self._defaults = tuple(p.default for p in plain)

    def required(self) -> list[str]:
        """The positional parameters that a caller must give."""
        names = {injected.name for injected in self.injected}
        return [
            p.name
            for p in self.signature.parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty and p.name not in names
        ]

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        """The arguments in the order of the signature, defaults filled in, injected ones left out.

        Raises:
            TypeError: they do not fit the signature.
        """
        if self._simple and not kwargs:
            given = len(args)
            if given == self._width:
                return args
            if given < self._width and inspect.Parameter.empty not in self._defaults[given:]:
                return args + self._defaults[given:]
        bound = self.signature.bind_partial(*args, **kwargs) if self.injected else self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for injected in self.injected:
            bound.arguments.pop(injected.name, None)
        return tuple(bound.arguments.values())

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by the names of their parameters, injected ones left out."""
        arguments = self.signature.bind_partial(*args, **kwargs).arguments
        injected = {parameter.name for parameter in self.injected}
        return {name: value for name, value in arguments.items() if name not in injected}

    def missing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Injected]:
        """The parameters to inject: those that the caller did not give."""
        return [p for p in self.injected if p.index >= len(args) and p.name not in kwargs]


class Function(msgspec.Struct, frozen=True):
    """What a call calls.

    Args:
        call: the user's function.
        name: under which its calls are recorded.
        is_async: whether calling it gives something to await.
        policies: what applies to its calls; those left open come from the workflow.
        is_workflow: whether it is an entrypoint's body.
        is_passive: whether it only waits, such as for other calls, and so counts against no limit.
        waits_for_time: whether it only waits for a moment to come.
        rests: of what waits for other calls, says whether it goes on waiting until one of them ends; asked from any thread.
        is_own: whether it is the program's own code, and no wrapper of the library's around something else.
        transactional: whether its body is given a connection, and its result recorded in the same transaction.
        given_parameters: those of another function that it stands in for.
        identity: gives what its calls are recognized by on replay, from their arguments; None for the arguments themselves.
        display: how its calls look in streams.
        says_values: whether its body says all its values itself.
        parameters: of ``call``, unless they are given.
        is_simple: whether a call is just the body and its record: no retries, no cache, no transaction, no run inside.
    """

    call: Callable[..., Any]
    name: str
    is_async: bool
    policies: Policies = Policies()
    is_workflow: bool = False
    is_passive: bool = False
    waits_for_time: bool = False
    rests: Callable[[], bool] | None = None
    is_own: bool = True
    transactional: bool = False
    given_parameters: Parameters | None = None
    identity: Callable[..., tuple[Any, ...]] | None = None
    display: Display = Display()
    says_values: bool = False
    parameters: Parameters = None  # type: ignore[assignment]  # made of ``call`` unless given
    is_simple: bool = False  # made of the others

    def __post_init__(self) -> None:
        policies = self.policies
        is_simple = not (self.is_workflow or self.transactional or policies.retry or policies.cache)
        msgspec.structs.force_setattr(self, "is_simple", is_simple)
        parameters = self.given_parameters or Parameters(self.call, transactional=self.transactional)
        msgspec.structs.force_setattr(self, "parameters", parameters)


def as_transactional(declared: Function) -> Function:
    """The function of a task that is given a connection.

    Raises:
        DeclarationError: it takes none, or has policies that do not go with one.
    """
    function = msgspec.structs.replace(declared, transactional=True)  # which of them is the connection
    if CONNECTION not in {injected.name for injected in function.parameters.injected}:
        raise DeclarationError(
            f"{describe(function.call)} is a transactional task without a parameter `{CONNECTION}`: that is how it gets the "
            "connection on which to write its rows"
        )
    if function.policies.cache is not None:
        raise DeclarationError(
            f"{describe(function.call)} is a transactional task with a cache policy: a cached result would come without "
            "its rows"
        )
    return function


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside partials and static methods."""
    while isinstance(function, (functools.partial, staticmethod)):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called: its own name, that of a partial's function, or that of a callable object's class."""
    inner = unwrapped(function)
    name = getattr(inner, "__name__", None)
    return name if isinstance(name, str) else type(inner).__name__


def describe(function: Callable[..., Any]) -> str:
    """A function in error messages."""
    inner = unwrapped(function)
    return getattr(inner, "__qualname__", None) or repr(inner)


def is_async_callable(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; refuses generator functions, which cannot be replayed.

    Raises:
        GeneratorFunctionError: a generator function.
    """
    inner = unwrapped(function)
    if not (inspect.isroutine(inner) or inspect.isclass(inner)):
        inner = type(inner).__call__
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise GeneratorFunctionError(
            f"{describe(function)} is a generator function: its values cannot be recorded one by one. Return a list, "
            "or take a `writer: StreamWriter` parameter and write each value to it as it comes."
        )
    return inspect.iscoroutinefunction(inner)
