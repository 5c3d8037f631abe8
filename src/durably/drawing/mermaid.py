"""Text for Mermaid: flowcharts in which every name is only a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from .text import cut

__all__ = ["Flowchart", "quoted"]

SHAPES: Final = {
    "round": ("(", ")"),
    "box": ("[", "]"),
    "stadium": ("([", "])"),
    "hexagon": ("{{", "}}"),
    "diamond": ("{", "}"),
    "point": ("((", "))"),
}
MOST_OF_A_LINE: Final = 60
SAFE: Final = frozenset(" ,.:!?·'()=+-×…✗⚡↩–")
"""What Mermaid takes as it is in a quoted label, beside letters and digits."""


def quoted(*lines: str) -> str:
    """A label. Nothing in it is read as Mermaid, Markdown or HTML.

    >>> quoted('a "quoted" <b>name</b>', "second line")
    '"a #34;quoted#34; #60;b#62;name#60;#47;b#62;<br/>second line"'
    """
    return '"' + "<br/>".join(_escaped(cut(line, MOST_OF_A_LINE)) for line in lines if line) + '"'


def _escaped(text: str) -> str:
    for formula_or_icon in ("$$", ":fa-"):  # which Mermaid looks for behind the codes, too
        text = text.replace(formula_or_icon, f"{formula_or_icon[0]}\u200b{formula_or_icon[1:]}")
    return "".join(c if c.isalnum() or c in SAFE else f"#{ord(c)};" for c in text)


class Flowchart:
    """Builds the text of a flowchart; ids are the caller's and must be plain words, labels can be anything.

    >>> chart = Flowchart("LR")
    >>> chart.node("a", "write", style="finished")
    >>> with chart.group("g", "checks"):
    ...     chart.node("b", "check", shape="hexagon")
    >>> chart.arrow("a", "g", "twice")
    >>> print(chart.text({"finished": "fill:#dcfce7"}))
    flowchart LR
        a["write"]:::finished
        subgraph g["checks"]
            b{{"check"}}
        end
        a -->|"twice"| g
        classDef finished fill:#dcfce7
    """

    def __init__(self, direction: str = "TD") -> None:
        self._lines = [f"flowchart {direction}"]
        self._indent = "    "
        self._classes: list[str] = []  # of groups: Mermaid wants them behind what they name

    def node(self, name: str, *label: str, shape: str = "box", style: str = "") -> None:
        """Add a node.

        Args:
            name: its id.
            label: the lines it shows.
            shape: ``box``, ``round``, ``stadium``, ``hexagon``, ``diamond`` or ``point``.
            style: the name of a style given to `text`, empty for none.
        """
        before, behind = SHAPES[shape]
        self._add(f"{name}{before}{quoted(*label)}{behind}" + (f":::{style}" if style else ""))

    @contextmanager
    def group(self, name: str, *label: str, style: str = "") -> Iterator[None]:
        """What is added in the block belongs together."""
        self._add(f"subgraph {name}[{quoted(*label)}]")
        outer, self._indent = self._indent, self._indent + "    "
        try:
            yield
        finally:
            self._indent = outer
            self._add("end")
            if style:
                self._classes.append(f"    class {name} {style}")

    def arrow(self, source: str, target: str, label: str = "", *, dotted: bool = False, head: bool = True) -> None:
        """Add an arrow from one node or group to another."""
        line = ("-.->" if head else "-.-") if dotted else ("-->" if head else "---")
        self._add(f"{source} {line}{f'|{quoted(label)}|' if label else ''} {target}")

    def text(self, styles: Mapping[str, str] | None = None) -> str:
        """The whole chart.

        Args:
            styles: what each style name stands for, in Mermaid's words.
        """
        definitions = (f"    classDef {name} {style}" for name, style in (styles or {}).items())
        return "\n".join([*self._lines, *definitions, *self._classes])

    def _add(self, line: str) -> None:
        self._lines.append(self._indent + line)
