"""What one invocation asks for, checked once at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from ..errors import ConfigError
from ..runtime import RunControl
from ..types import Durability, check_durability

__all__ = ["Options", "merge_configs", "options_from"]

RECURSION_LIMIT: Final = 10_000
GRACE_SECONDS: Final = 5.0


class Options(msgspec.Struct, frozen=True):
    """What one invocation asks for.

    Args:
        config: as the user's code will see it.
        thread_id: the thread, None where none is named.
        durability: when results are to be on disk.
        durable_stream: whether what bodies write to the stream is stored, for those who follow the run.
        inherits: whether no durability was given, so that a further attempt of a run keeps that of the first one.
        max_concurrency: how many bodies may be under way at once, None for any number.
        max_workers: likewise for sync bodies.
        recursion_limit: how deep calls may be nested.
        grace: for how many seconds a failing run waits for the sync tasks it has begun.
        control: asks the run to stop in good order.
        checkpoint_id: the moment of the thread to start from, None for the latest.
        key: the caller's idempotency key, empty where there is none.
    """

    config: Mapping[str, Any]
    thread_id: str | None
    durability: Durability
    max_concurrency: int | None
    max_workers: int | None
    recursion_limit: int
    grace: float
    control: RunControl
    checkpoint_id: str | None = None
    key: str = ""
    durable_stream: bool = False
    inherits: bool = False


def options_from(
    config: Mapping[str, Any],
    *,
    thread_id: str | UUID | None = None,
    durability: str | None = None,
    control: RunControl | None = None,
    max_workers: int | None = None,
    idempotency_key: str | None = None,
    durable_stream: bool = False,
) -> Options:
    """Check and complete a config.

    Raises:
        ConfigError: something in it is not what it has to be.
    """
    config = _with_thread(config, thread_id)
    grace = config.get("grace", GRACE_SECONDS)
    if not isinstance(grace, (int, float)) or not grace >= 0:
        raise ConfigError(f"config['grace'] is {grace!r}: give a number of seconds, zero or more")
    return Options(
        config=config,
        thread_id=_thread_id(config["configurable"].get("thread_id")),
        durability=check_durability(durability),
        max_concurrency=_positive(config, "max_concurrency", None),
        max_workers=max_workers,
        recursion_limit=_positive(config, "recursion_limit", RECURSION_LIMIT) or RECURSION_LIMIT,
        grace=float(grace),
        control=control or RunControl(),
        checkpoint_id=config["configurable"].get("checkpoint_id"),
        key=_key(idempotency_key),
        durable_stream=durable_stream,
        inherits=durability is None,
    )


def _with_thread(config: Mapping[str, Any], thread_id: str | UUID | None) -> dict[str, Any]:
    """A config with all its parts there."""
    configurable = dict(config.get("configurable") or {})
    if thread_id is not None:
        configurable["thread_id"] = thread_id
    return {"tags": [], "metadata": {}, "callbacks": None, **config, "configurable": configurable}


def _thread_id(value: Any) -> str | None:
    if value is None or (type(value) is str and value):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str) and value:
        return str.__str__(value)
    raise ConfigError(f"thread_id is {value!r}: give a string that is not empty, or a UUID")


def _key(key: str | None) -> str:
    if key is None:
        return ""
    if not isinstance(key, str) or not key:
        raise ConfigError(f"idempotency_key={key!r}: give a string that is not empty")
    return key


def _positive(config: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"config[{name!r}] is {value!r}: give a whole number, at least 1")
    return value


KNOWN: Final = frozenset(
    (
        "configurable",
        "tags",
        "metadata",
        "callbacks",
        "run_name",
        "run_id",
        "max_concurrency",
        "recursion_limit",
        "grace",
    )
)


def merge_configs(*configs: Mapping[str, Any] | None) -> dict[str, Any]:
    """One config out of several, later ones winning: tags add up, metadata and configurable are merged key by key.

    Raises:
        ConfigError: one is no mapping, or has a key that none may have.

    >>> merge_configs({"tags": ["a"], "metadata": {"x": 1}}, {"tags": ["b"], "metadata": {"y": 2}})
    {'tags': ['a', 'b'], 'metadata': {'x': 1, 'y': 2}}
    """
    merged: dict[str, Any] = {}
    for config in configs:
        if config is None or (type(config) is dict and not config):
            continue
        _check_config(config)
        for name, value in config.items():
            if name == "tags":
                merged["tags"] = [
                    *merged.get("tags", ()),
                    *(tag for tag in value or () if tag not in merged.get("tags", ())),
                ]
            elif name in ("metadata", "configurable"):
                merged[name] = {**merged.get(name, {}), **(value or {})}
            else:
                merged[name] = value
    return merged


def _check_config(config: Any) -> None:
    if type(config) is not dict and not isinstance(config, Mapping):
        raise ConfigError(
            f"config is {type(config).__name__}, not a dict: pass something like "
            '{"configurable": {"thread_id": "1"}}'
        )
    if not config.keys() <= KNOWN:
        unknown = sorted(str(name) for name in config if name not in KNOWN)
        raise ConfigError(
            f"unknown config entries: {', '.join(unknown)}. Known are {', '.join(sorted(KNOWN))}; "
            "put values of your own under 'configurable' or 'metadata'"
        )
    for name in ("configurable", "metadata"):
        part = config.get(name)
        if part and type(part) is not dict and not isinstance(part, Mapping):
            raise ConfigError(f"config[{name!r}] is {type(config[name]).__name__}: give a dict")
