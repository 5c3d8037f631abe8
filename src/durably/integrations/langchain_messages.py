"""The stream mode ``messages``, as a callback handler of LangChain's: tokens of chat models, and messages returned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from langchain_core.callbacks.base import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import BaseMessage
from langchain_core.tracers._streaming import _StreamingCallbackHandler

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, GenerationChunk, LLMResult

    from ..instruments import Body

__all__ = ["MessageStream"]

HIDDEN = "nostream"
"""The tag of models whose tokens are not to be shown."""


class MessageStream(BaseCallbackHandler, _StreamingCallbackHandler[Any]):
    """Emits what the chat models called in one body say. That it is a streaming handler is what makes models stream.

    Args:
        body: the body.
        ids: the ids given to messages of this run that have none, by object; each with the object, to keep it alive.
    """

    run_inline = True  # in the order of the tokens, and on the thread that knows the run

    def __init__(self, body: Body, ids: dict[int, tuple[BaseMessage, str]]) -> None:
        self._body = body
        self._ids = ids
        self._models: dict[UUID, dict[str, Any]] = {}

    @staticmethod
    def among(callbacks: BaseCallbackManager, body: Body) -> MessageStream | None:
        """Put one among ``callbacks`` if anybody listens, in place of that of the body around this one."""
        outer = [handler for handler in callbacks.handlers if isinstance(handler, MessageStream)]
        for handler in outer:
            callbacks.remove_handler(handler)
        if not body.listens("messages"):
            return None
        for message in _messages_in(body.input) if not isinstance(body.input, (BaseMessage, list, tuple)) else ():
            if message.id is not None:  # what a body was given is no news when it gives it back
                body.skip("messages", message.id)
        stream = MessageStream(body, outer[0]._ids if outer else {})
        callbacks.add_handler(stream)
        return stream

    def returned(self, result: Any) -> None:
        """Emit the messages in what the body returned; those whose tokens were shown are not shown again."""
        for message in _messages_in(result):
            metadata = {**self._body.config.get("metadata", {}), **self._body.labels}
            self._whole(message, {**metadata, "tags": list(self._body.config.get("tags") or ())})

    def _whole(self, message: BaseMessage, metadata: dict[str, Any]) -> None:
        if message.id is None:  # a copy gets one: being watched does not change what a task returned
            _, given = self._ids.setdefault(id(message), (message, str(uuid4())))
            message = message.model_copy(update={"id": given})
        self._body.emit("messages", (message, metadata), whole=str(message.id))

    # What LangChain calls.

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A model begins."""
        if HIDDEN not in (tags or ()):
            shown = [tag for tag in tags or () if not tag.startswith("seq:step")]
            self._models[run_id] = {**(metadata or {}), "tags": shown}

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """It said something."""
        message = getattr(chunk, "message", None)
        metadata = self._models.get(run_id)
        if message is not None and metadata is not None:
            self._body.emit("messages", (message, metadata), piece_of=message.id or str(run_id))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """It has said everything; one that does not stream says it now."""
        metadata = self._models.pop(run_id, None)
        message = getattr(response.generations[0][0], "message", None) if response.generations else None
        if message is not None and metadata is not None:
            self._whole(message, metadata)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It broke off."""
        self._models.pop(run_id, None)

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """What chains stream is not looked at."""
        return output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Likewise."""
        return output


def _messages_in(result: Any) -> Iterator[BaseMessage]:
    """The messages in a result: itself, its elements, its values and fields, and the elements of these."""
    values: list[Any] = [result]
    if isinstance(result, Mapping):
        values = list(result.values())
    elif not isinstance(result, (BaseMessage, list, tuple)) and hasattr(result, "__dict__"):
        values = list(vars(result).values())
    for value in values:
        for element in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(element, BaseMessage):
                yield element
