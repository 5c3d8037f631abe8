"""Bringing tables up to date: numbered steps, run once, by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .._schema import Schema
from ..errors import NewerSchema
from .sources import driver

if TYPE_CHECKING:
    import psycopg

__all__ = ["Migrations"]

PARTS = "create table if not exists {schema}.durably_parts (part text primary key, version integer not null)"
VERSION = "select version from {schema}.durably_parts where part = %s"
KNOWN = "select to_regclass(%s) is not null"
SET_VERSION = """
    insert into {schema}.durably_parts values ({part}, {version})
    on conflict (part) do update set version = excluded.version"""
LOCK = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"


class Migrations:
    """The steps that lead to a schema's tables.

    Args:
        schema: the tables.
        namespace: the name of the PostgreSQL schema that holds them.
    """

    def __init__(self, schema: Schema, namespace: str) -> None:
        self._schema = schema
        self._namespace = namespace

    def sql(self, statement: str, **literals: Any) -> bytes:
        """A statement with the schema's name in the place of ``{schema}``."""
        sql = driver().sql
        values = {name: sql.Literal(value) for name, value in literals.items()}
        composed = sql.SQL(statement).format(schema=sql.Identifier(self._namespace), **values)
        return composed.as_bytes(None)  # type: ignore[no-any-return]

    def script(self, after: int = 0) -> str:
        """All steps as one SQL script that can be run by hand.

        Args:
            after: leave out the steps up to this version, which has been reached already.
        """
        part, version = self._schema.part, self._schema.version
        lines = [f"-- durably: tables of the {part}, from version {after} to {version}", "begin;"]
        if not after:
            lines.append(self._text("create schema if not exists {schema}"))
        lines += [self._text(PARTS)]
        for number, statements in self._steps(after):
            lines += ["", f"-- version {number}", *map(self._text, statements)]
        lines += ["", self._text(SET_VERSION, part=part, version=version), "commit;"]
        return "\n".join(lines) + "\n"

    def found(self, cursor: psycopg.Cursor[Any]) -> int:
        """The version of the tables that are there, 0 where there are none."""
        table = driver().sql.Identifier(self._namespace, "durably_parts").as_string(None)
        if cursor.execute(KNOWN, (table,)).fetchone() == (False,):
            return 0
        row = cursor.execute(self.sql(VERSION), (self._schema.part,)).fetchone()
        return 0 if row is None else int(row[0])

    def apply(self, cursor: psycopg.Cursor[Any]) -> None:
        """Run the steps that are missing, in the transaction that is open.

        Raises:
            NewerSchema: a newer version of the library made the tables.
        """
        cursor.execute(LOCK, (f"durably {self._namespace}",))  # given back at the end of the transaction
        found = self.found(cursor)
        if found > self._schema.version:
            raise self.newer(found, f"schema {self._namespace!r}")
        if found == self._schema.version:
            return
        # Even "if not exists" asks for the right to create one.
        if cursor.execute("select to_regnamespace(%s) is null", (self._quoted(),)).fetchone() == (True,):
            cursor.execute(self.sql("create schema {schema}"))
        cursor.execute(self.sql(PARTS))
        for _, statements in self._steps(found):
            for statement in statements:
                cursor.execute(self.sql(statement))
        cursor.execute(self.sql(SET_VERSION, part=self._schema.part, version=self._schema.version))

    def newer(self, found: int, where: str) -> NewerSchema:
        """What says that the tables are not for this version of the library."""
        return NewerSchema(
            f"{where} holds a {self._schema.part} of format {found}, this version of durably reads up to "
            f"{self._schema.version}; upgrade durably, or use another schema"
        )

    def _steps(self, after: int) -> Iterator[tuple[int, tuple[str, ...]]]:
        return ((no, step) for no, step in enumerate(self._schema.migrations, 1) if no > after)

    def _quoted(self) -> str:
        return driver().sql.Identifier(self._namespace).as_string(None)  # type: ignore[no-any-return]

    def _text(self, statement: str, **literals: Any) -> str:
        return self.sql(statement, **literals).decode().strip() + ";"
