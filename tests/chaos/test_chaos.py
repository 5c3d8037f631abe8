"""Short forms of the chaos runs, and a judge that can find something."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger import Verdict, broken_calls
from programs import live_all

import chaos
from chaos import Plan
from savers import SHARED, open_saver, place_of


@pytest.mark.parametrize(
    "plan",
    [
        Plan("lines", seed=20, seconds=6, pauses=0),
        Plan("steps", seed=21, runs=150, pauses=0),
        Plan("questions", seed=22, runs=150, pauses=0),
        Plan("children", seed=23, runs=100, pauses=0),
    ],
    ids=lambda plan: plan.scenario,
)
def test_no_accepted_run_is_lost_and_no_finished_call_repeated(tmp_path: Path, plan: Plan) -> None:
    verdict = chaos.run(tmp_path, plan)
    assert not verdict.broken, str(verdict)
    assert verdict.runs >= (20 if plan.scenario == "lines" else plan.runs)


def test_a_server_that_goes_down_loses_nothing(tmp_path: Path) -> None:
    verdict = chaos.run_on_postgres(tmp_path, Plan("steps", seed=3, runs=200, pauses=0))
    assert not verdict.broken, str(verdict)
    assert verdict.runs == 200


def test_who_wakes_after_a_pause_breaks_nothing(tmp_path: Path) -> None:
    verdict = chaos.run(tmp_path, Plan("lines", seed=24, seconds=4, workers=2, pauses=100))
    assert not verdict.broken, str(verdict)
    assert verdict.pauses


@pytest.mark.parametrize("backend", SHARED)
def test_random_programs_end_as_the_model_says(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> None:
    with open_saver(place_of(backend, request, tmp_path)) as saver:
        report = live_all(saver, tmp_path, 25, range(25))
    assert not report.broken, str(report)
    assert (report.programs, report.kills > 10) == (25, True)


def test_the_judge_finds_calls_that_began_again() -> None:
    def judged(*lines: str) -> list[str]:
        return list(broken_calls([line.split() for line in lines], {"in-sync"}, Verdict(0)))

    assert judged("begin a 1", "seen a", "begin b 1") == []
    assert judged("begin a 1", "kill 1", "begin a 2") == []
    assert judged("begin a 1", "pause 1", "begin a 2") == []
    assert judged("begin a 1", "pause 3", "calm -", "begin a 2") == []
    assert judged("pause 3", "begin a 1", "calm -", "begin a 2") == []
    assert len(judged("pause 3", "calm -", "begin a 1", "begin a 2")) == 1
    assert judged("begin a 1", "seen a", "kill 1", "begin a 2") == []
    assert judged("pause 1", "begin in-sync 2", "seen in-sync", "begin in-sync 1", "calm -") == []
    assert len(judged("begin a 1", "begin a 2", "kill 2")) == 1
    assert len(judged("pause 1", "begin in-sync 2", "seen in-sync", "calm -", "begin in-sync 1")) == 1
    assert len(judged("pause 3", "begin in-sync 2", "seen in-sync", "begin in-sync 1", "calm -")) == 1
    assert len(judged("begin in-sync 1", "seen in-sync", "kill 1", "begin in-sync 2")) == 1
    assert len(judged("wrong t1 5")) == 1
