"""Chat histories: merge new messages into a list, and cut a list that has grown too long.

A message is a LangChain message or a plain dict with ``role`` and ``content``; LangChain is needed only for
the former. Nothing here changes a list or a message it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, overload
from uuid import UUID, uuid5

import msgspec

from ..errors import ConfigError, InvalidUpdateError
from ..serde import register

__all__ = [
    "REMOVE_ALL_MESSAGES",
    "Message",
    "MessagesState",
    "RemoveMessage",
    "add_messages",
    "approximate_tokens",
    "trim_messages",
]

REMOVE_ALL_MESSAGES = "__remove_all__"
"""The id with which a `RemoveMessage` forgets the whole history."""

Message: TypeAlias = Any
"""A LangChain message, or a dict such as ``{"role": "user", "content": "hi", "id": "1"}``."""

Messages: TypeAlias = "Message | Sequence[Message]"
Format: TypeAlias = Literal["langchain-openai"]

NAMESPACE = UUID("c2f3a1de-6d0b-5f6e-9b0a-52d1c3a4e7f1")
"""Of the ids that messages are given."""

OVERHEAD_TOKENS = 4
OTHER_BLOCK_TOKENS = 300
CHARACTERS_PER_TOKEN = 4

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "function": "tool"}


@register
@dataclass(frozen=True, slots=True)
class RemoveMessage:
    """Takes the message with this id out of a history; `REMOVE_ALL_MESSAGES` takes all out.

    LangChain's own ``RemoveMessage`` and ``{"role": "remove", "id": ...}`` do the same.
    """

    id: str


@overload
def add_messages(*, format: Format | None = None) -> Callable[[Messages, Messages], list[Message]]: ...


@overload
def add_messages(left: Messages, right: Messages, *, format: Format | None = None) -> list[Message]: ...


def add_messages(left: Any = None, right: Any = None, *, format: Format | None = None) -> Any:
    """Return the history with new messages added.

    A new message whose id the history has replaces that one in its place; any other is appended; a removal
    takes its message out. Messages may also be given as texts (of the user) or as pairs of role and content.
    As soon as one message is LangChain's, all become LangChain's, and those without an id get one; plain
    dicts stay as they are.

    Args:
        left: the history.
        right: the new messages, or one.
        format: ``"langchain-openai"`` gives every content the form of OpenAI's API.

    Returns:
        A new list; without `left` and `right`, a function of these two.

    Raises:
        InvalidUpdateError: if a removal names a message that is not there, or a message cannot be read.

    >>> history = add_messages([], [{"role": "user", "content": "Hi", "id": "1"}])
    >>> history = add_messages(history, {"role": "assistant", "content": "Hello!", "id": "2"})
    >>> add_messages(history, [{"role": "user", "content": "Hey", "id": "1"}, RemoveMessage("2")])
    [{'role': 'user', 'content': 'Hey', 'id': '1'}]
    """
    if left is None and right is None:
        return partial(add_messages, format=format)
    if left is None or right is None:
        raise InvalidUpdateError("add_messages takes both the history and the new messages, or neither")
    old, new = alike(as_list(left), as_list(right))
    merged = merge(old, new)
    if format is None:
        return merged
    if format != "langchain-openai":
        raise ConfigError(f"the format is {format!r}; there is only 'langchain-openai'")
    langchain = langchain_messages()
    return langchain.convert_to_messages(langchain.convert_to_openai_messages(merged, include_id=True))


class MessagesState(TypedDict):
    """A state whose ``messages`` are merged by `add_messages`."""

    messages: Annotated[list[Message], add_messages]


def as_list(messages: Any) -> list[Any]:
    """Return the messages as a list; a single one may be a text, a dict, a pair or an object."""
    if isinstance(messages, list):
        return list(messages)
    if isinstance(messages, tuple) and not is_pair(messages):
        return list(messages)
    return [messages]


def is_pair(value: tuple[Any, ...]) -> bool:
    """Return whether a tuple is one message written as role and content."""
    return len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (str, list))


def alike(left: list[Any], right: list[Any]) -> tuple[list[Message], list[Message]]:
    """Return both lists as LangChain messages if one of them holds any, as dicts otherwise."""
    if any(is_langchain(message) for message in (*left, *right)):
        named = with_ids([as_langchain(one) for one in (*left, *right)])
        return named[: len(left)], named[len(left) :]
    return [as_dict(one) for one in left], [as_dict(one) for one in right]


def is_langchain(message: Any) -> bool:
    """Return whether the message is an object of LangChain's."""
    return hasattr(message, "content") and hasattr(message, "type") and hasattr(message, "additional_kwargs")


