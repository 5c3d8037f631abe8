"""What is kept of a failed call, and the exception made of it on replay."""

from __future__ import annotations

from typing import Any

from ..errors import EncodeError, GraphBubbleUp, TaskFailed, ValueCodecError
from .exceptions import class_key
from .typed import TypedSerializer

__all__ = ["describe_exception", "encode_exception", "rebuild_exception"]

NEVER_RECORDED = (KeyboardInterrupt, SystemExit, GeneratorExit, GraphBubbleUp)
"""No task fails with these: where they are stored, somebody else wrote them, to end the program or to stop a run."""

_MAX_TRACEBACK = 32_768
_MAX_MESSAGE = 32_768
_serializer = TypedSerializer(max_bytes=4 * 1024 * 1024)


def encode_exception(error: BaseException) -> list[Any]:
    """A plain value that records an exception; never raises.

    Args:
        error: the exception a call ended with.

    Returns:
        ``[class, message, traceback, payload]``, to be stored with a serializer. The payload is None where
        the exception itself cannot be stored.

    Example:
        >>> record = encode_exception(KeyError("no such row"))
        >>> rebuild_exception(record)
        KeyError('no such row')
    """
    payload: bytes | None
    try:
        payload = _serializer.dumps(error)
    except EncodeError:
        payload = None
    return [class_key(type(error)), _storable(_message(error)), _storable(_traceback(error)), payload]


def rebuild_exception(record: Any, task: str = "") -> BaseException:
    """The exception that was recorded, or a `TaskFailed` that stands for it; never raises.

    Args:
        record: what `encode_exception` gave.
        task: the name of the failed task, for `TaskFailed`.
    """
    try:
        name, message, traceback, payload = record
    except (TypeError, ValueError):
        return TaskFailed(task, "unknown", "the record of the failure is damaged")
    if type(payload) is bytes:
        try:
            error = _serializer.loads(payload)
        except ValueCodecError:
            error = None
        if isinstance(error, BaseException) and not isinstance(error, NEVER_RECORDED):
            return error
    return TaskFailed(task, str(name).replace(":", "."), str(message), str(traceback))


def describe_exception(record: Any) -> str:
    """The class and the message of a recorded exception, for people; empty where the record is damaged.

    Args:
        record: what `encode_exception` gave.

    >>> describe_exception(encode_exception(ValueError("no such row")))
    'ValueError: no such row'
    """
    if not (
        isinstance(record, list) and len(record) == 4 and isinstance(record[0], str) and isinstance(record[1], str)
    ):
        return ""
    name, message = record[0].rpartition(":")[2].rpartition(".")[2], record[1]
    return f"{name}: {message}" if message else name


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_MAX_MESSAGE]
    except Exception:
        return "(the exception has no text: its __str__ failed)"


def _traceback(error: BaseException) -> str:
    from traceback import format_exception

    try:
        text = "".join(format_exception(error))
    except Exception:
        return ""
    if len(text) <= _MAX_TRACEBACK:
        return text
    half = _MAX_TRACEBACK // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
