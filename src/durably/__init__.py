"""Ordinary Python functions, made durable: recorded, resumable, able to wait for people.

>>> from durably import InMemorySaver, entrypoint, task
>>> @task
... def double(x: int) -> int:
...     return 2 * x
>>> @entrypoint(checkpointer=InMemorySaver())
... def quadruple(x: int) -> int:
...     return double(double(x).result()).result()
>>> quadruple.invoke(4, thread_id="1")
16
"""

from typing import TYPE_CHECKING

from ._lazy import loader
from .config import get_config, get_store, get_stream_writer
from .func import Task, entrypoint, task
from .instruments import when_imported
from .runtime import Runtime, get_runtime
from .types import CachePolicy, Command, Interrupt, RetryPolicy, TimeoutPolicy, interrupt
from .workflow import Workflow

if TYPE_CHECKING:
    from .checkpoint.memory import InMemorySaver
    from .concurrency import as_completed, branch, in_context, patched, timeout, wait
    from .recording import record
    from .sleeping import sleep, sleep_until
    from .state.handles import RunHandle
    from .worker import Worker

__all__ = [
    "CachePolicy",
    "Command",
    "InMemorySaver",
    "Interrupt",
    "RetryPolicy",
    "RunHandle",
    "Runtime",
    "Task",
    "TimeoutPolicy",
    "Worker",
    "Workflow",
    "as_completed",
    "branch",
    "entrypoint",
    "get_config",
    "get_runtime",
    "get_store",
    "get_stream_writer",
    "in_context",
    "interrupt",
    "patched",
    "record",
    "sleep",
    "sleep_until",
    "task",
    "timeout",
    "wait",
]

# What not every program uses is loaded when it is asked for.
__getattr__ = loader(
    __name__,
    {
        "checkpoint.memory": ("InMemorySaver",),
        "concurrency": ("as_completed", "branch", "in_context", "patched", "timeout", "wait"),
        "recording": ("record",),
        "sleeping": ("sleep", "sleep_until"),
        "state.handles": ("RunHandle",),
        "worker": ("Worker",),
    },
)

_LANGCHAIN = f"{__name__}.integrations.langchain"
when_imported("langchain_core.callbacks.manager", _LANGCHAIN)
when_imported("langchain_core.messages.base", _LANGCHAIN, stream_mode="messages")
