"""A server that speaks the streaming protocols of OpenAI and Anthropic, and counts what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["WORDS", "ModelServer", "serving"]

WORDS = ["Bees ", "hum ", "in ", "June."]


class ModelServer:
    """Answers with `WORDS`, then calls a tool.

    Args:
        url: of the server.
        requests: the path and body of each request.
        break_after: after how many words the next answers break off, one number for each.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.break_after: list[int] = []

    def events(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.requests.append((path, body))
        events = {"/v1/chat/completions": chat, "/v1/responses": responses, "/v1/messages": messages}[path](body)
        if self.break_after:
            return [*events[: self.break_after.pop(0) + 2], {"type": "error", "error": BROKEN[path]}]
        return events


BROKEN: dict[str, Any] = {
    "/v1/chat/completions": {"message": "overloaded", "type": "server_error"},
    "/v1/responses": {"message": "overloaded", "type": "server_error"},
    "/v1/messages": {"type": "overloaded_error", "message": "overloaded"},
}


def chat(body: dict[str, Any]) -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**base, "choices": [choice], **more}

    def tool(arguments: str, **more: Any) -> dict[str, Any]:
        name = {"name": "look_up"} if more else {}
        return chunk({"tool_calls": [{"index": 0, **more, "function": {**name, "arguments": arguments}}]})

    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in WORDS),
        tool("", id="call_1", type="function"),
        tool('{"word": '),
        tool('"bee"}'),
        chunk({}, "tool_calls"),
        {**base, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}},
    ]


def responses(body: dict[str, Any]) -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": "".join(WORDS), "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    call = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look_up", "status": "completed"}
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": "in_progress",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    text = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    arguments = {"item_id": "fc_1", "output_index": 1}
    done = {**call, "arguments": '{"word": "bee"}'}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **text, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **text, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.output_text.done", **text, "text": "".join(WORDS), "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.output_item.added", "output_index": 1, "item": {**call, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", **arguments, "delta": '{"word": '},
        {"type": "response.function_call_arguments.delta", **arguments, "delta": '"bee"}'},
        {
            "type": "response.function_call_arguments.done",
            **arguments,
            "name": "look_up",
            "arguments": '{"word": "bee"}',
        },
        {"type": "response.output_item.done", "output_index": 1, "item": done},
        {"type": "response.completed", "response": {**response, "status": "completed", "output": [message, done]}},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    tool = {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {}}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(delta(0, type="text_delta", text=word) for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        delta(1, type="input_json_delta", partial_json='{"word": '),
        delta(1, type="input_json_delta", partial_json='"bee"}'),
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]


def delta(index: int, **what: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": what}


@contextmanager
def serving() -> Iterator[ModelServer]:
    """The server, for the length of a ``with`` block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in model.events(self.path.partition("?")[0], body):
                named = f"event: {event['type']}\n" if "type" in event else ""
                self.wfile.write(f"{named}data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            if self.path == "/v1/chat/completions":
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model = ModelServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
