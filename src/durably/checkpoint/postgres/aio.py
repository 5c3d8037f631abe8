"""The name that async programs import: `PostgresSaver` serves them as well."""

from .backend import PostgresSaver

__all__ = ["AsyncPostgresSaver"]

AsyncPostgresSaver = PostgresSaver
