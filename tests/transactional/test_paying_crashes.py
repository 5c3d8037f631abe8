"""Whenever the process is killed, there are as many rows as records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from savers import SHARED, place_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

SCRIPT = str(Path(__file__).with_name("paying.py"))


CAMPAIGNS = [("sqlite", "sync", 35), ("sqlite", "async", 25), ("postgres", "async", 25)]


@pytest.mark.parametrize(("kind", "durability", "moments"), [each for each in CAMPAIGNS if each[0] in SHARED])
def test_killed_at_every_moment(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, durability: str, moments: int
) -> None:
    place = []
    if kind == "postgres":
        there = place_of(kind, request, tmp_path)
        place = [f"{there} options=-csearch_path={there.split()[1]}"]
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path), durability, *place],
        capture_output=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])},
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["moments"] >= moments, "ten around rows, ten around their commits, five in tasks, and other commits"
