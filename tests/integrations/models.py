"""LangChain chat models that need no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage

__all__ = ["Named", "silent", "speaking"]


class Named(GenericFakeChatModel):
    """Says of itself what real models say."""

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": "paper", "ls_model_name": "paper-1"}


def speaking(text: str = "hello there") -> Named:
    """A model that says ``text`` word by word, as often as it is asked."""

    def messages() -> Iterator[AIMessage]:
        while True:
            yield AIMessage(text)

    return Named(messages=messages())


def silent(text: str) -> FakeMessagesListChatModel:
    """A model that cannot stream."""
    return FakeMessagesListChatModel(responses=[AIMessage(text)])
