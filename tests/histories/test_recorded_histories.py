"""What every released version has recorded replays on today's code, and is gone on with without repeating a call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from historic import FOLDER, PROGRAMS, THREAD, VERSION, ran, record

from durably import InMemorySaver
from durably.errors import NonDeterminismError
from durably.testing import import_history, replay

HISTORIES = sorted(FOLDER.glob("*/*.json"))
pytestmark = pytest.mark.once("counts which calls are made")


@pytest.fixture(params=HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def path(request: pytest.FixtureRequest) -> Path:
    ran.clear()
    found: Path = request.param
    return found


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_this_version_has_recorded_every_program() -> None:
    recorded = {path.stem for path in HISTORIES if path.parent.name == VERSION}
    assert recorded == set(PROGRAMS), "run python tests/histories/historic.py"


def test_todays_code_makes_the_recorded_calls(path: Path) -> None:
    program, history = PROGRAMS[path.stem], read(path)
    found = replay(program.on(InMemorySaver()), history)
    assert not ran, "replay calls nothing"
    if history["run"]["status"] == "done":
        assert (found.value, found.new_calls) == (program.result, ())
    else:
        assert found.error is not None or found.questions or found.new_calls


def test_what_is_open_is_gone_on_with(path: Path) -> None:
    program, history = PROGRAMS[path.stem], read(path)
    flow = program.on(InMemorySaver())
    import_history(history, flow.checkpointer, thread_id=THREAD)  # type: ignore[arg-type]
    result = flow.get_state(thread_id=THREAD).values
    if program.then is not None:
        result = flow.invoke(program.then(flow), thread_id=THREAD)
    if program.result == "asked":
        result = "asked" if "__interrupt__" in result else result
    assert result == program.result
    assert tuple(ran) == program.calls


def test_a_changed_program_is_found_out() -> None:
    with pytest.raises(NonDeterminismError):
        history = read(FOLDER / VERSION / "gathered.json")
        replay(PROGRAMS["gathered"].on(InMemorySaver()), {**history, "calls": history["calls"][:-2]})


def test_what_is_recorded_is_never_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("historic.FOLDER", tmp_path)
    monkeypatch.setattr("historic.is_recording", False)
    monkeypatch.setattr("durably.serde.failures._traceback", None)
    folder = tmp_path / "some version"
    folder.mkdir()
    (folder / "values.json").write_text("as it was")
    record(folder)
    assert (folder / "values.json").read_text() == "as it was"
    assert {path.stem for path in folder.iterdir()} == set(PROGRAMS)
