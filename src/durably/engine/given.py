"""What a body is given: the parameters that the engine fills in, and its runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..runtime import ExecutionInfo, Runtime
from ..types import MISSING
from .function import Injected
from .stream import writer_of

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["given", "runtime_of"]


def given(call: TaskFuture[Any], missing: Sequence[Injected]) -> dict[str, Any]:
    """Values for the parameters that the caller did not give, by their names."""
    values: dict[str, Any] = {}
    previous = call.env.previous
    for parameter in missing:
        if parameter.name == "previous":
            if previous is not MISSING:
                values["previous"] = previous
            elif not parameter.has_default:
                values["previous"] = None
        elif parameter.name == "runtime":
            values["runtime"] = runtime_of(call)
        elif parameter.name == "config":
            values["config"] = dict(call.config)
        elif parameter.name == "store":
            values["store"] = call.env.store
        elif parameter.name == "connection":
            values["connection"] = call.connection
        else:
            values["writer"] = writer_of(call)
    return values


def runtime_of(call: TaskFuture[Any]) -> Runtime[Any]:
    """What a body can know about its run."""
    run = call.run
    info = ExecutionInfo(
        checkpoint_id=run.checkpoint_id,
        checkpoint_ns=call.path,
        task_id=call.id,
        thread_id=run.thread_id,
        run_id=run.run_id,
        node_attempt=call.attempt,
        node_first_attempt_time=call.first_time,
    )
    return Runtime(
        context=call.env.context,
        store=call.env.store,
        stream_writer=writer_of(call),
        heartbeat=call.heartbeat,
        previous=None if call.env.previous is MISSING else call.env.previous,
        execution_info=info,
        control=run.options.control,
    )
