"""Every exception of the library.

The tree, with the built-in types that each error also is::

    DurablyError
    ├── UsageError                      the program asks for something that cannot be
    │   ├── DeclarationError            a decorator was given something it cannot use (ValueError)
    │   │   ├── GeneratorFunctionError  a generator function (NotImplementedError)
    │   │   └── AnnotationError         an annotation that says too little (TypeError)
    │   ├── ConfigError                 a bad argument or config entry of one invocation (ValueError)
    │   │   └── EmptyInputError         ``invoke(None)`` with nothing to resume
    │   ├── OutsideRunError             a call made where no run is under way (RuntimeError)
    │   ├── BlockingError               a blocking wait inside a running event loop (RuntimeError)
    │   ├── TransactionError            what the body of a transactional task cannot do (RuntimeError)
    │   ├── InvalidUpdateError          an update that cannot be applied (ValueError)
    │   └── InvalidAnswerError          an answer that does not fit its question's schema (ValueError)
    ├── ThreadError                     the thread is not in the state the request needs
    │   ├── ThreadBusy                  another run holds the thread (RuntimeError)
    │   ├── WorkflowMismatch            the run belongs to another workflow (ValueError)
    │   ├── Superseded                  another attempt has taken the run over
    │   ├── UnknownInterruptError       no such question is open (ValueError)
    │   ├── AmbiguousAnswerError        a plain answer while several questions are open (ValueError)
    │   └── AlreadyAnswered             the question has another answer already (ValueError)
    ├── ReplayError                     a recorded run and today's code do not fit together
    │   ├── NonDeterminismError         the calls differ from the recorded ones
    │   └── TaskFailed                  a recorded failure whose exception cannot be rebuilt
    ├── ValueCodecError                 a value and its stored form
    │   ├── EncodeError                 the value cannot be stored (TypeError)
    │   └── DecodeError                 the stored bytes cannot be read (ValueError)
    ├── StorageError                    the database
    │   ├── DatabaseLocked              it stayed locked for longer than the time allowed
    │   ├── DatabaseUnavailable         it could not be reached (ConnectionError)
    │   ├── ForeignDatabase             the file is corrupt or not one of ours
    │   └── NewerSchema                 it was written by a newer version of this library
    ├── GraphRecursionError             calls nested deeper, or more steps, than ``recursion_limit`` (RecursionError)
    ├── NodeTimeoutError                a task or workflow ran out of its time (TimeoutError)
    ├── NodeCancelledError              a task or workflow was cancelled from outside
    └── GraphDrained                    the run stopped because a drain was requested

    GraphBubbleUp (BaseException)       what travels through a body to stop it; user code lets it pass
    ├── GraphInterrupt                  a question has been asked
    ├── ParentCommand                   a node of a nested graph commands the graph around it
    └── Stop                            the attempt has to end, for the reason it carries

    ReplayWarning (UserWarning)         as NonDeterminismError, where the workflow goes on
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AlreadyAnswered",
    "AmbiguousAnswerError",
    "AnnotationError",
    "BlockingError",
    "ConfigError",
    "DatabaseLocked",
    "DatabaseUnavailable",
    "DeclarationError",
    "DecodeError",
    "DurablyError",
    "EmptyInputError",
    "EncodeError",
    "ForeignDatabase",
    "GeneratorFunctionError",
    "GraphBubbleUp",
    "GraphDrained",
    "GraphInterrupt",
    "GraphRecursionError",
    "InvalidAnswerError",
    "InvalidUpdateError",
    "NewerSchema",
    "NodeCancelledError",
    "NodeTimeoutError",
    "NonDeterminismError",
    "OutsideRunError",
    "ParentCommand",
    "ReplayError",
    "ReplayWarning",
    "Stop",
    "StorageError",
    "Superseded",
    "TaskFailed",
    "ThreadBusy",
    "ThreadError",
    "TransactionError",
    "UnknownInterruptError",
    "UsageError",
    "ValueCodecError",
    "WorkflowMismatch",
]


class DurablyError(Exception):
    """The base of every error this library raises."""


class UsageError(DurablyError):
    """The program asks for something that cannot be."""


class DeclarationError(UsageError, ValueError):
    """A decorator was given something it cannot use."""


class GeneratorFunctionError(DeclarationError, NotImplementedError):
    """A generator function was marked as an entrypoint or a task."""


class AnnotationError(DeclarationError, TypeError):
    """An annotation says too little, such as ``entrypoint.final[int]``."""


class ConfigError(UsageError, ValueError):
    """An argument or a config entry of one invocation is wrong."""


class EmptyInputError(ConfigError):
    """``invoke(None)`` was asked to resume, and there is nothing to resume."""


class OutsideRunError(UsageError, RuntimeError):
    """A task, question or accessor was used where no run is under way."""


class BlockingError(UsageError, RuntimeError):
    """A blocking wait was made on a thread whose event loop is running."""


class TransactionError(UsageError, RuntimeError):
    """The body of a transactional task tried what it cannot do: make durable calls, or end its transaction."""


class InvalidUpdateError(UsageError, ValueError):
    """An update cannot be applied."""


class InvalidAnswerError(UsageError, ValueError):
    """An answer does not fit the ``response_schema`` of its question, which stays open."""


class ThreadError(DurablyError):
    """The thread is not in the state that the request needs."""


class ThreadBusy(ThreadError, RuntimeError):
    """Another run holds the thread."""


class WorkflowMismatch(ThreadError, ValueError):
    """The run to resume belongs to another workflow."""


class Superseded(ThreadError):
    """Another attempt has taken this run over; this one can write nothing any more."""


class UnknownInterruptError(ThreadError, ValueError):
    """An answer was given to a question that is not open."""


class AmbiguousAnswerError(ThreadError, ValueError):
    """A plain answer was given while several questions are open."""


class AlreadyAnswered(ThreadError, ValueError):
    """The question already has a different answer."""


class ReplayError(DurablyError):
    """A recorded run and the program of today do not fit together."""


class NonDeterminismError(ReplayError):
    """The workflow makes other calls than the recorded ones (``replay="strict"``)."""


class TaskFailed(ReplayError):
    """Stands for a recorded failure whose own exception cannot be rebuilt here.

    Args:
        task: the name of the task that failed.
        type_name: module and qualified name of the original exception's class.
        message: what the original exception said.
        traceback_text: its formatted traceback, may be empty.
    """

    def __init__(self, task: str, type_name: str, message: str, traceback_text: str = "") -> None:
        super().__init__(f"task {task!r} failed with {type_name}: {message}")
        self.task = task
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text


class ValueCodecError(DurablyError):
    """A value and its stored form do not fit together."""


class EncodeError(ValueCodecError, TypeError):
    """A value cannot be stored.

    ``path`` is where in the value the trouble lies, such as ``["rows"][3].owner``; empty for the value itself.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class DecodeError(ValueCodecError, ValueError):
    """Stored bytes cannot be read back."""


