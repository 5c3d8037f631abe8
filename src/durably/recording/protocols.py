"""What is known of the streams of OpenAI's and Anthropic's clients.

An event is recorded as a plain dict, with the name of the protocol it belongs to. Consecutive deltas of one text are recorded
as one event, so that a stored stream is hardly longer than what it says, and still a valid stream. Events of other clients
are recorded as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias, get_args

from ..errors import DecodeError
from ..serde import register

__all__ = ["Event", "MessageChunk", "Teller", "joined", "normal", "read", "rebuilt"]

Event: TypeAlias = tuple[str, Any]
"""The protocol, empty for an unknown one, and the event's data."""

CHAT: Final = "openai.chat"
RESPONSES: Final = "openai.responses"
ANTHROPIC: Final = "anthropic.messages"

EVENTS: Final = {
    CHAT: ("openai.types.chat.chat_completion_chunk", "ChatCompletionChunk"),
    RESPONSES: ("openai.types.responses.response_stream_event", "ResponseStreamEvent"),
    ANTHROPIC: ("anthropic.types.raw_message_stream_event", "RawMessageStreamEvent"),
}
"""Where each protocol's events are declared: one class, or a union told apart by ``type``."""


@register
@dataclass(frozen=True, slots=True)
class MessageChunk:
    """A piece of what a model says, as the stream mode ``messages`` carries it for `durably.record`.

    The names are those of LangChain's chunks, so that one reader can show both.

    Args:
        content: of the answer.
        id: of the message, the same for all its pieces.
        reasoning: of what the model thinks, where it shows that.
        tool_call_chunks: of calls of tools: dicts with ``name``, ``args``, ``id`` and ``index``.
    """

    content: str = ""
    id: str = ""
    reasoning: str = ""
    tool_call_chunks: tuple[dict[str, Any], ...] = ()


# Reading.


def normal(event: Any) -> Any:
    """The event of the protocol in what a client's ``.stream()`` helper yields; None for what it adds of its own."""
    module = type(event).__module__
    if module.startswith("openai.lib.streaming.chat"):
        return event.chunk if event.type == "chunk" else None
    if module.startswith(("openai.lib.streaming.responses", "anthropic.lib.streaming")):
        protocol = RESPONSES if module.startswith("openai") else ANTHROPIC
        declared = _classes(protocol).get(event.type)
        if declared is None:
            return None
        data = event.to_dict(warnings=False)
        return declared.construct(**{name: data[name] for name in declared.model_fields if name in data})
    return event


def read(event: Any) -> Event:
    """An event as it is recorded."""
    module = type(event).__module__
    if module.startswith("openai.types.chat"):
        return CHAT, event.to_dict(warnings=False)
    if module.startswith("openai.types.responses"):
        return RESPONSES, event.to_dict(warnings=False)
    if module.startswith("anthropic.types"):
        return ANTHROPIC, event.to_dict(warnings=False)
    return "", event


def rebuilt(event: Event) -> Any:
    """A recorded event as the client would yield it.

    Raises:
        DecodeError: the client is not installed, or does not know such an event.
    """
    protocol, data = event
    if not protocol:
        return data
    classes = _classes(protocol)
    declared = classes.get(data.get("type", "") if protocol != CHAT else "")
    if declared is None:
        raise DecodeError(f"a recorded event {data.get('type')!r} of {protocol} is unknown here: update the client")
    return declared.construct(**data)


@cache
def _classes(protocol: str) -> dict[str, Any]:
    """The classes of a protocol's events by what their ``type`` says; of a single one, under an empty name."""
    module, name = EVENTS[protocol]
    try:
        declared = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise DecodeError(
            f"a stream of {protocol} was recorded, but its client cannot be used here ({error}): "
            f"pip install --upgrade {protocol.partition('.')[0]}"
        ) from None
    if protocol == CHAT:
        return {"": declared}
    members = get_args(get_args(declared)[0])
    return {word: member for member in members for word in get_args(member.model_fields["type"].annotation)}


# Joining.


def joined(one: Event, other: Event) -> Event | None:
    """Two consecutive events as one; None where they are not two deltas of the same text."""
    if one[0] != other[0] or not one[0]:
        return None
    join = {CHAT: _joined_chunks, RESPONSES: _joined_responses, ANTHROPIC: _joined_blocks}[one[0]]
    try:
        data = join(one[1], other[1])
    except UNUSUAL:
        return None
    return None if data is None else (one[0], data)


UNUSUAL: Final = (KeyError, IndexError, TypeError, AttributeError)
"""What reading an event raises that a server has put together in another way than its protocol says."""

TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")


