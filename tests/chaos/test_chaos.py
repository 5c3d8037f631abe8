"""A short form of the chaos run, and a judge that can find something."""

from __future__ import annotations

from pathlib import Path

import chaos
from chaos import Verdict


def test_no_accepted_run_is_lost_and_no_finished_call_repeated(tmp_path: Path) -> None:
    verdict = chaos.run(tmp_path, seconds=6, seed=20)
    assert not verdict.broken, str(verdict)
    assert verdict.kills > 3
    assert verdict.runs > 20


def test_the_judge_finds_calls_that_began_again() -> None:
    def judged(*lines: str) -> list[str]:
        return list(chaos.broken_calls([line.split() for line in lines], {"in-sync"}, Verdict(0)))

    assert judged("begin a 1", "end a", "seen a", "begin b 1") == []
    assert judged("begin a 1", "kill 1", "begin a 2") == []
    assert judged("begin a 1", "end a", "seen a", "kill 1", "begin a 2") == []
    assert len(judged("begin a 1", "begin a 2", "kill 2")) == 1
    assert len(judged("begin in-sync 1", "end in-sync", "seen in-sync", "kill 1", "begin in-sync 2")) == 1