class StorageError(DurablyError):
    """The database refused, or is not usable."""


class DatabaseLocked(StorageError):
    """The database stayed locked for longer than the time allowed."""


class DatabaseUnavailable(StorageError, ConnectionError):
    """The database could not be reached, or the connection to it was lost, for longer than the time allowed."""


class ForeignDatabase(StorageError):
    """The file is corrupt, or is not a database of this library."""


class NewerSchema(StorageError):
    """The database was written by a newer version of this library."""


class GraphRecursionError(DurablyError, RecursionError):
    """Calls are nested deeper than ``recursion_limit`` allows."""


class NodeTimeoutError(DurablyError, TimeoutError):
    """A task or workflow ran out of its time."""


class NodeCancelledError(DurablyError):
    """A task or workflow was cancelled from outside."""


class GraphDrained(DurablyError):
    """The run stopped because a drain was requested; it can be resumed."""


class GraphBubbleUp(BaseException):
    """What travels through a body to stop it. Let it pass: a body that swallows it stops all the same."""


class GraphInterrupt(GraphBubbleUp):
    """A question has been asked; ``args[0]`` is the sequence of open `Interrupt` objects."""

    def __init__(self, interrupts: Sequence[Any] = ()) -> None:
        super().__init__(tuple(interrupts))

    @property
    def interrupts(self) -> tuple[Any, ...]:
        """The open questions."""
        questions: tuple[Any, ...] = self.args[0]
        return questions


class ParentCommand(GraphBubbleUp):
    """A node of a nested graph returned ``Command(graph=Command.PARENT)``; ``args[0]`` is the command."""

    def __init__(self, command: Any) -> None:
        super().__init__(command)
        self.command = command


class Stop(GraphBubbleUp):
    """The attempt has to end. Whoever invoked the workflow gets ``reason``."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


class ReplayWarning(UserWarning):
    """The workflow makes other calls than the recorded ones, and goes on."""
