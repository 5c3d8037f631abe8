"""How calls are named, so that a resumed run finds the record of each.

A call's key is (scope, name, n): the n-th call of that name in that scope. Scopes are paths. The body of the call
("", "check", 1) has the scope ``check.1``; the second branch started in it has ``check.1~1``; a call made there has a body
``check.1~1/fetch.0``. Names cannot forge a path: the characters it is made of are escaped.
"""

from __future__ import annotations

from hashlib import blake2b

from ..checkpoint.records import Key, escaped, new_run_id, record_place, run_place

__all__ = ["Key", "body_of", "body_path", "branch_path", "call_id", "new_run_id", "record_place", "run_place"]


def body_path(key: Key) -> str:
    """The scope of a call's body.

    >>> body_path(Key("", "check", 1)), body_path(Key("check.1", "fetch/all", 0))
    ('check.1', 'check.1/fetch%2Fall.0')
    """
    return str(key)


def branch_path(scope: str, branch: int | str) -> str:
    """The scope of a branch: numbered by its parent, or named by the program.

    >>> branch_path("check.1", 0), branch_path("", "left")
    ('check.1~0', '~=left')
    """
    return f"{scope}~{branch if isinstance(branch, int) else '=' + escaped(branch)}"


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
