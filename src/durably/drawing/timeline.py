"""A run as a timeline, in SVG: no script, no link, no font of its own; light or dark as its reader prefers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .axis import Axis
from .facts import IDLE, OPEN_STATES, SIGNS, STATES, Call, RunFacts, Span, State
from .folding import Graph, Node
from .text import between, cut, duration, many, printable

__all__ = ["timeline_of"]

WIDTH: Final = 960
LEFT: Final = 300
RIGHT: Final = WIDTH - 150
TOP: Final = 88
ROW: Final = 24
LANE: Final = 8
MOST_LANES: Final = 5
INDENT: Final = 16
LETTER: Final = 6.9
BOLD_LETTER: Final = 8.0
SMALL_LETTER: Final = 5.8
"""About the widths of letters, in pixels."""

NARROWEST: Final = 2.5
OPEN: Final = 16
"""So far an open call is drawn into what is to come."""
CROWDED: Final = 60
"""Where a row has more bars, near ones are drawn as one."""

# State, fill in the light, fill in the dark, and the word in the legend.
COLOURS: Final[dict[State, tuple[str, str, str]]] = {
    "finished": ("#16a34a", "#4ade80", "finished"),
    "failed": ("#dc2626", "#f87171", "failed"),
    "waiting": ("#d97706", "#fbbf24", "waiting for an answer"),
    "answered": ("#7c3aed", "#a78bfa", "answered"),
    "unfinished": ("#71717a", "#a1a1aa", "unfinished"),
    "cached": ("#0891b2", "#22d3ee", "from a cache"),
    "kept": ("#64748b", "#94a3b8", "kept from the forked run"),
}


def _rules(theme: int) -> str:
    ink, soft, line, card = (
        ("#18181b", "#71717a", "#e4e4e7", "#ffffff"),
        ("#fafafa", "#a1a1aa", "#3f3f46", "#18181b"),
    )[theme]
    rules = {
        "card": f"fill:{card};stroke:{line}",
        "ink": f"fill:{ink}",
        "soft": f"fill:{soft}",
        "line": f"stroke:{line}",
    }
    rules |= {"pause": f"fill:{line};fill-opacity:.45"}
    rules |= {state: f"fill:{colours[theme]};color:{colours[theme]}" for state, colours in COLOURS.items()}
    return "".join(f".durably .{name}{{{rule}}}" for name, rule in rules.items())


STYLE: Final = (
    ".durably{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    ".durably .name{font-weight:600}.durably .title{font-size:18px;font-weight:700}"
    ".durably .small{font-size:11px}.durably rect.body{fill-opacity:.25;stroke:currentColor}"
    f"{_rules(0)}@media(prefers-color-scheme:dark){{{_rules(1)}}}"
    ".durably rect.quiet{fill-opacity:.18;stroke:currentColor;stroke-dasharray:4 3}"
)


def timeline_of(facts: RunFacts, graph: Graph) -> str:
    """The text of the picture."""
    work = [(s.began, s.ended) for call in facts.every_call() for s in call.spans if s.state not in IDLE]
    axis = Axis(facts.began, facts.ended, work, LEFT, RIGHT)
    rows = list(_rows(graph, axis))
    bottom = rows[-1].top + rows[-1].height if rows else TOP
    states: list[State] = [state for state in STATES if any(call.state == state for call in facts.every_call())]
    height = bottom + (48 if states else 16)
    size = f'width="{WIDTH}" height="{_n(height)}" viewBox="0 0 {WIDTH} {_n(height)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="durably" role="img" {size}>',
        f"<title>{_escaped(cut(facts.workflow, 80))}</title><style>{STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{_n(height - 1)}" rx="10"/>',
        *_head(facts),
        *_scale(axis, bottom),
        *(part for row in rows for part in row.draw()),
        *_legend(states, height - 20),
        "</svg>",
    ]
    return "\n".join(parts)


# Above the rows.


def _head(facts: RunFacts) -> Iterator[str]:
    title = facts.workflow + (f"({facts.words})" if facts.words else "")
    yield _text(20, 32, cut(title, 44 if facts.note else 80), "ink title")
    count = sum(1 for _ in facts.every_call())
    parts = [
        facts.status,
        f"{facts.attempts} attempts" if facts.attempts > 1 else "",
        f"{count:,} call{'' if count == 1 else 's'}",
        duration(facts.ended - facts.began),
        f"thread {cut(facts.thread_id, 40)}",
        f"run {cut(facts.run_id, 40)}",
    ]
    yield _text(20, 53, " · ".join(filter(None, parts)), "soft")
    if facts.note:
        yield _text(WIDTH - 20, 32, f"✗ {cut(facts.note, 48)}", "failed", "end")


def _scale(axis: Axis, bottom: float) -> Iterator[str]:
    for piece in axis.pieces:
        if piece.is_pause:
            width = piece.right - piece.left
            yield _rect("pause", (piece.left, TOP - 18, width, bottom - TOP + 22))
            if width >= 40:
                middle = (piece.left + piece.right) / 2
                yield _text(middle, TOP - 22, duration(piece.ended - piece.began), "soft small", "middle")
    for place, seconds, after_pause in axis.ticks():
        yield f'<path class="line" d="M{_n(place)} {TOP - 6}V{_n(bottom + 4)}"/>'
        if seconds or not after_pause:
            yield _text(place, TOP - 10, "+" * after_pause + duration(seconds), "soft small", "middle")


def _legend(states: list[State], y: float) -> Iterator[str]:
    x = 20.0
    for state in states:
        yield _rect(_style(state), (x, y - 9, 14, 10))
        word = f"{SIGNS.get(state, '')} {COLOURS[state][2]}".strip()
        yield _text(x + 20, y, word, "soft small")
        x += 44 + SMALL_LETTER * len(word)


# Rows.


@dataclass(slots=True)
class _Bar:
    left: float
    right: float
    state: State
    title: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class _Row:
    node: Node
    depth: int
    lanes: list[list[_Bar]]
    top: float
    height: float

    def draw(self) -> Iterator[str]:
        """Label, bars, time."""
        middle = self.top + self.height / 2
        yield self._label(middle + 4.5)
        thick = 12.0 if len(self.lanes) == 1 else LANE - 2.0
        body = " body" if self.node.body is not None else ""
        y = middle - (len(self.lanes) * LANE) / 2 if len(self.lanes) > 1 else middle - thick / 2
        for lane in self.lanes:
            for bar in lane:
                title = f"{bar.count:,} calls" if bar.count > 1 else bar.title
                yield _rect(_style(bar.state) + body, (bar.left, y, bar.right - bar.left, thick), title)
            y += LANE
        yield _text(WIDTH - 20, middle + 4.5, between(self.node.times()), "soft", "end")

    def _label(self, y: float) -> str:
        x = 20 + self.depth * INDENT
        room = int((LEFT - x - 16) / LETTER)
        node, calls = self.node, self.node.calls
        sign = SIGNS.get(node.state, "")
        most = int(room * LETTER / BOLD_LETTER) - 4
        name = cut(f"{sign} {node.name or 'other calls'}".strip(), most) + many(len(calls))
        words = calls[0].words if len(calls) == 1 else ""
        if node.inside() and node.body is None:
            words = f"{node.inside():,} calls inside"
        left = room - int(len(name) * BOLD_LETTER / LETTER) - 1
        more = f'<tspan class="soft"> {_escaped(cut(words, left))}</tspan>' if words and left > 3 else ""
        colour = node.state if node.state in ("failed", "waiting") else "ink"
        return f'<text x="{x}" y="{_n(y)}"><tspan class="name {colour}">{_escaped(name)}</tspan>{more}</text>'


def _rows(graph: Graph, axis: Axis) -> Iterator[_Row]:
    top = float(TOP)
    for node, depth in graph.walk():
        lanes = _lanes(node, axis)
        height = max(ROW, len(lanes) * LANE + 8)
        yield _Row(node, min(depth, 6), lanes, top, height)
        top += height


def _lanes(node: Node, axis: Axis) -> list[list[_Bar]]:
    """The bars of calls: side by side those that were so, in as many lanes as there may be."""
    spans = sorted(((call, span) for call in node.calls for span in call.spans), key=lambda found: found[1].began)
    crowded = len(spans) > CROWDED
    lanes, busy = list[list[_Bar]](), list[float]()  # until when the calls of each lane were under way
    for call, span in spans:
        free = next((no for no, until in enumerate(busy) if until <= span.began), -1)
        if free < 0 and len(lanes) < MOST_LANES:
            free = len(lanes)
            lanes.append([])
            busy.append(0.0)
        elif free < 0:
            free = busy.index(min(busy))
        _put(_bar(call, span, axis), lanes[free], crowded or span.began < busy[free])
        busy[free] = max(busy[free], span.ended)
    return lanes


def _put(bar: _Bar, lane: list[_Bar], may_join: bool) -> None:
    """Add a bar to a lane; bars so near that they look like one become one."""
    last = lane[-1] if lane else None
    if last is not None and may_join and last.state == bar.state and bar.left < last.right + NARROWEST:
        last.right, last.count = max(last.right, bar.right), last.count + 1
    else:
        lane.append(bar)


def _bar(call: Call, span: Span, axis: Axis) -> _Bar:
    left = min(axis.at(span.began), RIGHT - NARROWEST)
    right = max(axis.at(span.ended), left + NARROWEST)
    return _Bar(
        left, RIGHT + OPEN if span.state in OPEN_STATES and right > RIGHT - 1 else right, span.state, _title(call)
    )


def _title(call: Call) -> str:
    parts = [
        f"{call.name}({call.words})",
        duration(call.seconds),
        f"{call.attempts} attempts" if call.attempts > 1 else "",
        call.note,
    ]
    return cut(" · ".join(filter(None, parts)), 200)


# SVG.


def _text(x: float, y: float, text: str, style: str, anchor: str = "") -> str:
    end = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}"{end}>{_escaped(text)}</text>'


def _style(state: State) -> str:
    return f"{state} quiet" if state in IDLE else state


def _rect(style: str, place: tuple[float, float, float, float], title: str = "") -> str:
    x, y, width, height = map(_n, place)
    rect = f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="2"'
    return f"{rect}><title>{_escaped(title)}</title></rect>" if title else f"{rect}/>"


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _escaped(text: str) -> str:
    text = printable(text)
    for character, code in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, code)
    return text
