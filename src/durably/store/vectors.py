"""Search by meaning with a numpy scan: one matrix product over all vectors under a namespace prefix."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .rows import Rows, VectorRow

    Vector: TypeAlias = NDArray[np.float32]
    Ids: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]
    Rectangle: TypeAlias = NDArray[np.float32]

__all__ = ["Matrices", "numpy", "unit"]

MATRIX_BYTES = 1024 * 1024 * 1024
"""What the matrices kept between searches take at most; the one just used is always kept."""


def numpy() -> Any:
    """Return the numpy module.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import numpy as np
    except ImportError as error:
        raise ConfigError("search by meaning needs numpy: pip install 'durably[vectors]'") from error
    return np


def unit(vector: Any, dims: int) -> Vector:
    """Return a vector of length one with the same direction; zeros stay zeros.

    Args:
        vector: `dims` numbers.
        dims: how many numbers there must be.

    Raises:
        ConfigError: if the embedder returned anything else.
    """
    np = numpy()
    try:
        row: Any = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the embedder returned something that is no vector: {error}") from error
    if row.shape != (dims,):
        raise ConfigError(f"the embedder returned a vector of shape {row.shape}; index['dims'] is {dims}")
    if not np.isfinite(row).all():
        raise ConfigError("the embedder returned a vector with nan or infinity in it")
    # Scaled first, so that squares of huge or tiny numbers do not overflow or vanish.
    largest = np.abs(row).max()
    if largest > 0:
        row = row / largest
        row = row / np.linalg.norm(row)
    unit_row: Vector = row.astype(np.float32)
    return unit_row


class Matrix:
    """The vectors under one prefix, as they were at one state of the store.

    New rows go into spare room at the end, and rows of deleted vectors stay, marked dead, until there are
    many: a search after a single `put` does not copy everything.
    """

    def __init__(self, dims: int) -> None:
        np = numpy()
        self.dims = dims
        self.changes: tuple[int, int] = (-1, -1)
        self._size = 0
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._items: Ids = np.empty(0, dtype=np.int64)
        self._dead: Flags = np.empty(0, dtype=np.bool_)
        self._rows: Rectangle = np.empty((0, dims), dtype=np.float32)

    @property
    def nbytes(self) -> int:
        """How much memory the rows take."""
        return 4 * self.dims * self._size

    @property
    def last_id(self) -> int:
        """The greatest id among the rows, 0 when there are none."""
        return int(self._ids[self._size - 1]) if self._size else 0

    def ranking(self, query: Vector) -> tuple[Ids, Vector]:
        """Return item ids and similarities, best first; an item with several vectors comes several times."""
        np = numpy()
        scores = self._rows[: self._size] @ query
        scores[self._dead[: self._size]] = -np.inf
        # Newest first among equals: in reversed order the stable sort meets greater ids first.
        order = self._size - 1 - np.argsort(-scores[::-1], kind="stable")
        order = order[: self._size - int(self._dead.sum())]
        return self._items[order], scores[order]

    def append(self, found: Sequence[VectorRow]) -> None:
        """Add rows, whose ids are greater than all before.

        Raises:
            ConfigError: if their vectors are of another length.
        """
        if not found:
            return
        np = numpy()
        joined = b"".join(row[2] for row in found)
        if len(joined) != 4 * self.dims * len(found) or any(len(row[2]) != 4 * self.dims for row in found):
            raise ConfigError(
                f"the store holds vectors of another length than index['dims'] {self.dims}; "
                f"put those items again with the new embedder, or use another namespace or store"
            )
        end = self._size + len(found)
        self._make_room(end)
        self._ids[self._size : end] = [row[0] for row in found]
        self._items[self._size : end] = [row[1] for row in found]
        self._rows[self._size : end] = np.frombuffer(joined, dtype="<f4").reshape(len(found), self.dims)
        self._size = end

    def retain(self, ids: list[int]) -> None:
        """Mark the rows dead whose vectors are no more; take them out when they are a quarter of all."""
        np = numpy()
        present = np.array(ids, dtype=np.int64)
        size = self._size
        self._dead[:size] = ~np.isin(self._ids[:size], present, assume_unique=True, kind="sort")
        if 4 * int(self._dead.sum()) <= size:
            return
        keep = ~self._dead[:size]
        self._ids, self._items = self._ids[:size][keep], self._items[:size][keep]
        self._rows = self._rows[:size][keep]
        self._size = len(self._ids)
        self._dead = np.zeros(self._size, dtype=np.bool_)

    def _make_room(self, size: int) -> None:
        if size <= len(self._ids):
            return
        np = numpy()
        # Spare room costs nothing until it is written to.
        room = size + size // 4 + 16
        for name in ("_ids", "_items", "_dead", "_rows"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), dtype=old.dtype)
            new[: self._size] = old[: self._size]
            setattr(self, name, new)


class Matrices:
    """Keeps the matrices of the prefixes searched last, and brings them up to date instead of loading them
    anew.

    It is used under its store's lock.
    """

    def __init__(self, dims: int) -> None:
        self.dims = dims
        self._kept: OrderedDict[tuple[str, ...], Matrix] = OrderedDict()

    def get(self, prefix: tuple[str, ...], rows: Rows) -> Matrix:
        """Return the matrix of a prefix as of now."""
        changes = rows.changes()
        matrix = self._kept.pop(prefix, None) or Matrix(self.dims)
        if matrix.changes != changes:
            if matrix.changes[1] != changes[1] and matrix.last_id:
                matrix.retain(rows.vector_ids(prefix))
            matrix.append(rows.vectors(prefix, matrix.last_id))
            matrix.changes = changes
        self._kept[prefix] = matrix
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > MATRIX_BYTES:
            self._kept.popitem(last=False)
        return matrix

    def forget(self) -> None:
        """Drop everything, since the store may have gone back to an earlier state."""
        self._kept.clear()
