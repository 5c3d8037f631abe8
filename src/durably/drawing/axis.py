"""Where moments lie on a timeline. Stretches in which nothing worked take little room, however long they were."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

__all__ = ["Axis", "Piece"]

SHARE_OF_THE_WORK: Final = 0.25
"""A pause is shortened when it took more than this share of the time in which something worked, ..."""

SHORTEST_PAUSE: Final = 0.05
"""... and more than so many seconds."""

PAUSE: Final = 44.0
PAUSES: Final = 0.4
"""So wide is a shortened pause, unless all of them would take more than this share of the width."""

STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
BETWEEN_TICKS: Final = 80.0


class Piece(NamedTuple):
    """A stretch of time that is drawn at one scale: two moments, in seconds since the epoch, and where they lie."""

    began: float
    ended: float
    left: float
    right: float
    is_pause: bool


class Axis:
    """Maps moments to places.

    Args:
        began: the first moment, in seconds since the epoch.
        ended: the last one.
        work: when something worked.
        left: where the first moment lies; likewise ``right``, for the last one.

    >>> axis = Axis(0.0, 1000.0, [(0.0, 5.0), (990.0, 1000.0)], 0.0, 144.0)
    >>> [(piece.left, piece.right) for piece in axis.pieces]
    [(0.0, 33.33...), (33.33..., 77.33...), (77.33..., 144.0)]
    >>> axis.at(1000.0)
    144.0
    """

    def __init__(
        self, began: float, ended: float, work: Iterable[tuple[float, float]], left: float, right: float
    ) -> None:
        ended = ended if ended > began else began + 1e-6
        work = [(max(began, a), min(ended, b)) for a, b in work if a <= ended and b >= began]
        stretches = list(_apart(began, ended, work))
        pauses = sum(is_pause for _, _, is_pause in stretches)
        pause = min(PAUSE, PAUSES * (right - left) / max(1, pauses))
        seconds = sum(b - a for a, b, is_pause in stretches if not is_pause)
        scale = (right - left - pauses * pause) / (seconds or 1.0)
        self.pieces: list[Piece] = []
        for a, b, is_pause in stretches:
            width = pause if is_pause else scale * (b - a)
            self.pieces.append(Piece(a, b, left, left + width, is_pause))
            left += width
        self._starts = [piece.began for piece in self.pieces]
        self._scale = scale

    def at(self, moment: float) -> float:
        """Where a moment lies."""
        began, ended, left, right, _ = self.pieces[max(0, bisect_right(self._starts, moment) - 1)]
        return left + (right - left) * min(1.0, max(0.0, (moment - began) / ((ended - began) or 1.0)))

    def ticks(self) -> Iterator[tuple[float, float, bool]]:
        """Places to mark, each with the seconds since the pause before it, or where there was none, since the beginning."""
        step = _step(BETWEEN_TICKS / self._scale)
        for piece in self.pieces:
            if not piece.is_pause:
                after_pause = piece is not self.pieces[0]
                for no in range(int((piece.ended - piece.began) / step) + 1):
                    yield piece.left + no * step * self._scale, no * step, after_pause


def _apart(began: float, ended: float, work: list[tuple[float, float]]) -> Iterator[tuple[float, float, bool]]:
    """The stretches of time between pauses worth shortening, and those pauses."""
    pauses = list(_pauses(began, ended, work))
    busy = (ended - began) - sum(b - a for a, b in pauses)
    least = max(SHORTEST_PAUSE, SHARE_OF_THE_WORK * busy) if busy > 0 else ended - began
    since = began
    for a, b in pauses:
        if b - a > least:
            if a > since:
                yield since, a, False
            yield a, b, True
            since = b
    if ended > since or since == began:
        yield since, ended, False


def _pauses(began: float, ended: float, work: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """When nothing worked."""
    until = began
    for a, b in sorted(work):
        if a > until:
            yield until, a
        until = max(until, b)
    if ended > until:
        yield until, ended


def _step(least: float) -> float:
    """The smallest round number of seconds that is large enough."""
    if least > 1:
        return next((float(step) for step in STEPS if step >= least), _round(least / 86400) * 86400)
    return _round(least)


def _round(least: float) -> float:
    power = 10.0 ** int(f"{least:e}".partition("e")[2])
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * 0.999)
