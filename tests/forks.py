"""Processes for tests that do not have to import anything: copies of one that has.

Starting a Python and importing the library takes a third of a second of a processor, and some tests start dozens. Here a
*nursery* imports a program once, and each process is a fork of it that runs the program's ``main``. It is as real as any:
it has its own pid, shares nothing with the others, and can be stopped and killed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path


class Fork:
    """A process that runs a program with some arguments; what it prints is kept.

    Args:
        program: a script with a function ``main``, which finds the arguments where a script does.
    """

    returncode: int | None = None

    def __init__(self, program: str | Path, *arguments: str) -> None:
        self._printed, out = os.pipe()
        self._told, telling = os.pipe()
        nursery(Path(program)).ask(arguments, out, telling)
        os.close(out)
        os.close(telling)
        self.pid = int(self._hear())

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it lives."""
        return self.wait() if self.returncode is not None or select.select([self._told], [], [], 0)[0] else None

    def wait(self) -> int:
        """Wait for its end."""
        if self.returncode is None:
            self.returncode = int(self._hear())
            os.close(self._told)
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)

    def output(self, timeout: float) -> str:
        """Wait for its end, for so many seconds at most; what it printed. To be asked once."""
        end, printed = time.monotonic() + timeout, b""
        while select.select([self._printed], [], [], max(0, end - time.monotonic()))[0]:
            if not (part := os.read(self._printed, 65536)):
                os.close(self._printed)
                self.wait()
                return printed.decode()
            printed += part
        raise TimeoutError(f"process {self.pid} has not ended in {timeout} s; it printed {printed!r}")

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _hear(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := os.read(self._told, 1)):
                raise ChildProcessError("the nursery is gone; what it died of is in the output")
            line += byte
        return line


class Nursery:
    """The process that has imported a program, seen from a test."""

    def __init__(self, program: Path) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(program), str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        atexit.register(self.close)

    def ask(self, arguments: tuple[str, ...], *fds: int) -> None:
        """Have it fork."""
        socket.send_fds(self._socket, [json.dumps(arguments).encode() + b"\n"], fds)

    def close(self) -> None:
        """It ends by itself when nobody can ask any more."""
        self._socket.close()
        self._process.wait()


@cache
def nursery(program: Path) -> Nursery:
    """The one of this program."""
    return Nursery(program)


# ----------------------------------------------------------------------------------------- in the nursery


def born(asked: socket.socket) -> list[str]:
    """Fork whenever somebody asks, until nobody can. Returns in the children only, with their arguments."""
    living: dict[int, tuple[int, int]] = {}  # a pipe that ends with the child, to its pid and where to tell its status
    while True:
        for ready in select.select([asked.fileno(), *living], [], [])[0]:
            if ready in living:
                tell_the_end(ready, *living.pop(ready))
                continue
            arguments, out, telling = heard(asked)
            ended, life = os.pipe()
            if not (pid := os.fork()):
                for fd in (asked.detach(), telling, ended, *living, *(fd for _, fd in living.values())):
                    os.close(fd)
                os.dup2(out, 1)
                return arguments
            os.close(out)
            os.close(life)  # now only the child has it
            os.write(telling, b"%d\n" % pid)
            living[ended] = pid, telling


def heard(asked: socket.socket) -> tuple[list[str], int, int]:
    """One request: arguments, where to print, and where to tell pid and status."""
    text, fds, _, _ = socket.recv_fds(asked, 65536, 2)
    if not text:
        sys.exit()
    while not text.endswith(b"\n"):
        text += asked.recv(65536)
    return json.loads(text), fds[0], fds[1]


def tell_the_end(ended: int, pid: int, telling: int) -> None:
    """A child is dead, or dying."""
    _, status = os.waitpid(pid, 0)
    os.write(telling, b"%d\n" % os.waitstatus_to_exitcode(status))
    os.close(telling)
    os.close(ended)


def main() -> None:
    program, asked = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    sys.path.insert(0, str(program.parent))
    module = importlib.import_module(program.stem)
    gc.freeze()
    sys.argv = [str(program), *born(asked)]
    sys.exit(module.main())


if __name__ == "__main__":
    main()
