"""Exceptions: as values, and as the record of a failed call."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from serde_values import same

from durably.errors import DecodeError, TaskFailed, ThreadBusy
from durably.serde import TypedSerializer, encode_exception, rebuild_exception

serializer = TypedSerializer()


class Custom(Exception):
    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.handle = object()  # has no stored form


class Slotted(ValueError):
    __slots__ = ("extra",)


class Odd(UnicodeDecodeError):
    def __init__(self, why: str) -> None:
        self.why = why


class Two(KeyError, AttributeError):
    pass


def there_and_back(error: BaseException) -> Any:
    record = serializer.loads(serializer.dumps(encode_exception(error)))
    return rebuild_exception(record, "work")


BUILT_IN = [
    Exception(), ValueError("a", 1, (2,)), KeyError("k"), StopIteration(3), EOFError("e"),
    OSError(2, "no"), FileNotFoundError(2, "no", "a", None, "b"), BlockingIOError(11, "later", 5), TimeoutError("slow"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), UnicodeEncodeError("ascii", "é", 0, 1, "bad"),
    SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)), ImportError("x", name="n", path="p"), ModuleNotFoundError("m"),
    NameError("n", name="n"), AttributeError("a", name="b"), ExceptionGroup("g", [ValueError(1), KeyError("a")]),
    BaseExceptionGroup("g", [KeyboardInterrupt()]), ThreadBusy("busy"), sqlite3.OperationalError("locked"), Two("k"),
]  # fmt: skip


@pytest.mark.parametrize("error", BUILT_IN, ids=repr)
def test_errors_come_back_the_same(error: BaseException) -> None:
    for found in (there_and_back(error), serializer.loads(serializer.dumps([error]))[0]):
        assert same(found, error)
        for name in ("errno", "strerror", "filename", "filename2", "name", "path", "value", "code", "lineno", "text"):
            assert getattr(found, name, "none") == getattr(error, name, "none")


def test_attributes_notes_causes_and_groups() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise Custom("outer", code=7) from inner
    except Custom as outer:
        error = outer
    error.add_note("look here")
    found = there_and_back(error)
    assert (type(found), found.args, found.code, found.__notes__) == (Custom, ("outer",), 7, ["look here"])
    assert not hasattr(found, "handle")
    assert repr(found.__cause__) == repr(found.__context__) == "KeyError('inner')"
    assert found.__suppress_context__
    group = there_and_back(ExceptionGroup("all", [error]))
    assert group.exceptions[0].code == 7


def test_slots_and_odd_constructors() -> None:
    error = Slotted("a")
    error.extra = (1,)
    assert there_and_back(error).extra == (1,)
    odd = there_and_back(Odd("because"))
    assert (type(odd), odd.why, odd.args) == (Odd, "because", ("because",))


def test_long_and_circular_chains_end() -> None:
    first = error = ValueError(0)
    for n in range(1, 500):
        error.__context__ = error = ValueError(n)  # type: ignore[assignment]
    error.__cause__ = first
    assert there_and_back(first).args == (0,)


def test_what_cannot_be_rebuilt_becomes_task_failed() -> None:
    def fail() -> None:
        class Gone(Exception):
            pass

        raise Gone("oh", object())

    with pytest.raises(Exception, match="oh") as caught:
        fail()
    found = there_and_back(caught.value)
    assert isinstance(found, TaskFailed)
    assert (found.task, found.type_name.rpartition(".")[2]) == ("work", "Gone")
    assert "oh" in found.message
    assert "in fail" in found.traceback_text


def test_a_class_that_is_not_loaded_becomes_task_failed() -> None:
    record = encode_exception(ValueError("x"))
    record[0] = "elsewhere:Error"
    record[3] = record[3].replace(b"builtins:ValueError", b"builtins:ValueErroz")
    found = rebuild_exception(record, "work")
    assert isinstance(found, TaskFailed)
    assert str(found) == "task 'work' failed with elsewhere.Error: x"
    with pytest.raises(DecodeError, match="is not loaded"):
        serializer.loads(record[3])


@pytest.mark.parametrize(
    "record", [None, 5, [], ["a"], [1, 2, 3, 4], ["a", "b", "c", b"\xc1"], ["a", "b", "c", b"\x01"]]
)
def test_damaged_records_become_task_failed(record: object) -> None:
    assert isinstance(rebuild_exception(record, "work"), TaskFailed)


def test_errors_that_cannot_even_be_printed() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    record = encode_exception(Mute("\ud800", object()))
    assert isinstance(rebuild_exception(serializer.loads(serializer.dumps(record))), TaskFailed)


def test_the_newest_class_of_a_name_is_taken() -> None:
    def make() -> type[Exception]:
        class Local(Exception):
            pass

        return Local

    first, second = make(), make()
    assert type(there_and_back(first("a"))) is second


@pytest.mark.parametrize("signal", [KeyboardInterrupt(), SystemExit(4), GeneratorExit()], ids=repr)
def test_signals_come_back_as_failures(signal: BaseException) -> None:
    """Raised again on replay, what is stored could end the program that reads it."""
    found = there_and_back(signal)
    assert isinstance(found, TaskFailed)
    assert type(signal).__name__ in str(found)
