"""A proxy before a PostgreSQL server that cuts a connection at a commit, in one of three ways."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

Cut = Literal["lost", "kept", "late"]
"""``lost``: the server never hears of it. ``kept``: it commits, and the client does not hear that. ``late``: the client is
cut off, and the server hears of it only when the test says so."""
MARK = b"durably_commit as c (writer, no) values"
SYNC = b"S\x00\x00\x00\x04"
FLUSH = b"H\x00\x00\x00\x04"
READY = b"Z\x00\x00\x00\x05"
SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Listens on a unix socket for as long as its block lasts.

    Args:
        folder: where to listen.
        server: the folder of the server's socket.
        cut: how a connection is cut.
        at: at which commit, from 1; 0 for none.
        mark: what a request has in it that is counted as a commit.
    """

    def __init__(self, folder: Path, server: Path, cut: Cut = "kept", at: int = 0, mark: bytes = MARK) -> None:
        self.cut, self.at, self.commits = cut, at, 0
        self._mark = mark
        self.conninfo = f"host={folder} user=postgres dbname=postgres"
        self._server = str(server / SOCKET)
        self._lock = threading.Lock()
        self._held: list[tuple[socket.socket, bytes]] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def deliver(self) -> bytes:
        """Let the server hear what was kept from it; returns its answer, which is empty where it has hung up."""
        ((server, data),) = self._held
        with suppress(BrokenPipeError):
            server.sendall(data)
        return answered(server)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        hang_up(self._listener)
        self._threads[0].join()
        for each in self._sockets:
            hang_up(each)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._sockets += [client, server]
            self._threads.append(threading.Thread(target=self._serve, args=(client, server)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # a side may hang up while it is sent something
            self._pass_all(client, server)
        hang_up(client)
        if not any(server is held for held, _ in self._held):
            hang_up(server)

    def _pass_all(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what comes until a side hangs up, or the connection is cut."""
        server.sendall(received(client))  # who wants in
        request = b""
        while True:
            ready = select.select([client, server], [], [])[0]
            if server in ready:
                answer = received(server)
                client.sendall(answer)
                if not answer:
                    return
            if client in ready:
                data = received(client)
                request += data
                # A whole one, so that the server never waits in the middle; a simple query or a goodbye is one.
                is_whole = request.endswith((SYNC, SYNC + FLUSH)) or request.removeprefix(FLUSH)[:1] in (b"Q", b"X")
                if not data or (is_whole and self._cuts(request, server)):
                    return
                if is_whole:
                    server.sendall(request)
                    request = b""

    def _cuts(self, data: bytes, server: socket.socket) -> bool:
        with self._lock:
            self.commits += self._mark in data
            if self._mark not in data or self.commits != self.at:
                return False
        if self.cut == "kept":
            server.sendall(data)
            answered(server)
        elif self.cut == "late":
            self._held.append((server, data))
        return True


def received(source: socket.socket) -> bytes:
    """What has come; empty when the other side has hung up."""
    try:
        return source.recv(1 << 20)
    except OSError:
        return b""


def answered(server: socket.socket) -> bytes:
    """The server's answer up to where it waits for the next request."""
    answer = b""
    while READY not in answer and (data := received(server)):
        answer += data
    return answer


def hang_up(one: socket.socket) -> None:
    """End a connection, and wake whoever waits for it."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
