"""One suite for every checkpointer.

A backend is correct when it passes. The suite needs no test framework: a test is a method whose name begins with ``test_``
and which raises `AssertionError`; pytest and unittest both find such methods in a subclass.

>>> from durably.checkpoint.memory import InMemorySaver
>>> class TestMemory(CheckpointerConformance):
...     def make(self):
...         return InMemorySaver()
>>> suite = TestMemory()
>>> suite.test_rows_come_back_as_they_were_put()
>>> suite.test_an_answer_goes_on_without_repeating_tasks()
>>> suite.teardown_method()
"""

from __future__ import annotations

from .contract import TransactionContract
from .due import DueContract
from .retention import RetentionContract
from .runs import RunContract

__all__ = ["CheckpointerConformance"]


class CheckpointerConformance(TransactionContract, DueContract, RetentionContract, RunContract):
    """Derive from it, say how a checkpointer is made, and run the tests.

    ``make()`` returns a new checkpointer on empty storage. Where the storage outlives the object, ``reopen(checkpointer)``
    returns another checkpointer on the same storage, while the first one is still open; by default it returns None and
    the tests that need it are passed over. What either returns is closed after each test.

    A class for a backend with a database on disk:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from durably.checkpoint.sqlite import SqliteSaver
    >>> class TestSqlite(CheckpointerConformance):
    ...     def make(self):
    ...         self.path = Path(tempfile.mkdtemp()) / "runs.db"
    ...         return SqliteSaver(self.path)
    ...     def reopen(self, checkpointer):
    ...         return SqliteSaver(self.path)
    >>> suite = TestSqlite()
    >>> suite.test_what_was_written_outlives_the_object()
    >>> suite.teardown_method()

    With pytest, fixtures reach ``make`` through the class:

        class TestSqlite(CheckpointerConformance):
            @pytest.fixture(autouse=True)
            def place(self, tmp_path):
                self.path = tmp_path / "runs.db"
    """
