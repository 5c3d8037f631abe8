"""How calls are named, so that a resumed run finds the record of each.

A call's key is (scope, name, n): the n-th call of that name in that scope. Scopes are paths. The body of the call
("", "check", 1) has the scope ``check.1``; the second branch started in it has ``check.1~1``; a call made there has a body
``check.1~1/fetch.0``. Names cannot forge a path: the characters it is made of are escaped.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from os import urandom
from typing import NamedTuple

__all__ = ["Key", "body_of", "body_path", "branch_path", "call_id", "new_run_id", "record_place", "run_place"]


class Key(NamedTuple):
    """What identifies a call within its run."""

    scope: str
    name: str
    n: int

    def __str__(self) -> str:
        return body_path(self)


def _escaped(name: str) -> str:
    if "%" in name or "/" in name or "~" in name:
        return name.replace("%", "%25").replace("/", "%2F").replace("~", "%7E")
    return name


def body_path(key: Key) -> str:
    """The scope of a call's body.

    >>> body_path(Key("", "check", 1)), body_path(Key("check.1", "fetch/all", 0))
    ('check.1', 'check.1/fetch%2Fall.0')
    """
    scope, name, n = key
    return f"{scope}/{_escaped(name)}.{n}" if scope else f"{_escaped(name)}.{n}"


def branch_path(scope: str, branch: int | str) -> str:
    """The scope of a branch: numbered by its parent, or named by the program.

    >>> branch_path("check.1", 0), branch_path("", "left")
    ('check.1~0', '~=left')
    """
    return f"{scope}~{branch if isinstance(branch, int) else '=' + _escaped(branch)}"


def body_of(scope: str) -> str:
    """The body that a scope belongs to: the scope without its branches.

    >>> body_of("check.1~0~2"), body_of("check.1~1/fetch.0"), body_of("~3")
    ('check.1', 'check.1~1/fetch.0', '')
    """
    branch = scope.find("~", scope.rfind("/") + 1)
    return scope if branch < 0 else scope[:branch]


def call_id(run_id: str, key: Key) -> str:
    """The idempotency key of a call: 32 hexadecimal digits, the same on every attempt of the run."""
    scope, name, n = key
    return blake2b(f"{run_id}\0{scope}\0{name}\0{n}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def new_run_id() -> str:
    """A new run's name: 32 hexadecimal digits that sort by time, the first fourteen being microseconds."""
    return f"{time.time_ns() // 1000:014x}{urandom(9).hex()}"


def record_place(run_id: str, key: Key) -> bytes:
    """Where the value of a call is stored, for an encrypting serializer to bind it to."""
    return f"{run_id}\0{key.scope}\0{key.name}\0{key.n}".encode("utf-8", "surrogatepass")


def run_place(run_id: str, what: str) -> bytes:
    """Where one of a run's own values is stored, likewise: its input, what it returned, saved or raised."""
    return f"{run_id}\0\0{what}\0".encode()