def as_langchain(message: Any) -> Message:
    """Return a message as LangChain's."""
    if isinstance(message, RemoveMessage):
        return message
    langchain = langchain_messages()
    if isinstance(message, langchain.BaseMessageChunk):
        message = langchain.message_chunk_to_message(message)
    elif not is_langchain(message):
        if is_removal(message):
            return message
        try:
            [message] = langchain.convert_to_messages([message])
        except (ValueError, NotImplementedError) as error:
            raise InvalidUpdateError(f"{message!r} is not a message: {error}") from error
    return message


def with_ids(messages: list[Message]) -> list[Message]:
    """Return the messages, each with an id.

    An id is made of the message and its place: a history put together a second time, on replay, is to be the same.
    """
    taken = {id_of(one) for one in messages}
    if None not in taken:
        return messages
    named = list[Message]()
    for place, message in enumerate(messages):
        if id_of(message) is None:
            name = made_id(message, place)
            while name in taken:  # of a message that has moved up since
                place += len(messages)
                name = made_id(message, place)
            taken.add(name)
            message = message.model_copy(update={"id": name})
        named.append(message)
    return named


def made_id(message: Message, place: int) -> str:
    """Return an id for the message at a place of a history."""
    return str(uuid5(NAMESPACE, f"{place}\0{role_of(message)}\0{message.content}"))


def as_dict(message: Any) -> Message:
    """Return a message as a dict with role and content, or a removal as it is."""
    if isinstance(message, (RemoveMessage, dict)):
        if isinstance(message, dict) and not isinstance(message.get("role", message.get("type")), str):
            raise InvalidUpdateError(f"the message {message!r} has no role; give it one, such as 'user'")
        return message
    if isinstance(message, str):
        return {"role": "user", "content": message}
    if isinstance(message, tuple) and is_pair(message):
        return {"role": ROLES.get(message[0], message[0]), "content": message[1]}
    raise InvalidUpdateError(
        f"{message!r} is not a message; give a dict with role and content, a text, or a LangChain message"
    )


def merge(old: list[Message], new: list[Message]) -> list[Message]:
    """Return the old messages with the new ones replaced, appended and removed."""
    starts = [at for at, one in enumerate(new) if is_removal(one) and id_of(one) == REMOVE_ALL_MESSAGES]
    if starts:
        old, new = [], new[starts[-1] + 1 :]
    merged = list(old)
    place = {id_of(one): at for at, one in enumerate(merged) if id_of(one) is not None}
    removed: set[int] = set()
    for message in new:
        name = id_of(message)
        at = place.get(name) if name is not None else None
        if is_removal(message):
            if at is None:
                raise InvalidUpdateError(f"there is no message with the id {name!r} to remove")
            removed.add(at)
        elif at is None:
            if name is not None:
                place[name] = len(merged)
            merged.append(message)
        else:
            removed.discard(at)
            merged[at] = message
    return [message for at, message in enumerate(merged) if at not in removed]


