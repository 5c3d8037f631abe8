"""What the engine itself says of calls and runs to whoever streams them. Bodies say the rest with their writers.

A workflow's own calls belong to the namespace of its body, and so does its value; that a nested workflow began and ended
is said where it was called, like of any other call.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .ending import Asked

if TYPE_CHECKING:
    from ..types import PregelTask, StateSnapshot
    from .call import TaskFuture
    from .env import Env

__all__ = ["ended", "failed", "found", "returned", "snapshot", "started"]


def started(call: TaskFuture[Any]) -> None:
    """A call began, or is about to get its recorded outcome."""
    env = _where(call)
    if env.taps and not _is_hidden(call) and env.hears("tasks"):
        is_workflow = call.function.is_workflow
        env.emit(
            "tasks",
            {
                "id": call.id,
                "name": call.function.name,
                "input": _input(call),
                "triggers": ("__start__",) if is_workflow else ("__pregel_push",),
            },
        )


def returned(call: TaskFuture[Any], value: Any) -> None:
    """A call made in a body has returned."""
    call.say()
    if _is_hidden(call):
        return
    env, show = _where(call), call.function.display.update
    shown = value if show is None else show(value)
    update = {call.function.name: shown}
    if call.cached:
        update["__metadata__"] = {"cached": True}
    env.emit("updates", update)
    _result(call, result={_result_key(call): shown})
    if call.function.is_workflow and not call.says_values:
        call.env.emit("values", value)


def failed(call: TaskFuture[Any], error: BaseException) -> None:
    """A call has raised, after its retries."""
    if not _is_hidden(call):
        _result(call, error=error)


def ended(root: TaskFuture[Any], value: Any) -> None:
    """A run's own workflow has returned a value, or `Asked`. One that says its values itself has said this one."""
    env = root.env
    root.say()
    if not env.taps:
        return
    if isinstance(value, Asked):
        env.emit("updates", value)
        if value.questions:
            env.emit("values", value)
        if not _is_hidden(root):
            _result(root, interrupts=[asdict(question) for question in value.questions])
        return
    if _is_hidden(root):
        return
    if not root.says_values:
        env.emit("updates", {root.function.name: value})
    _result(root, result={_result_key(root): value})
    if not root.says_values:
        env.emit("values", value)


def found(env: Env, name: str, value: Any) -> None:
    """A workflow was to be run that somebody else has run: here is what became of it."""
    env.emit("updates", value if isinstance(value, Asked) else {name: value})
    env.emit("values", value)


def snapshot(env: Env, state: StateSnapshot) -> None:
    """The run has come to a checkpoint."""
    env.emit(
        "checkpoints",
        {
            "config": state.config,
            "parent_config": state.parent_config,
            "values": state.values,
            "metadata": state.metadata,
            "next": list(state.next),
            "tasks": [_task(task) for task in state.tasks],
        },
    )


def _task(task: PregelTask) -> dict[str, Any]:
    payload: dict[str, Any] = {"id": task.id, "name": task.name}
    if task.error is not None:
        payload["error"] = repr(task.error)
    else:
        payload["interrupts"] = tuple(asdict(question) for question in task.interrupts)
    return {**payload, "state": task.state}


def _is_hidden(call: TaskFuture[Any]) -> bool:
    return call.function.is_passive or call.function.display.hidden


def _input(call: TaskFuture[Any]) -> Any:
    if call.function.display.input is not None:
        return call.function.display.input(*call.args, **call.kwargs)
    return call.args[0] if call.function.is_workflow else (call.args, call.kwargs)


def _where(call: TaskFuture[Any]) -> Env:
    """Where a call is spoken of: in the body that made it."""
    return call.env if call.parent is None else call.parent.env


def _result_key(call: TaskFuture[Any]) -> str:
    return "__end__" if call.function.is_workflow else "__return__"


def _result(
    call: TaskFuture[Any],
    *,
    error: BaseException | None = None,
    result: dict[str, Any] | None = None,
    interrupts: list[dict[str, Any]] | None = None,
) -> None:
    env = _where(call)
    if env.hears("tasks"):
        name = call.function.name
        env.emit(
            "tasks",
            {"id": call.id, "name": name, "error": error, "result": result or {}, "interrupts": interrupts or []},
        )
