"""Whenever the process is killed, there are as many rows as records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

SCRIPT = str(Path(__file__).with_name("paying.py"))


@pytest.mark.parametrize(("durability", "moments"), [("sync", 35), ("async", 25)])
def test_killed_at_every_moment(tmp_path: Path, durability: str, moments: int) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path), durability], capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["moments"] >= moments, "ten around rows, ten around their commits, five in tasks, and other commits"
