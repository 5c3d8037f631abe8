"""Texts to vectors: one shape for every kind of embedder, sync and async."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BlockingError, ConfigError
from .paths import checked_paths
from .vectors import unit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .ops import IndexConfig
    from .vectors import Vector

__all__ = ["Embedder", "Texts", "Vectors"]

INDEX_ENTRIES = ("dims", "embed", "fields")
AT_ONCE = 256
"""Texts that an embedder is given at most in one call."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What a batch of operations needs embedded, each text once."""

    documents: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.documents or self.queries)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The embedded texts."""

    documents: dict[str, Vector]
    queries: dict[str, Vector]


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the embedder: the function, what it is given, and the texts that this stands for."""

    call: Callable[[Any], Any]
    argument: Any
    texts: tuple[str, ...]
    is_query: bool

    def vectors(self, answer: Any) -> Iterator[tuple[str, Any]]:
        """Pair the texts with the vectors of an answer."""
        rows = [answer] if self.is_query and isinstance(self.argument, str) else list(answer)
        if len(rows) != len(self.texts):
            raise ConfigError(f"the embedder was given {len(self.texts)} texts and returned {len(rows)} vectors")
        return zip(self.texts, rows, strict=True)


class Embedder:
    """Calls what the user gave as ``embed``, in batches.

    Args:
        config: the store's index configuration.

    Raises:
        ConfigError: if an entry cannot be used, or there is another one.
    """

    def __init__(self, config: IndexConfig) -> None:
        for name in config:
            if name not in INDEX_ENTRIES:
                raise ConfigError(
                    f"the index configuration has the unknown entry {name!r}; it takes {', '.join(INDEX_ENTRIES)}"
                )
        self.dims = checked_dims(config.get("dims"))
        self.fields = checked_paths(config.get("fields") or ["$"], "index['fields']")
        self._embed = checked_embed(config.get("embed"))

    def embed(self, texts: Texts) -> Vectors:
        """Embed in this thread; an async embedder gets an event loop of its own.

        Raises:
            BlockingError: if the embedder is async and an event loop is running in this thread.
        """
        answers = []
        for request in self._requests(texts, prefer_async=False):
            answer = request.call(request.argument)
            answers.append((request, finish(answer) if hasattr(answer, "__await__") else answer))
        return self._collect(answers)

    async def aembed(self, texts: Texts) -> Vectors:
        """Embed without blocking the event loop; an embedder that is not async runs in a thread."""
        import asyncio

        answers = []
        for request in self._requests(texts, prefer_async=True):
            if is_async(request.call):
                answer = request.call(request.argument)
            else:
                answer = await asyncio.to_thread(request.call, request.argument)
            answers.append((request, await answer if hasattr(answer, "__await__") else answer))
        return self._collect(answers)

    def _requests(self, texts: Texts, *, prefer_async: bool) -> Iterator[Request]:
        documents, query = self._calls(prefer_async)
        for part in batches(texts.documents):
            yield Request(documents, list(part), part, False)
        if query is None:
            for part in batches(texts.queries):
                yield Request(documents, list(part), part, True)
        else:
            for text in texts.queries:
                yield Request(query, text, (text,), True)

    def _calls(self, prefer_async: bool) -> tuple[Callable[[Any], Any], Callable[[Any], Any] | None]:
        embed = self._embed
        if not hasattr(embed, "embed_documents"):
            return embed, None
        if prefer_async and hasattr(embed, "aembed_documents") and hasattr(embed, "aembed_query"):
            return embed.aembed_documents, embed.aembed_query
        return embed.embed_documents, embed.embed_query

    def _collect(self, answers: Iterable[tuple[Request, Any]]) -> Vectors:
        from_documents: dict[str, Vector] = {}
        from_queries: dict[str, Vector] = {}
        for request, answer in answers:
            into = from_queries if request.is_query else from_documents
            for text, row in request.vectors(answer):
                into[text] = unit(row, self.dims)
        return Vectors(from_documents, from_queries)


def batches(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the texts in parts that an embedder is given at once."""
    for start in range(0, len(texts), AT_ONCE):
        yield tuple(texts[start : start + AT_ONCE])


def is_async(call: Callable[[Any], Any]) -> bool:
    """Return whether calling it makes a coroutine, so that the call itself takes no time."""
    from inspect import iscoroutinefunction

    return iscoroutinefunction(call) or iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def finish(answer: Awaitable[Any]) -> Any:
    """Wait for an async embedder in a thread that runs no event loop."""
    import asyncio

    async def wait() -> Any:
        return await answer

    waiting: Coroutine[Any, Any, Any] = wait()
    try:
        return asyncio.run(waiting)
    except RuntimeError as error:
        if asyncio._get_running_loop() is None:
            raise
        waiting.close()
        getattr(answer, "close", lambda: None)()
        raise BlockingError(
            "the embedder is async and this thread's event loop is running; use the async methods of the "
            "store: await store.aput(...), await store.asearch(...)"
        ) from error


def checked_dims(dims: Any) -> int:
    """Return the length of a vector."""
    if isinstance(dims, bool) or not isinstance(dims, int) or not 0 < dims <= 65_536:
        raise ConfigError(f"index['dims'] is {dims!r}; give the length of the embedder's vectors")
    return dims


def checked_embed(embed: Any) -> Any:
    """Return what can embed."""
    if hasattr(embed, "embed_documents") and hasattr(embed, "embed_query"):
        return embed
    if isinstance(embed, str):
        raise ConfigError(
            f"index['embed'] is the name {embed!r}; give the embedder itself, for LangChain "
            f"langchain.embeddings.init_embeddings({embed!r})"
        )
    if not callable(embed):
        raise ConfigError(f"index['embed'] is {embed!r}; give a function of a list of texts, or an Embeddings")
    return embed
