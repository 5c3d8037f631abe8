"""One measurement in a process of its own: ``python worker.py REQUEST``, both request and answer in JSON.

Started by the harness with the Python of one system's environment, so it imports the standard library only.
"""

import asyncio
import contextlib
import gc
import importlib.util
import inspect
import json
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

MOST_REPEATS = 25
WARM_UP = 10  # the size of the run before the measured ones: it loads what is loaded on first use


def main() -> None:
    request = json.loads(sys.argv[1])
    program = load(Path(request["program"]), request["module"])
    name = request["scenario"] if request["colour"] == "sync" else "async_" + request["scenario"]
    build = getattr(program, name)
    with tempfile.TemporaryDirectory(prefix="durably-bench-") as folder:
        path = request["database"] or str(Path(folder) / "bench.sqlite")
        if request["colour"] == "sync":
            answer = in_threads(program, build, request, path)
        else:
            answer = asyncio.run(on_a_loop(program, build, request, path))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def load(path: Path, module: str) -> ModuleType:
    """The program, with the one word ``langgraph`` in its imports replaced by the system's module."""
    source = path.read_text(encoding="utf-8")
    source = re.sub(r"^(\s*(?:from|import) )langgraph\b", rf"\1{module}", source, flags=re.MULTILINE)
    spec = importlib.util.spec_from_loader("program", loader=None)
    assert spec is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules["program"] = program
    exec(compile(source, str(path), "exec"), program.__dict__)
    return program


def in_threads(program: ModuleType, build: Callable[..., Any], request: Any, path: str) -> Any:
    with program.open_saver(request["backend"], path) as saver:
        setting = program.Setting(saver, request["durability"], path)
        build(setting, min(WARM_UP, request["size"]))()
        work, clocks = build(setting, request["size"]), Clocks(request["enough"])
        for _ in clocks:
            with clocks.measuring():
                figures = work()
            clocks.note(figures)
    return clocks.answer()


async def on_a_loop(program: ModuleType, build: Callable[..., Any], request: Any, path: str) -> Any:
    async with program.open_async_saver(request["backend"], path) as saver:
        setting = program.Setting(saver, request["durability"], path)
        await (await built(build(setting, min(WARM_UP, request["size"]))))()
        work, clocks = await built(build(setting, request["size"])), Clocks(request["enough"])
        for _ in clocks:
            with clocks.measuring():
                figures = await work()
            clocks.note(figures)
    return clocks.answer()


async def built(work: Any) -> Callable[[], Any]:
    """The work; making it may have to wait, and is not measured."""
    return await work if inspect.isawaitable(work) else work


class Clocks:
    """Repeats the work until it has run for `enough` seconds, and keeps what it took."""

    def __init__(self, enough: float) -> None:
        self.enough = enough
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.memory_before = peak_memory()
        self.memory = 0
        self.figures: dict[str, list[float]] = {}

    def __iter__(self) -> Iterator[int]:
        yield 1
        while len(self.seconds) < MOST_REPEATS and sum(self.seconds) < self.enough:
            yield len(self.seconds) + 1

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        gc.collect()
        cpu, began = time.process_time(), time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)
        self.cpu.append(time.process_time() - cpu)
        if len(self.seconds) == 1:  # later ones reuse the memory that the first has freed
            self.memory = peak_memory() - self.memory_before

    def note(self, figures: dict[str, float] | None) -> None:
        """Keep what the work itself has counted."""
        for name, figure in (figures or {}).items():
            self.figures.setdefault(name, []).append(figure)

    def answer(self) -> dict[str, Any]:
        return {
            "seconds": statistics.median(self.seconds),
            "cpu_seconds": statistics.median(self.cpu),
            "repeats": len(self.seconds),
            "memory_bytes": self.memory,
            "figures": {name: statistics.median(found) for name, found in self.figures.items()},
        }


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
