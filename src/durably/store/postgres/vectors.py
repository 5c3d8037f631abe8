"""The tables for vectors: made by whoever sets a store up, and looked at by whoever uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._postgres import Database
from ..._postgres.migrations import Migrations
from ..._postgres.sources import driver
from ...errors import ConfigError, StorageError
from .tables import vectors

if TYPE_CHECKING:
    import psycopg

__all__ = ["VectorTables"]

EXTENSION = "create extension if not exists vector"
ONE_AT_A_TIME = "select pg_advisory_xact_lock(hashtextextended('durably extension vector', 0))"
VERSION = "select extversion from pg_extension where extname = 'vector'"
LENGTH = "select atttypmod from pg_attribute where attrelid = to_regclass(%s) and attname = 'vector'"
OLDEST = (0, 8)  # the first that goes on along the index until enough satisfy the filter


class VectorTables:
    """The tables for vectors of one length, in one schema.

    Args:
        dims: how many numbers a vector has.
        namespace: the name of the PostgreSQL schema.

    Raises:
        ConfigError: pgvector has no vectors as long.
    """

    def __init__(self, dims: int, namespace: str) -> None:
        self._dims = dims
        self._namespace = namespace
        self._migrations = Migrations(vectors(dims), namespace)
        self._is_checked = False

    def script(self) -> str:
        """What `setup` does, as an SQL script."""
        return f"\n{EXTENSION};\n{self._migrations.script()}"

    def setup(self, database: Database) -> None:
        """Create the extension and the tables, where they are not there yet."""
        with database.connection() as connection:
            cursor = database.cursor(connection)
            connection.execute(b"begin")
            cursor.execute(ONE_AT_A_TIME)
            if cursor.execute(VERSION).fetchone() is None:
                self._create_extension(cursor)
            self._migrations.apply(cursor)
            self._look(cursor)
            connection.execute(b"commit")
        self._is_checked = True

    def check(self, database: Database) -> None:
        """Look, once, whether the tables are there, and are for vectors of this length.

        Raises:
            ConfigError: they are for vectors of another length, or pgvector is too old.
            StorageError: they are not there.
        """
        if not self._is_checked:
            with database.connection() as connection:
                self._look(database.cursor(connection))
            self._is_checked = True

    def _create_extension(self, cursor: psycopg.Cursor[Any]) -> None:
        psycopg = driver()
        try:
            cursor.execute(EXTENSION)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported) as error:
            raise ConfigError(
                f"an index needs pgvector, which this role could not add to the database ({str(error).strip()}): have an "
                f"administrator install it and run: {EXTENSION}"
            ) from error

    def _look(self, cursor: psycopg.Cursor[Any]) -> None:
        table = driver().sql.Identifier(self._namespace, "durably_store_vectors").as_string(None)
        length = cursor.execute(LENGTH, (table,)).fetchone()
        if length is None:
            raise StorageError(
                f"schema {self._namespace!r} has no tables for vectors: call setup() once on a store that is made with index="
            )
        if length[0] != self._dims:
            raise ConfigError(
                f"schema {self._namespace!r} holds vectors of another length, {length[0]}, than index['dims'] {self._dims}; "
                "use another schema for the new embedder"
            )
        found = cursor.execute(VERSION).fetchone()
        version = str(found[0]) if found else "?"
        if version.replace(".", "").isdigit() and tuple(map(int, version.split("."))) < OLDEST:
            raise ConfigError(f"pgvector {version} is too old: update the extension to 0.8 or later")
