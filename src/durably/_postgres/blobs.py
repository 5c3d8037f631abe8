"""Arrays of bytes as parameters. The driver's own way with lists looks at each element several times over."""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from .sources import driver

if TYPE_CHECKING:
    import psycopg

__all__ = ["Blobs", "teach"]

BYTEA: Final = 17
BYTEAS: Final = 1001
# How many dimensions, whether there are nulls, the type of the elements, how many there are, and the first index.
HEAD: Final = Struct("!iiiii")
NULL: Final = b"\xff\xff\xff\xff"


class Blobs(tuple["bytes | None", ...]):
    """Bytes, or nulls, to be sent as one array."""


def teach(connection: psycopg.Connection[Any]) -> None:
    """Have a connection send `Blobs`."""
    if not hasattr(connection, "_durably_blobs"):
        connection._durably_blobs = True  # type: ignore[attr-defined]
        connection.adapters.register_dumper(Blobs, _dumper())


@cache
def _dumper() -> type[Any]:
    psycopg = driver()

    class BlobsDumper(psycopg.adapt.Dumper):  # type: ignore[misc, name-defined]
        format = psycopg.pq.Format.BINARY
        oid = BYTEAS

        def dump(self, obj: Blobs) -> bytes:
            return encoded(obj)

    return BlobsDumper


def encoded(blobs: Blobs) -> bytes:
    """The array as the server reads it in its binary format."""
    if not blobs:
        return HEAD.pack(0, 0, BYTEA, 0, 0)[:12]
    pieces = [HEAD.pack(1, None in blobs, BYTEA, len(blobs), 1)]
    for blob in blobs:
        pieces += (NULL,) if blob is None else (len(blob).to_bytes(4, "big"), blob)
    return b"".join(pieces)
