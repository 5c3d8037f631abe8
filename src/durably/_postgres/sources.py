"""Where connections come from: connections of our own, one that was given, or a pool that was given."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from threading import Lock, RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from ..errors import ConfigError, StorageError

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

__all__ = ["Connections", "Source", "connections", "driver"]

Source: TypeAlias = "str | Connection[Any] | AsyncConnection[Any] | ConnectionPool[Any] | AsyncConnectionPool[Any]"
"""What a database is reached by. Of an async connection or pool only the parameters are used, for connections of our own."""

WANTED: Final = (
    "give a connection string, a psycopg.Connection or a psycopg_pool.ConnectionPool, or the async kind of either"
)
IDLE: Final = 4  # connections that are kept open for the next use
PATIENT: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds; otherwise a server that vanished is waited for for a quarter of an hour
}
"""How our own connections find out that nobody is at the other end, where the connection string does not say."""
LOCKS: Final = "-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""How the server finds that out, so that it lets go of what a vanished client has locked. Poolers do not pass it on."""


@cache
def driver() -> ModuleType:
    """The library that speaks to the server.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        raise ConfigError(
            f"PostgreSQL needs psycopg: pip install 'durably[postgres]' 'psycopg[binary]' ({error})"
        ) from error
    return psycopg


class Connections(Protocol):
    """Lends connections in autocommit mode."""

    name: str
    """What errors call the database."""

    def take(self) -> Connection[Any]:
        """A connection that nobody else uses."""
        ...

    def conninfo(self) -> str:
        """How to open one more, to the same place."""
        ...

    def give(self, connection: Connection[Any], *, lost: bool) -> None:
        """Take it back; one that is ``lost`` is not used again."""
        ...

    def close(self) -> None:
        """Close what is our own."""
        ...


def connections(source: Any, prepare_threshold: int | None) -> Connections:
    """What lends the connections of a source.

    Raises:
        ConfigError: `source` is none, or psycopg is not installed.
    """
    psycopg = driver()
    if isinstance(source, str):
        return Own(lambda: source, prepare_threshold)
    if isinstance(source, psycopg.Connection):
        return Given(source)
    if isinstance(source, psycopg.AsyncConnection):
        return Own(parameters_of(source), prepare_threshold)
    kinds = {kind.__name__ for kind in type(source).__mro__ if kind.__module__.partition(".")[0] == "psycopg_pool"}
    if "ConnectionPool" in kinds:
        return Pooled(source)
    if "AsyncConnectionPool" in kinds:
        return Own(conninfo_of(source), prepare_threshold)
    raise ConfigError(f"a PostgreSQL database cannot be reached by {source!r}: {WANTED}")


def parameters_of(connection: Any) -> Callable[[], str]:
    """The connection string of an open connection."""
    parameters = connection.info.get_parameters()
    if connection.info.password:
        parameters["password"] = connection.info.password
    conninfo: str = driver().conninfo.make_conninfo(**parameters)
    return lambda: conninfo


def conninfo_of(pool: Any) -> Callable[[], str]:
    """The connection string of a pool, asked for anew each time: passwords may change."""
    make = driver().conninfo.make_conninfo
    parameters = driver().pq.Conninfo.get_defaults()
    known = {parameter.keyword.decode() for parameter in parameters}

    def conninfo() -> str:
        text = pool.conninfo() if callable(pool.conninfo) else pool.conninfo
        given = pool.kwargs() if callable(pool.kwargs) else pool.kwargs or {}
        if not (isinstance(text, str) and isinstance(given, dict)):
            raise ConfigError(
                "the pool makes its connection string with a coroutine: give the connection string itself"
            )
        return str(make(text, **{name: value for name, value in given.items() if name in known}))

    return conninfo


def patient(conninfo: str, prepare_threshold: int | None) -> dict[str, Any]:
    """The parameters of a connection of our own.

    Raises:
        ConfigError: the connection string cannot be read.
    """
    psycopg = driver()
    server_side = {} if prepare_threshold is None else {"options": LOCKS}
    try:
        return {**PATIENT, **server_side, **psycopg.conninfo.conninfo_to_dict(conninfo)}
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"the connection string cannot be read: {error}") from None


class Own:
    """Opens connections as they are needed, and keeps a few for the next use.

    Args:
        conninfo: says how to connect.
        prepare_threshold: after how many uses a statement is prepared on the server, None for never.
    """

    def __init__(self, conninfo: Callable[[], str], prepare_threshold: int | None) -> None:
        self.conninfo = conninfo
        self._prepare_threshold = prepare_threshold
        self._idle: list[Connection[Any]] = []
        self._lock = Lock()
        self._pid = os.getpid()
        self._inherited: list[Connection[Any]] = []
        self._closed = False
        self.name = "PostgreSQL"

    def take(self) -> Connection[Any]:
        with self._lock:
            self._check()
            if self._idle:
                return self._idle.pop()
        parameters = patient(self.conninfo(), self._prepare_threshold)
        self.name = f"database {parameters.get('dbname', '')!r} on {parameters.get('host', 'this machine')}"
        return driver().Connection.connect(  # type: ignore[no-any-return]
            **parameters, autocommit=True, prepare_threshold=self._prepare_threshold
        )

    def give(self, connection: Connection[Any], *, lost: bool) -> None:
        with self._lock:
            keep = not (lost or self._closed) and self._pid == os.getpid() and len(self._idle) < IDLE
            # When the server went away, it went away for the others too.
            dropped = [] if not lost else self._drain()
            if keep:
                self._idle.append(connection)
            else:
                dropped.append(connection)
        for one in dropped:
            one.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = self._drain() if self._pid == os.getpid() else []
        for connection in idle:
            connection.close()

    def _drain(self) -> list[Connection[Any]]:
        idle, self._idle = self._idle, []
        return idle

    def _check(self) -> None:
        if self._closed:
            raise StorageError("this object has been closed: make a new one")
        if self._pid != os.getpid():  # they are the parent's, who would hear a goodbye; so they are kept unused
            self._pid = os.getpid()
            self._inherited += self._drain()

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            self.close()


class Given:
    """One connection for all, whose owner closes it. It works in autocommit mode from now on."""

    def __init__(self, connection: Connection[Any]) -> None:
        status = driver().pq.TransactionStatus
        if connection.info.transaction_status not in (status.IDLE, status.UNKNOWN):
            raise ConfigError("the given connection is in the middle of a transaction: commit or roll it back first")
        self._connection = connection
        self._lock = RLock()
        self.name = f"database {connection.info.dbname!r} of the given connection"

    def conninfo(self) -> str:
        self._check()
        return parameters_of(self._connection)()

    def _check(self) -> None:
        if self._connection.closed:
            raise StorageError(
                "the given connection is closed: give an open one, or a connection string or a pool instead"
            )

    def take(self) -> Connection[Any]:
        self._check()
        self._lock.acquire()
        try:
            if not self._connection.autocommit:
                self._connection.autocommit = True
        except BaseException:
            self._lock.release()
            raise
        return self._connection

    def give(self, connection: Connection[Any], *, lost: bool) -> None:
        self._lock.release()

    def close(self) -> None:
        return


class Pooled:
    """A pool's connections, which go back as they came."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.conninfo = conninfo_of(pool)
        self.name = f"database of pool {pool.name!r}"

    def take(self) -> Connection[Any]:
        connection: Connection[Any] = self._pool.getconn()
        if not connection.autocommit:
            connection.autocommit = True
            connection._durably_autocommit = False  # type: ignore[attr-defined]
        return connection

    def give(self, connection: Connection[Any], *, lost: bool) -> None:
        if not connection.closed and getattr(connection, "_durably_autocommit", True) is False:
            connection.autocommit = False
            del connection._durably_autocommit  # type: ignore[attr-defined]
        if lost:
            connection.close()
        self._pool.putconn(connection)

    def close(self) -> None:
        return
