"""Threads and runs in one SQLite file, shared by any number of threads and processes of one machine."""

from .backend import SqliteSaver

__all__ = ["SqliteSaver"]
