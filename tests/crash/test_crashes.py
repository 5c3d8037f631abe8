"""Processes that are killed, stopped or merely slow: the next one goes on, and finished tasks are not repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crashing import THREAD, holding

from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import ThreadBusy
from savers import SHARED, place_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

MOMENTS = {"sync": 18, "async": 11, "exit": 11}
"""At least: 8 effects, and two moments for each write."""
WIDE = [("sync", "sync"), ("sync", "async"), ("async", "async"), ("exit", "sync"), ("exit", "async")]
SCRIPT = str(Path(__file__).with_name("crashing.py"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


def report_of(what: str, directory: Path, mode: str, colour: str, *place: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, SCRIPT, what, str(directory), mode, colour, *place],
        capture_output=True,
        timeout=300,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(
    ("mode", "colour"),
    [
        *((mode, colour) for mode in ("sync", "async") for colour in ("sync", "async")),
        ("exit", "sync"),
        pytest.param("exit", "async", marks=pytest.mark.wide),
    ],
)
def test_killed_at_every_moment(tmp_path: Path, mode: str, colour: str) -> None:
    report = report_of("campaign", tmp_path, mode, colour)
    assert report["problems"] == []
    assert report["moments"] >= MOMENTS[mode]
    assert report["kills"] > report["moments"]


@pytest.mark.skipif("postgres" not in SHARED, reason="only on one of the Pythons")
@pytest.mark.parametrize(
    ("mode", "colour"),
    [
        ("async", "sync"),
        *(pytest.param(mode, colour, marks=pytest.mark.wide) for mode, colour in WIDE),
    ],
)
def test_killed_at_every_moment_on_postgres(
    request: pytest.FixtureRequest, tmp_path: Path, mode: str, colour: str
) -> None:
    report = report_of("campaign", tmp_path, mode, colour, place_of("postgres", request, tmp_path))
    assert report["problems"] == []
    assert report["moments"] >= MOMENTS[mode]
    assert report["kills"] > report["moments"]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_killed_at_random(tmp_path: Path, mode: str, colour: str) -> None:
    report = report_of("shots", tmp_path, mode, colour)
    assert report["problems"] == []
    assert report["kills"] > 0


@contextmanager
def holder(path: Path, lease: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the thread."""
    child = subprocess.Popen(
        [sys.executable, SCRIPT, "hold", str(path), str(lease)],
        stdin=subprocess.PIPE,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def go_on(child: subprocess.Popen[str]) -> Any:
    """Let it finish; what it ended with."""
    out, _ = child.communicate("go on\n", timeout=30)
    return json.loads(out)


def rows(path: Path) -> Any:
    """Everything that is stored."""
    with SqliteSaver(path) as saver:
        return saver.transact([lambda tx: (tx.open("t"), tx.records(1), tx.records(2))])


@pytest.mark.parametrize("given", [None, 3])
def test_a_live_owner_in_another_process_keeps_its_thread(tmp_path: Path, given: Any) -> None:
    path = tmp_path / "runs.db"
    with holder(path, lease=30) as child, SqliteSaver(path) as saver:
        with pytest.raises(ThreadBusy, match=r"'t' is busy: run .* of workflow 'hold'"):
            holding(saver, wait=False).invoke(given, THREAD)
        assert go_on(child) == ["in time", "late", "in time"]
        assert holding(saver, wait=False).invoke(1, THREAD) == ["in time"]


def test_a_dead_owner_gives_its_thread_up_at_once(tmp_path: Path) -> None:
    """However long its lease would last."""
    path = tmp_path / "runs.db"
    with holder(path, lease=3600) as child, SqliteSaver(path) as saver:
        child.kill()
        child.wait()
        assert holding(saver, wait=False).invoke(None, THREAD) == ["in time"] * 3


def test_a_stopped_process_writes_nothing_after_it_was_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with holder(path, lease=0.3) as child, SqliteSaver(path) as saver:
        os.kill(child.pid, signal.SIGSTOP)
        result = None
        while result is None:  # until its lease has run out: nothing proves a stopped process dead
            try:
                result = holding(saver, wait=False).invoke(None, THREAD)
            except ThreadBusy:
                time.sleep(0.02)
        assert result == ["in time"] * 3
        before = rows(path)
        os.kill(child.pid, signal.SIGCONT)
        assert go_on(child) == "Superseded"
        assert rows(path) == before
