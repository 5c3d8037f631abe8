"""What an encrypting serializer keeps from whoever reads the files."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from durably import CachePolicy, Command, entrypoint, interrupt, task
from durably.cache.sqlite import SqliteCache
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import DecodeError
from durably.serde import EncryptedSerializer
from durably.store.sqlite import SqliteStore

SECRETS = [
    "input-7f",
    "result-7f",
    "question-7f",
    "answer-7f",
    "error-7f",
    "saved-7f",
    "item-7f",
    "cached-7f",
    "returned-7f",
]


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("encrypted", [True, False])
def test_values_are_unreadable_on_disk(tmp_path: Path, encrypted: bool) -> None:
    serde = EncryptedSerializer(keys=secrets.token_bytes(32)) if encrypted else None
    saver = SqliteSaver(tmp_path / "runs.sqlite", serde=serde)
    store = SqliteStore(tmp_path / "store.sqlite", serde=serde)
    cache = SqliteCache(tmp_path / "cache.sqlite")

    @task
    def work(text: str) -> str:
        return "result-7f"

    @task
    def fail(text: str) -> str:
        raise RuntimeError("error-7f")

    @task(cache_policy=CachePolicy())
    def remembered(text: str) -> str:
        return "cached-7f"

    @entrypoint(checkpointer=saver, store=store, cache=cache)
    def run(text: str) -> entrypoint.final[str, str]:
        work(text).result()
        remembered(text).result()
        store.put(("users",), "ada", {"likes": "item-7f"})
        try:
            fail(text).result()
        except RuntimeError:
            pass
        interrupt("question-7f")
        return entrypoint.final(value="returned-7f", save="saved-7f")

    run.invoke("input-7f", thread_id="a", context="context-7f")
    assert run.invoke(Command(resume="answer-7f"), thread_id="a", context="context-7f") == "returned-7f"
    saver.close(), store.close(), cache.close()
    found = [secret for secret in SECRETS if secret.encode() in everything_on_disk(tmp_path)]
    assert found == ([] if encrypted else SECRETS)
    assert b"context-7f" not in everything_on_disk(tmp_path), "a context is never stored"


def test_a_wrong_key_is_a_clear_error(tmp_path: Path) -> None:
    def on(serde: EncryptedSerializer) -> SqliteSaver:
        return SqliteSaver(tmp_path / "runs.sqlite", serde=serde)

    def count_on(saver: SqliteSaver):
        @entrypoint(checkpointer=saver)
        def count(_: int, *, previous: int = 0) -> int:
            return previous + 1

        return count

    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    with on(EncryptedSerializer(keys=old)) as saver:
        assert count_on(saver).invoke(0, thread_id="a") == 1
    with on(EncryptedSerializer(keys=new)) as saver, pytest.raises(DecodeError, match="key"):
        count_on(saver).invoke(0, thread_id="a")
    with on(EncryptedSerializer(keys=[new, old])) as saver:
        assert count_on(saver).invoke(0, thread_id="a") == 2
    with on(EncryptedSerializer(keys=new)) as saver:
        assert count_on(saver).invoke(0, thread_id="a") == 3
