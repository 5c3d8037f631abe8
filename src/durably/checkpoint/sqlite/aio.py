"""The name that async programs import: `SqliteSaver` serves them as well."""

from .backend import SqliteSaver

__all__ = ["AsyncSqliteSaver"]

AsyncSqliteSaver = SqliteSaver