def _joined_chunks(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    if len(one["choices"]) != 1 or len(other["choices"]) != 1:
        return None
    first, second = one["choices"][0], other["choices"][0]
    same = one.get("id") == other.get("id") and first["index"] == second["index"]
    last = first.get("finish_reason") or second.get("finish_reason") or one.get("usage") or other.get("usage")
    delta = _joined_deltas(first["delta"], second["delta"]) if same and not last else None
    if delta is None:
        return None
    choice = {**first, "delta": delta}
    if second.get("logprobs"):
        choice["logprobs"] = _joined_logprobs(first.get("logprobs"), second["logprobs"])
    return {**one, "choices": [choice]}


def _joined_logprobs(one: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    if not one:
        return other
    return {name: [*(one.get(name) or ()), *(value or ())] if value else one.get(name) for name, value in other.items()}


def _joined_deltas(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """Texts are put together; of tool calls, the arguments of one that has begun before. Anything else is kept apart."""
    said = {name for name, value in other.items() if value is not None}
    begun = {name for name, value in one.items() if value is not None} - {"role"}
    if said == {"tool_calls"} == begun:
        calls, more = one["tool_calls"], other["tool_calls"]
        if len(calls) != 1 or len(more) != 1 or calls[0]["index"] != more[0]["index"] or more[0].get("id"):
            return None
        function = {**calls[0]["function"]}
        function["arguments"] = (function.get("arguments") or "") + (more[0]["function"].get("arguments") or "")
        return {**one, "tool_calls": [{**calls[0], "function": function}]}
    if not said or not said <= set(TEXTS) or not begun <= said:
        return None
    return {**one, **{name: (one.get(name) or "") + other[name] for name in said}}


def _joined_responses(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    apart = {"delta", "sequence_number", "logprobs", "obfuscation"}
    if not isinstance(one.get("delta"), str) or not isinstance(other.get("delta"), str):
        return None
    if any(one.get(name) != other.get(name) for name in (one.keys() | other.keys()) - apart):
        return None
    both = {**one, "delta": one["delta"] + other["delta"], "sequence_number": other["sequence_number"]}
    if "logprobs" in one or "logprobs" in other:
        both["logprobs"] = [*one.get("logprobs", ()), *other.get("logprobs", ())]
    both.pop("obfuscation", None)
    return both


PIECES: Final = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}


def _joined_blocks(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    if one["type"] != "content_block_delta" or other["type"] != "content_block_delta" or one["index"] != other["index"]:
        return None
    first, second = one["delta"], other["delta"]
    piece = PIECES.get(first["type"])
    if piece is None or first["type"] != second["type"] or (first.keys() | second.keys()) != {"type", piece}:
        return None
    return {**one, "delta": {**first, piece: first[piece] + second[piece]}}


# Telling.


class Teller:
    """Makes message chunks of a stream's events."""

    def __init__(self) -> None:
        self._id = ""
        self._model = ""
        self._provider = ""

    def about(self) -> dict[str, Any]:
        """What the stream has said of its model, under LangSmith's names."""
        known = {"ls_provider": self._provider, "ls_model_name": self._model, "ls_model_type": "chat"}
        return {name: value for name, value in known.items() if value}

    def chunk(self, event: Event) -> MessageChunk | None:
        """What an event adds to the message, None where it adds nothing."""
        protocol, data = event
        if not protocol:
            return None
        self._provider = protocol.partition(".")[0]
        tell = {CHAT: self._of_chunk, RESPONSES: self._of_response, ANTHROPIC: self._of_block}[protocol]
        try:
            said = {name: value for name, value in tell(data).items() if value}
        except UNUSUAL:  # it is still read and recorded
            return None
        return MessageChunk(id=self._id, **said) if said else None

    def _named(self, message: Mapping[str, Any]) -> None:
        self._id, self._model = message.get("id") or self._id, message.get("model") or self._model

    def _of_chunk(self, data: dict[str, Any]) -> dict[str, Any]:
        self._named(data)
        delta = data["choices"][0]["delta"] if data["choices"] else {}
        calls = [(call, call.get("function") or {}) for call in delta.get("tool_calls") or ()]
        return {
            "content": delta.get("content"),
            "reasoning": delta.get("reasoning_content") or delta.get("reasoning"),
            "tool_call_chunks": tuple(
                _tool(function.get("name"), function.get("arguments"), call.get("id"), call["index"])
                for call, function in calls
            ),
        }

    def _of_response(self, data: dict[str, Any]) -> dict[str, Any]:
        match data["type"]:
            case "response.created":
                self._named(data["response"])
            case "response.output_text.delta":
                return {"content": data["delta"]}
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return {"reasoning": data["delta"]}
            case "response.output_item.added" if data["item"]["type"] == "function_call":
                item = data["item"]
                return {"tool_call_chunks": (_tool(item["name"], None, item["call_id"], data["output_index"]),)}
            case "response.function_call_arguments.delta":
                return {"tool_call_chunks": (_tool(None, data["delta"], None, data["output_index"]),)}
        return {}

    def _of_block(self, data: dict[str, Any]) -> dict[str, Any]:
        match data:
            case {"type": "message_start", "message": message}:
                self._named(message)
            case {"type": "content_block_start", "content_block": {"type": "tool_use", "name": name, "id": id}}:
                return {"tool_call_chunks": (_tool(name, None, id, data["index"]),)}
            case {"type": "content_block_delta", "delta": {"text": text}}:
                return {"content": text}
            case {"type": "content_block_delta", "delta": {"thinking": text}}:
                return {"reasoning": text}
            case {"type": "content_block_delta", "delta": {"partial_json": text}}:
                return {"tool_call_chunks": (_tool(None, text, None, data["index"]),)}
        return {}


def _tool(name: str | None, args: str | None, id: str | None, index: int) -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}
