"""What really happened, in a file that nobody reads before the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


class Ledger:
    """Lines that many processes append, each whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, *words: object) -> None:
        """Append a line; it is in the file before this returns, so that it outlives the process."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, (" ".join(map(str, words)) + "\n").encode())
        os.close(file)

    def read(self) -> list[list[str]]:
        """All lines, split into words."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []


def judgement(head: str, broken: list[str]) -> str:
    """What happened, and which rules were broken."""
    return "\n".join([head, *broken[:20], f"{len(broken)} breaches" if broken else "every rule holds"])


@dataclass
class Verdict:
    """What happened, and which rules were broken."""

    seed: int
    kills: int = 0
    pauses: int = 0
    restarts: int = 0
    fenced: int = 0
    runs: int = 0
    calls: int = 0
    repeated: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        stops = f"{self.kills} kills, {self.pauses} pauses, {self.restarts} restarts of the server"
        counts = f"{self.seconds:.0f} s, {stops}, {self.runs} runs, {self.calls} calls"
        head = f"seed {self.seed}: {counts}, {self.repeated} begun again, {self.fenced} attempts fenced off"
        return judgement(head, self.broken)


def broken_calls(lines: list[list[str]], sync: set[str], verdict: Verdict) -> Iterator[str]:
    """Whatever was begun again was under way, or not yet written, in a process that was killed or paused.

    A process may be paused while it holds SQLite's write lock, and a server may be down. Then nobody can renew a lease, so
    that whatever was under way from then until things were calm again may have been taken over. Who wakes after a pause goes
    on where it stood, and learns that it has been fenced off when it records what it has begun.
    """
    away = {words[1] for words in lines if words[0] in ("kill", "pause")}
    begun: dict[str, tuple[str, int]] = {}  # in which process each call was begun last, and in which calm
    seen, again = set[str](), set[str]()
    calms, stormy = 0, False
    for word, name, *rest in lines:
        if word == "begin":
            if name in seen and name in sync and not (stormy and rest[0] in away):
                yield f"call {name} began again after its workflow had seen its result"
            if name in begun:
                again.add(name)
                pid, calm = begun[name]
                if pid not in away and calm == calms and not stormy:
                    yield f"call {name} was begun again although nobody had stopped {pid}"
            begun[name] = (rest[0], -1 if stormy else calms)
        elif word == "seen":
            seen.add(name)
        elif word == "wrong":
            yield f"thread {name} came to {' '.join(rest)}"
        if word in ("pause", "down", "calm"):
            stormy = word != "calm"
            calms += not stormy
        verdict.kills += word == "kill"
        verdict.restarts += word == "down"
        verdict.pauses += word == "pause"
        verdict.fenced += word == "fenced"
    verdict.calls, verdict.repeated = len(begun), len(again)