def trim_messages(
    messages: Sequence[Message],
    *,
    max_messages: int | None = None,
    max_tokens: int | None = None,
    count_tokens: Callable[[Message], int] | None = None,
    keep_system: bool = True,
    start_on_user: bool = False,
) -> list[Message]:
    """Return the last messages that fit.

    An answer that calls tools and the results of these calls stay together or go together, since models
    refuse one without the other.

    Args:
        messages: the history.
        max_messages: how many messages to keep at most.
        max_tokens: how many tokens to keep at most.
        count_tokens: how many tokens one message has; left out, it is estimated, see `approximate_tokens`.
        keep_system: keep system messages at the start, and count them first.
        start_on_user: let what follows the system messages begin with a message of the user.

    Raises:
        ConfigError: if a limit is not a whole number from 0.

    >>> history = [{"role": "system", "content": "Be brief."}]
    >>> history += [{"role": "user", "content": str(n)} for n in range(5)]
    >>> [message["content"] for message in trim_messages(history, max_messages=3)]
    ['Be brief.', '3', '4']
    """
    for name, limit in (("max_messages", max_messages), ("max_tokens", max_tokens)):
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise ConfigError(f"{name} is {limit!r}; give a whole number from 0, or None for no limit")
    count = count_tokens or approximate_tokens
    head = leading_system(messages) if keep_system else []
    room = Room(max_messages, max_tokens, count).less(head)
    kept: list[list[Message]] = []
    for block in reversed(list(blocks(messages[len(head) :]))):
        room = room.less(block)
        if room.is_overdrawn:
            break
        kept.append(block)
    tail = [message for block in reversed(kept) for message in block]
    if start_on_user:
        tail = tail[next((at for at, one in enumerate(tail) if role_of(one) == "user"), len(tail)) :]
    return [*head, *tail]


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of the limits."""

    messages: int | None
    tokens: int | None
    count: Callable[[Message], int]

    def less(self, block: Sequence[Message]) -> Room:
        """Return what is left once these messages are in."""
        messages = None if self.messages is None else self.messages - len(block)
        tokens = None if self.tokens is None else self.tokens - sum(map(self.count, block))
        return Room(messages, tokens, self.count)

    @property
    def is_overdrawn(self) -> bool:
        """Whether the last messages did not fit."""
        return any(left is not None and left < 0 for left in (self.messages, self.tokens))


def leading_system(messages: Sequence[Message]) -> list[Message]:
    """Return the system messages with which a history begins."""
    head: list[Message] = []
    for message in messages:
        if role_of(message) not in ("system", "developer"):
            break
        head.append(message)
    return head


def blocks(messages: Iterable[Message]) -> Iterable[list[Message]]:
    """Yield runs of messages that belong together: an answer that calls tools with the results."""
    block: list[Message] = []
    for message in messages:
        if block and role_of(message) != "tool":
            yield block
            block = []
        block.append(message)
    if block:
        yield block


def approximate_tokens(message: Message) -> int:
    """Return about how many tokens a message has: a quarter of its characters, and a few for its frame.

    >>> approximate_tokens({"role": "user", "content": "What is the capital of Latvia?"})
    12
    """
    content = field(message, "content")
    characters, other = measure(content)
    calls = field(message, "tool_calls")
    if calls:
        characters += len(msgspec.json.encode(calls, enc_hook=str))
    return OVERHEAD_TOKENS + -(-characters // CHARACTERS_PER_TOKEN) + other * OTHER_BLOCK_TOKENS


def measure(content: Any) -> tuple[int, int]:
    """Return how many characters a content has, and how many blocks that are no text, such as images."""
    if content is None:
        return 0, 0
    if isinstance(content, str):
        return len(content), 0
    characters = other = 0
    for block in content if isinstance(content, (list, tuple)) else [content]:
        text = block if isinstance(block, str) else block.get("text") if isinstance(block, dict) else None
        characters += len(text) if isinstance(text, str) else 0
        other += not isinstance(text, str)
    return characters, other


def role_of(message: Message) -> str:
    """Return who speaks: user, assistant, system, tool or what else the message says."""
    role = field(message, "role") if isinstance(message, dict) else None
    name = str(role or field(message, "type") or "")
    return ROLES.get(name, name)


def id_of(message: Message) -> str | None:
    """Return the id of a message, None when it has none."""
    found = field(message, "id")
    return None if found is None else str(found)


def is_removal(message: Message) -> bool:
    """Return whether this stands for the removal of a message."""
    return isinstance(message, RemoveMessage) or role_of(message) == "remove"


def field(message: Message, name: str) -> Any:
    """Return a part of a dict or of an object, None when it is not there."""
    return message.get(name) if isinstance(message, dict) else getattr(message, name, None)


def langchain_messages() -> Any:
    """Return LangChain's module of messages."""
    try:
        from langchain_core import messages
    except ImportError as error:
        raise ConfigError("these messages need LangChain: pip install langchain-core") from error
    return messages
