"""The tables, and text as PostgreSQL can hold it."""

from __future__ import annotations

import re
from typing import Final

from ..._schema import Schema
from ...errors import ConfigError

__all__ = ["RUN", "SCHEMA", "THREAD", "columns", "read_text", "text"]

SCHEMA: Final = Schema(
    "checkpointer",
    (
        (
            "create sequence {schema}.durably_number",
            # What changes in a thread or a run is in an index, so a new version of the row needs new entries wherever it is;
            # and where room for versions is kept free, the server gives up a page before it takes away old ones.
            # Text is compared byte by byte: names that differ in anything are different names.
            """create table {schema}.durably_thread (
                no bigint primary key, thread_id text collate "C" not null unique, fence bigint not null,
                run_no bigint not null, head_no bigint not null, owner text collate "C" not null,
                since double precision not null, next_no bigint not null,
                version bigint not null default 0)""",
            """create table {schema}.durably_run (
                no bigint primary key, run_id text collate "C" not null unique, thread_no bigint not null,
                workflow text collate "C" not null, status text collate "C" not null, attempt integer not null,
                created_at double precision not null, updated_at double precision not null,
                parent text collate "C" not null, head bytea not null, input bytea not null, outcome bytea, saved bytea,
                base_no bigint not null, key text collate "C" not null, saved_no bigint not null,
                saved_base bigint not null, due double precision)""",
            "create index durably_run_thread on {schema}.durably_run (thread_no, no)",
            "create unique index durably_run_key on {schema}.durably_run (thread_no, key) where key <> ''",
            "create index durably_run_listed on {schema}.durably_run (workflow, no)",
            """create index durably_run_resting on {schema}.durably_run (workflow, status, no)
                where status not in ('running', 'done')""",
            "create index durably_run_waiting on {schema}.durably_run (thread_no, no) where status = 'pending'",
            "create index durably_run_due on {schema}.durably_run (workflow, due) where due is not null",
            "create index durably_thread_held on {schema}.durably_thread (owner) where owner <> ''",
            """create table {schema}.durably_journal (
                run_no bigint not null, place integer not null, data bytea not null, primary key (run_no, place))""",
            # What is compressed already is not compressed again.
            "alter table {schema}.durably_journal alter data set storage external",
            """create table {schema}.durably_owner (
                owner text collate "C" primary key, host text not null, until double precision not null)""",
            # The last transaction of each writer, so that one whose end was not heard can be looked up.
            """create table {schema}.durably_commit (
                writer text collate "C" primary key, no bigint not null, burnt boolean not null default false,
                at timestamptz not null default now()) with (fillfactor = 50)""",
        ),
        (
            # While a transaction is lent to a task it holds the same token twice, so that nobody else can commit it.
            """create table {schema}.durably_lent (
                token bigint not null,
                constraint durably_the_task_commits unique (token) deferrable initially deferred)""",
        ),
    ),
)

THREAD: Final = {
    "no": "bigint",
    "thread_id": "text",
    "fence": "bigint",
    "run_no": "bigint",
    "head_no": "bigint",
    "owner": "text",
    "since": "double precision",
    "next_no": "bigint",
}
"""The columns of a `ThreadRow`, in its order; likewise of a `RunRow`."""

RUN: Final = {
    "no": "bigint",
    "run_id": "text",
    "thread_no": "bigint",
    "workflow": "text",
    "status": "text",
    "attempt": "bigint",
    "created_at": "double precision",
    "updated_at": "double precision",
    "parent": "text",
    "head": "bytea",
    "input": "bytea",
    "outcome": "bytea",
    "saved": "bytea",
    "base_no": "bigint",
    "key": "text",
    "saved_no": "bigint",
    "saved_base": "bigint",
    "due": "double precision",
}
LONGEST: Final = 2_000  # bytes; what an index can hold, with room for what is beside it
UNREADABLE: Final = re.compile("[\\\\\0\ud800-\udfff]")
ESCAPED: Final = re.compile(r"\\(?:\\|0|u([0-9a-f]{4}))")


def columns(table: dict[str, str], alias: str) -> str:
    """The columns of a table, for a select."""
    return ", ".join(f"{alias}.{name}" for name in table)


def text(value: str, what: str) -> str:
    """A user's name for something as it is stored: zero bytes and lone surrogates are escaped.

    Raises:
        ConfigError: it is too long for an index.
    """
    is_plain = value.isascii() and "\\" not in value and "\0" not in value
    if not is_plain and UNREADABLE.search(value):
        value = UNREADABLE.sub(lambda found: _escape(found[0]), value)
    if len(value) > LONGEST // 4 and len(value.encode()) > LONGEST:
        raise ConfigError(f"the {what} {value[:40]!r}... is longer than {LONGEST} bytes: give it a shorter one")
    return value


def _escape(character: str) -> str:
    return {"\\": "\\\\", "\0": "\\0"}.get(character) or f"\\u{ord(character):04x}"


def read_text(stored: str) -> str:
    """What `text` was given."""
    if "\\" not in stored:
        return stored
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else {"\\\\": "\\"}.get(found[0], "\0"), stored)
