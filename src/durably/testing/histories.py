"""Recorded runs as plain data: taken from a database, kept beside the tests, and replayed against today's code."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import msgspec

from ..checkpoint.base import BaseCheckpointer, Chunk, RunRow, Transaction
from ..checkpoint.heads import Outcome, encode_row
from ..checkpoint.rows import new_thread
from ..checkpoint.saved import resolved
from ..engine.commit import Committer
from ..engine.ending import Asked
from ..engine.identity import Key
from ..engine.journal import Record, decode_records, encode_records
from ..engine.steps import Steps, adrive, drive
from ..errors import ConfigError, DurablyError, NonDeterminismError, ReplayWarning, Stop
from ..types import Interrupt
from ..workflow import Workflow
from .lives import THREAD, Invoke, StoppingSaver, prepared

if TYPE_CHECKING:
    from ..engine.call import TaskFuture
    from ..engine.recorder import Recorder

__all__ = ["Replay", "aexport_history", "areplay", "export_history", "import_history", "replay"]

Out = TypeVar("Out")

FORMAT: Final = 1
History = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replay:
    """How far today's code came with the recorded calls.

    Args:
        status: how the recorded run stands: ``done``, ``asked``, ``failed`` and so on.
        value: what the workflow returned this time, None where it did not get so far.
        error: what it raised this time.
        questions: what it asked this time, and has no recorded answer.
        new_calls: the calls it came to that are not recorded; they were not made.
    """

    status: str
    value: Any = None
    error: BaseException | None = None
    questions: tuple[Interrupt[Any], ...] = ()
    new_calls: tuple[str, ...] = ()


# Out of a database, and into one.


def export_history(workflow: Workflow[Any, Any], thread_id: str | UUID, *, run_id: str | None = None) -> dict[str, Any]:
    """A recorded run as a dict that ``json.dump`` takes.

    Values are in it as they are stored, so those that are encrypted stay so.

    Args:
        workflow: with the checkpointer that has the run.
        thread_id: the run's thread.
        run_id: the run, by default the thread's latest one; ``workflow.runs(thread_id)`` lists them.

    Raises:
        ConfigError: there is no such run.

    >>> from durably import InMemorySaver, entrypoint
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def greet(name: str) -> str:
    ...     return f"Hello, {name}"
    >>> greet.invoke("Ada", thread_id="1")
    'Hello, Ada'
    >>> history = export_history(greet, "1")
    >>> history["workflow"], history["run"]["status"], history["calls"]
    ('greet', 'done', [])
    """
    return drive(_exported(workflow, str(thread_id), run_id))


async def aexport_history(
    workflow: Workflow[Any, Any], thread_id: str | UUID, *, run_id: str | None = None
) -> dict[str, Any]:
    """As `export_history`, without blocking the running event loop."""
    return await adrive(_exported(workflow, str(thread_id), run_id))


def _exported(workflow: Workflow[Any, Any], thread_id: str, run_id: str | None) -> Steps[dict[str, Any]]:
    storage = workflow._storage()

    def read(transaction: Transaction) -> dict[str, Any]:
        opened = transaction.open(thread_id)
        run = opened.run if run_id is None else transaction.find_run(run_id)
        if opened.thread is None or run is None or run.thread_no != opened.thread.no:
            raise ConfigError(f"thread {thread_id!r} has no run" + (f" {run_id}" if run_id else ""))
        base = transaction.run(run.base_no) if run.base_no else None
        return {
            "format": FORMAT,
            "workflow": run.workflow,
            "thread_id": thread_id,
            "run": _plain(resolved(transaction, run, storage.serde)),
            "previous": None if base is None else _plain(resolved(transaction, base, storage.serde)),
            "calls": [_plain(record) for record in decode_records(transaction.records(run.no))],
        }

    return (yield from Committer.of(storage).perform(read))  # type: ignore[no-any-return]


def import_history(history: History, checkpointer: BaseCheckpointer, *, thread_id: str | None = None) -> str:
    """Put an exported run into a database, where it can be looked at, resumed and forked.

    Args:
        history: what `export_history` returned.
        checkpointer: the database, which must not have the run.
        thread_id: the thread to put it on, by default that of the run; it must be unused.

    Returns:
        The thread's id.

    Raises:
        ConfigError: that is no history, or the thread is used.
    """
    name = thread_id or str(_checked(history)["thread_id"])
    drive(Committer.of(checkpointer).perform(lambda transaction: _put(transaction, history, name)))
    return name


def _put(transaction: Transaction, history: History, thread_id: str, **fields: Any) -> None:
    if transaction.open(thread_id).thread is not None:
        raise ConfigError(f"thread {thread_id!r} is used: name another one with thread_id=")
    thread = transaction.put_thread(new_thread(thread_id))
    base = None
    if history["previous"] is not None:
        base = transaction.put_run(_row(RunRow, history["previous"], no=0, thread_no=thread.no, base_no=0))
    base_no = 0 if base is None else base.no
    row: RunRow = _row(RunRow, history["run"], no=0, thread_no=thread.no, base_no=base_no, **fields)
    run = transaction.put_run(row)
    transaction.append(
        Chunk(thread.no, thread.fence, run.no, encode_records([_row(Record, call) for call in history["calls"]]))
    )
    head_no = run.no if run.status == "done" else base_no
    transaction.put_thread(msgspec.structs.replace(thread, run_no=run.no, head_no=head_no))


def _checked(history: History) -> History:
    if not isinstance(history, Mapping) or history.get("format") != FORMAT:
        raise ConfigError("that is no history of format 1: give what export_history() returned")
    return history


def _plain(row: Any) -> dict[str, Any]:
    """A struct as a dict that JSON can hold."""
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    return {
        name: {"base64": b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def _row(kind: Any, plain: Mapping[str, Any], **fields: Any) -> Any:
    """The struct again; fields of other versions are left out."""
    values = {
        name: b64decode(value["base64"]) if isinstance(value, Mapping) else value
        for name, value in plain.items()
        if name in kind.__struct_fields__
    }
    return kind(**{**values, **fields})


# Against today's code.


def replay(workflow: Workflow[Any, Any], history: History, *, context: Any = None) -> Replay:
    """Run today's code with the calls of a recorded run. Nothing is called and nothing is written.

    Args:
        workflow: today's.
        history: what `export_history` returned; of a run that ended, or of one that is still open.
        context: as for ``invoke``.

    Returns:
        How far it came. A run that is open comes to the end of its records, and to calls that it has still to make.

    Raises:
        NonDeterminismError: today's code makes other calls than the recorded ones, so deploying it would break such runs.

    >>> from durably import InMemorySaver, entrypoint, task
    >>> @task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> @entrypoint(checkpointer=InMemorySaver())
    ... def quadruple(x: int) -> int:
    ...     return double(double(x).result()).result()
    >>> quadruple.invoke(3, thread_id="1")
    12
    >>> history = export_history(quadruple, "1")
    >>> replay(quadruple, history).value
    12
    >>> @entrypoint(name="quadruple")
    ... def changed(x: int) -> int:
    ...     return double(x).result() + double(x + 1).result()
    >>> replay(changed, history)
    Traceback (most recent call last):
    durably.errors.NonDeterminismError: ...
    """
    return drive(_replayed(workflow, history, context))


async def areplay(workflow: Workflow[Any, Any], history: History, *, context: Any = None) -> Replay:
    """As `replay`, on the running event loop."""
    return await adrive(_replayed(workflow, history, context))


class _NotMade(DurablyError):
    """A call that is not recorded would have been made."""


class _Guard:
    """Keeps new calls from being made."""

    def __init__(self) -> None:
        self.calls: list[Key] = []
        self.recorder: Recorder | None = None

    def __call__(self, call: TaskFuture[Any]) -> None:
        if call.function.waits_for_time or not call.function.is_passive:
            self.calls.append(call.key)
            self.recorder = call.run.recorder
            raise Stop(_NotMade(f"{call.describe()} is not recorded"))

    def skipped(self) -> list[str]:
        """The recorded calls that should have come before the new ones."""
        if self.recorder is None:
            return []
        return sorted({str(key) for call in self.calls for key in self.recorder.unclaimed(call.scope)})


def _replayed(workflow: Workflow[Any, Any], history: History, context: Any) -> Steps[Replay]:
    _checked(history)
    if history["workflow"] != workflow.name:
        raise ConfigError(f"the history is of workflow {history['workflow']!r}, and {workflow.name!r} is to replay it")
    own = workflow.checkpointer
    saver = StoppingSaver(serde=None if own is None else own.serde)
    row: RunRow = _row(RunRow, history["run"])
    open_again = {"status": "stopped", "outcome": encode_row(Outcome()), "saved": None, "due": None}
    saver.transact([lambda transaction: _put(transaction, history, THREAD, **open_again)])
    guard = _Guard()
    invocation = prepared(workflow, saver, guard, None, strict=True, context=context)
    found = yield from _outcome(Invoke(invocation), row.status, guard)
    _compare(found, guard)
    return found


def _outcome(invoke: Invoke, status: str, guard: _Guard) -> Steps[Replay]:
    found = Replay(status)
    try:
        value = yield invoke
    except (NonDeterminismError, ReplayWarning):
        raise
    except _NotMade:
        pass
    except Exception as error:
        found = replace(found, error=error)
    else:
        asked = isinstance(value, Asked)
        found = replace(found, questions=value.questions) if asked else replace(found, value=value)
    return replace(found, new_calls=tuple(map(str, guard.calls)))


def _compare(found: Replay, guard: _Guard) -> None:
    skipped, new = guard.skipped(), ", ".join(found.new_calls)
    if skipped:
        raise NonDeterminismError(
            f"today's code makes new calls ({new}) before the recorded ones: {', '.join(skipped)}"
        )
    if found.status == "done" and (new or found.questions):
        what = f"makes calls that are not recorded: {new}" if new else f"asks {found.questions[0].value!r}"
        raise NonDeterminismError(f"the recorded run has ended, and today's code {what}")
