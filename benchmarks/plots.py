"""Cost against size, drawn from a saved result: ``python plots.py RESULTS.json``, an SVG for each scenario.

Started by the harness in an environment of its own, which has matplotlib.
"""

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

COLORS = {"LangGraph": "#d1495b", "DBOS": "#edae49", "durably": "#00798c"}
DASHES = {"sync": "-", "async": "--"}
MARKS = {"none": "o", "memory": "s", "sqlite-normal": "^", "sqlite-full": "v", "postgres": "D"}

Line = tuple[str, str, str]  # system, colour, backend
Points = dict[int, float]


def main(path: Path) -> None:
    saved = json.loads(path.read_text(encoding="utf-8"))
    for scenario, lines in by_scenario(saved["results"]).items():
        target = path.with_name(f"{path.stem}-{scenario}.svg")
        draw(scenario, lines, target)
        print(target)


def by_scenario(results: list[dict[str, Any]]) -> dict[str, dict[Line, Points]]:
    """The median time of each size, for each line of each scenario that was measured at more than one size."""
    found: dict[str, dict[Line, Points]] = defaultdict(lambda: defaultdict(dict))
    for case, line, entry in measured(results):
        found[case["scenario"]][line][case["size"]] = statistics.median(one["seconds"] for one in entry["rounds"])
    several = {scenario for scenario, lines in found.items() if any(len(points) > 1 for points in lines.values())}
    return {scenario: lines for scenario, lines in found.items() if scenario in several}


def measured(results: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Line, dict[str, Any]]]:
    for entry in results:
        case = entry["case"]
        if entry["system"] in COLORS and "size" in case:
            yield case, (entry["system"], case["colour"], case["backend"]), entry


def draw(scenario: str, lines: dict[Line, Points], target: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 5))
    for (system, colour, backend), points in sorted(lines.items()):
        sizes = sorted(points)
        axes.loglog(
            sizes,
            [points[size] for size in sizes],
            color=COLORS[system],
            linestyle=DASHES[colour],
            marker=MARKS.get(backend, "x"),
            label=f"{system}, {colour}, {backend}",
        )
    axes.set(title=scenario.replace("_", " "), xlabel="size", ylabel="seconds, whole work")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(target, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
