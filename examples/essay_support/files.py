"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import os
import secrets
from itertools import count
from pathlib import Path


def write_new_file(folder: str, stem: str, text: str) -> Path:
    """Write ``text`` to ``folder/stem.md``, or to ``stem-2.md`` and so on where that holds another text.

    Doing it again writes nothing new, so a task that was killed between writing and recording may run again.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for n in count(1):
        path = Path(folder, f"{stem}.md" if n == 1 else f"{stem}-{n}.md")
        if not path.exists():
            _write_whole(path, text)
            return path
        if path.read_bytes() == text.encode():
            return path
    raise AssertionError("count() never ends")


def _write_whole(path: Path, text: str) -> None:
    half_done = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with half_done.open("xb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    half_done.replace(path)
