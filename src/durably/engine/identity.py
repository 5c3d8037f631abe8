"""How calls are named, so that a resumed run finds the record of each.

A call's key is (scope, name, n): the n-th call of that name in that scope. Scopes are paths. The body of the call
("", "check", 1) has the scope ``check.1``; the second branch started in it has ``check.1~1``; a call made there has a body
``check.1~1/fetch.0``. Names cannot forge a path: the characters it is made of are escaped.
"""

from __future__ import annotations

from hashlib import blake2b

from ..checkpoint.records import Key, escaped, new_run_id, record_place, run_place, unescaped

__all__ = [
    "Key",
    "body_of",
    "body_path",
    "branch_path",
    "call_id",
    "depth_of",
    "namespace_of",
    "new_run_id",
    "record_place",
    "run_place",
]


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


def namespace_of(run_id: str, scope: str, nesting: int) -> tuple[str, ...]:
    """The nested workflows that lead to a scope, each as its name, a colon and its call's id.

    Args:
        run_id: the run.
        scope: the scope.
        nesting: which of the calls on the way are nested workflows: a bit for each, outermost first.

    >>> [part.partition(":")[0] for part in namespace_of("r", "~0/plan.1/fetch%2Fall.0~2/work.3", 0b101)]
    ['plan', 'work']
    """
    parts, above = list[str](), ""
    for segment in scope.split("/") if nesting > 0 else ():
        call, _, _ = segment.partition("~")
        if call:  # a scope may begin with a branch of the run's own body
            if nesting & 1:
                name, _, n = call.rpartition(".")
                key = Key(above, unescaped(name), int(n))
                parts.append(f"{key.name}:{call_id(run_id, key)}")
            nesting >>= 1
        above = f"{above}/{segment}" if above else segment
    return tuple(parts)


def depth_of(scope: str) -> int:
    """How many calls lead to a scope.

    >>> depth_of(""), depth_of("~0"), depth_of("~0/plan.1/fetch.0~2")
    (0, 0, 2)
    """
    return sum(not segment.startswith("~") for segment in scope.split("/")) if scope else 0
