"""Language models: one small client for every endpoint that speaks OpenAI's chat protocol.

The client is `urllib` from the standard library: one request, read line by line, is all that streaming needs,
and the demo has seven packages less to install.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

Messages = list[dict[str, str]]

SILENCE = 120.0
"""Seconds without a sign of life after which a request has failed."""

LONGEST = 6_000
"""Characters after which an answer is long enough, whatever the model thinks."""


class ModelUnavailable(ConnectionError):
    """The endpoint did not answer, broke off, or was overloaded: worth another try."""


class ModelRefused(RuntimeError):
    """The endpoint said no (key, model name, request): trying again does not help."""


class ChatModel(Protocol):
    """What the tasks need of a model."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it on the screen."""

    @property
    @abstractmethod
    def can_plan(self) -> bool:
        """Whether it is large enough to draw up an outline."""

    @abstractmethod
    def stream(self, messages: Messages) -> Iterator[str]:
        """Answer, piece by piece, as it is generated."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible HTTP endpoint.

    Args:
        base_url: up to and including the version, as in ``https://host/v1``.
        name: the model's name there.
        key: sent as a bearer token, if there is one; never shown.
        options: further fields of each request. None by default: endpoints differ in which ones they refuse.
        can_plan: whether it is large enough to draw up an outline.
    """

    base_url: str
    name: str
    key: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    can_plan: bool = True

    def stream(self, messages: Messages) -> Iterator[str]:
        """Answer, piece by piece, as it is generated.

        Raises:
            ModelUnavailable: it did not answer, broke off or was overloaded.
            ModelRefused: it said no.
        """
        length = 0
        try:
            with self._open(messages) as response:
                for piece in _pieces(response):
                    yield piece
                    length += len(piece)
                    if length > LONGEST:
                        return
        except HTTPError as error:
            raise self._explained(error) from error
        except (OSError, HTTPException) as error:
            raise ModelUnavailable(f"{self.base_url} did not answer: {error}") from error

    def _open(self, messages: Messages) -> HTTPResponse:
        body = {"model": self.name, "messages": messages, "stream": True, **self.options}
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = Request(f"{self.base_url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        response: HTTPResponse = _opener(self.base_url).open(request, timeout=SILENCE)
        return response

    def _explained(self, error: HTTPError) -> Exception:
        answer = error.read(2_000).decode("utf-8", "replace").strip()
        said = f"{self.base_url} answered {error.code} {error.reason} for model {self.name!r}"
        what = f"{said}: {answer or 'no reason given'}"
        return ModelUnavailable(what) if error.code in (408, 409, 425, 429) or error.code >= 500 else ModelRefused(what)


def _opener(url: str) -> OpenerDirector:
    """Proxies as the environment says, but never for this machine itself."""
    local = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
    return build_opener(ProxyHandler({})) if local else build_opener()


def _pieces(response: HTTPResponse) -> Iterator[str]:
    """The text in a stream of server-sent events, up to its end mark."""
    for line in response:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise ModelUnavailable(f"the model broke off: {event['error']}")
        for choice in event.get("choices", ()):
            if piece := choice.get("delta", {}).get("content"):
                yield piece
    raise ModelUnavailable("the connection closed before the answer was complete")
