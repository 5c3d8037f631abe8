"""The name that async programs import: `PostgresStore` serves them as well."""

from .backend import PostgresStore

__all__ = ["AsyncPostgresStore"]

AsyncPostgresStore = PostgresStore
