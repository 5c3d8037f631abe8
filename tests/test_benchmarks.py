"""The benchmark harness works. What it measures is for its own table to say, not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = {"empty", "one_thread", "sequential", "fan_out", "naps", "callers", "resume", "chat", "json", "blob"}
SCENARIOS |= {"graph_loop", "graph_sends", "chunks", "paced_chunks"}


def run(folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--here", "--output", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    failures = [line for line in done.stderr.splitlines() if "FAILED" in line]
    assert done.returncode == 0, "\n".join(failures) or done.stderr
    (saved,) = folder.glob("*.json")
    return done.stdout, json.loads(saved.read_text())


def test_harness_measures_every_scenario(tmp_path: Path) -> None:
    kept = ("callers/sync/2/sqlite-full", "resume/sync/2/memory", "chat/sync/2/sqlite", "json/sync", "blob/sync")
    only = ("/sync/2/none", *kept, "sequential/async/2/none")
    table, saved = run(tmp_path, "--system", "durably", "bare", "--only", *only)
    ours = [entry for entry in saved["results"] if entry["system"] == "durably"]
    measured = {(entry["case"]["scenario"], entry["case"].get("colour")) for entry in ours}
    assert measured == {(s, "sync") for s in SCENARIOS} | {("sequential", "async"), ("import", None)}
    assert all(one["seconds"] > 0 for entry in saved["results"] for one in entry["rounds"])
    assert saved["errors"] == []
    assert "| sequential tasks " in table
    chats = [one for entry in ours if entry["case"]["scenario"] == "chat" for one in entry["rounds"]]
    assert all("stored, bytes" in one["figures"] for one in chats)
    assert (next(tmp_path.glob("*.md"))).read_text().strip() == table.strip()


def test_an_unknown_case_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "nonsense", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "sequential/sync/1000/none" in done.stderr


def test_load_copies_threads_that_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--backend", "sqlite", "--sizes", "100", "300", "--repeat", "3"]
    done = subprocess.run([*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (saved,) = tmp_path.glob("load-*.md")
    assert "| sqlite | 100 threads | 300 threads |" in saved.read_text()
    assert "| deep page, failed |" in done.stdout
