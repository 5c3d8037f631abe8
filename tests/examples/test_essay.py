"""The essay example, run as a person runs it: as a program, against a model."""

from __future__ import annotations

import doctest
import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from stand_in import EXAMPLES, PATIENCE, StandIn, environment, read_until, run_program, serving, start_program

sys.path.insert(0, str(EXAMPLES))

from essay_support import events, offline, text
from essay_support.files import write_new_file
from essay_support.model import Endpoint, ModelRefused, ModelUnavailable


class Writer(StandIn):
    """Writes outlines and paragraphs."""

    def asked(self) -> Counter[str]:
        """How often each prompt came in, by what comes after the topic in it."""
        last = (request["messages"][-1]["content"] for request in self.requests)
        return Counter(prompt.rpartition(", ")[2].rstrip(".").lower() for prompt in last)

    def answer(self, messages: list[dict[str, str]]) -> str:
        prompt = messages[-1]["content"]
        if prompt.startswith("Outline"):
            return "1. Alpha\n2. Beta\n3. Gamma"
        return f"**Version {len(messages) // 2}** of it. {prompt.rstrip('.')} was asked. And this is unfini"


@pytest.fixture
def model() -> Iterator[Writer]:
    with serving(Writer()) as writer:
        yield writer


def command(model: StandIn, *arguments: str) -> list[str]:
    return ["essay.py", *arguments, "--model", "stand-in", "--base-url", model.url]


def run(folder: Path, model: StandIn, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    return run_program(folder, command(model, *arguments), answers)


def started(folder: Path, model: StandIn, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return start_program(folder, command(model, *arguments))


def test_writes_asks_revises_and_saves(tmp_path: Path, model: Writer) -> None:
    done = run(tmp_path, model, "Bees", "Honey", "Hives", answers="2: shorter\naccept\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "essays" / "bees.md").read_text() == (
        "# Bees\n\n## Honey\n\n"
        "Version 1 of it. Explain in one short paragraph, to a curious reader: Bees, honey was asked.\n\n"
        "## Hives\n\nVersion 2 of it. Write it again, differently: shorter was asked.\n"
    )
    assert len(model.requests) == 3
    assert {request["authorization"] for request in model.requests} == {"Bearer a-key"}
    assert done.stdout.count("done: Honey") == 1
    assert done.stdout.count("done: Hives") == 2
    assert "saved: " in done.stdout


def test_asks_the_model_for_an_outline_where_no_sections_are_given(tmp_path: Path, model: Writer) -> None:
    done = run(tmp_path, model, "Bees", "--yes")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^## (.+)$", (tmp_path / "essays" / "bees.md").read_text(), re.MULTILINE) == [
        "Alpha",
        "Beta",
        "Gamma",
    ]
    assert len(model.requests) == 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_in_the_middle_it_goes_on_without_repeating_what_was_done(tmp_path: Path, model: Writer) -> None:
    sections = ["Honey", "Hives", "Wax", "Stings"]
    model.held = {"wax", "stings"}
    with started(tmp_path, model, "Bees", *sections) as process:
        read_until(process, lambda out: "done: Honey" in out and "done: Hives" in out and out.count("writing: ") == 4)
        model.wait_until_asked(4)
        process.send_signal(signal.SIGKILL)
    model.held = set()
    model.released.set()

    done = run(tmp_path, model, "Bees", answers="accept\n")
    assert done.returncode == 0, done.stderr
    assert "reused: Honey" in done.stdout and "reused: Hives" in done.stdout
    assert "reused: Wax" not in done.stdout and "reused: Stings" not in done.stdout
    assert model.asked() == {"honey": 1, "hives": 1, "wax": 2, "stings": 2}
    assert re.findall(r"^## (.+)$", (tmp_path / "essays" / "bees.md").read_text(), re.MULTILINE) == sections


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_at_the_question_it_asks_again(tmp_path: Path, model: Writer) -> None:
    with started(tmp_path, model, "Bees", "Honey", "Hives") as process:
        read_until(process, lambda out: out.endswith("\n> "))
        process.send_signal(signal.SIGKILL)
    done = run(tmp_path, model, "Bees", answers="\n")
    assert done.returncode == 0, done.stderr
    assert len(model.requests) == 2
    assert "writing: " not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a program here")
def test_stopped_by_ctrl_c_it_says_how_to_go_on(tmp_path: Path, model: Writer) -> None:
    model.held = {"wax"}
    with started(tmp_path, model, "Bees", "Honey", "Wax") as process:
        read_until(process, lambda out: "done: Honey" in out and "writing: Wax" in out)
        process.send_signal(signal.SIGINT)
        model.held = set()
        model.released.set()
        rest = process.stdout.read() if process.stdout else ""
        assert process.wait(PATIENCE) == 130
    assert "the same command goes on" in rest
    assert run(tmp_path, model, "Bees", answers="ok\n").returncode == 0
    assert model.asked()["honey"] == 1


def test_an_unanswered_question_stays_open(tmp_path: Path, model: Writer) -> None:
    assert run(tmp_path, model, "Bees", "Honey").returncode == 0
    assert not (tmp_path / "essays").exists()
    assert run(tmp_path, model, "Bees", answers="ok\n").returncode == 0
    assert len(model.requests) == 1


def test_a_second_run_knows_the_first(tmp_path: Path, model: Writer) -> None:
    assert run(tmp_path, model, "Bees", "--yes").returncode == 0
    done = run(tmp_path, model, "Wasps", "--yes")
    assert "Remembers: Bees" in done.stdout
    assert "*Earlier in this series: Bees.*" in (tmp_path / "essays" / "wasps.md").read_text()
    outline = [r["messages"][-1]["content"] for r in model.requests if "Outline" in r["messages"][-1]["content"]][-1]
    assert "Bees (Alpha, Beta, Gamma)" in outline


def test_what_was_begun_is_finished_before_another_topic(tmp_path: Path, model: Writer) -> None:
    assert run(tmp_path, model, "Bees", "Honey").returncode == 0
    done = run(tmp_path, model, "Wasps", "Nests", answers="ok\nok\n")
    assert done.returncode == 0, done.stderr
    assert "“Wasps” comes after it" in done.stdout
    assert sorted(file.name for file in (tmp_path / "essays").iterdir()) == ["bees.md", "wasps.md"]
    assert len(model.requests) == 2


def test_new_leaves_an_unfinished_essay_behind(tmp_path: Path, model: Writer) -> None:
    assert run(tmp_path, model, "Bees", "Honey").returncode == 0
    assert run(tmp_path, model, "Wasps", "Nests", "--new", "--yes").returncode == 0
    assert [file.name for file in (tmp_path / "essays").iterdir()] == ["wasps.md"]


def test_threads_do_not_know_each_other(tmp_path: Path, model: Writer) -> None:
    assert run(tmp_path, model, "Bees", "Honey", "--yes").returncode == 0
    assert "Remembers" not in run(tmp_path, model, "Wasps", "Nests", "--thread", "other", "--yes").stdout


def test_an_overloaded_endpoint_is_tried_again(tmp_path: Path, model: Writer) -> None:
    model.failures = [503]
    assert run(tmp_path, model, "Bees", "Honey", "--yes").returncode == 0
    assert len(model.requests) == 2


def test_a_refusal_is_explained_and_nothing_is_lost(tmp_path: Path, model: Writer) -> None:
    model.failures = [401]
    refused = run(tmp_path, model, "Bees", "Honey")
    assert refused.returncode == 1
    assert "401" in refused.stderr and "Traceback" not in refused.stderr
    assert "a-key" not in refused.stderr
    assert run(tmp_path, model, "Bees", "--yes").returncode == 0


def test_the_client_tells_a_broken_answer_from_a_complete_one(model: Writer) -> None:
    endpoint = Endpoint(model.url, "stand-in")
    assert "".join(endpoint.stream([{"role": "user", "content": "a, b."}])).startswith("**Version 0")
    model.failures = [429, 404]
    with pytest.raises(ModelUnavailable, match="429"):
        list(endpoint.stream([]))
    with pytest.raises(ModelRefused, match="404"):
        list(endpoint.stream([]))
    with pytest.raises(ModelUnavailable, match="closed before"):
        list(endpoint.stream([]))  # without messages the stand-in breaks off


def test_a_file_is_never_overwritten_by_another_text(tmp_path: Path) -> None:
    folder = str(tmp_path / "essays")
    first = write_new_file(folder, "bees", "one")
    assert write_new_file(folder, "bees", "one") == first
    assert write_new_file(folder, "bees", "two").name == "bees-2.md"
    assert sorted(file.name for file in first.parent.iterdir()) == ["bees-2.md", "bees.md"]
    assert first.read_text() == "one"


@pytest.mark.parametrize("module", [text, events], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_true(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("sections", [1, 4, 9, 60])
def test_the_live_screen_fits_the_terminal(width: int, sections: int) -> None:
    console_module = pytest.importorskip("rich.console")
    from essay_support.live import Screen

    progress = events.Progress()
    names = [f"Section {n} with a rather long name" for n in range(sections)]
    progress.see(events.Round("Writing", names), 0.0)
    progress.see(events.Reused([text.Paragraph(names[0], "written before " * 90)]), 0.0)
    for name in names[1:6]:
        progress.see(events.Started(name), 0.0)
        progress.see(events.Piece(name, "a word " * 300), 1.0)
    height = 24
    console = console_module.Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
    lines = console.render_lines(Screen(progress, "essay.sqlite"), pad=False)
    assert len(lines) <= height
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals here")
def test_on_a_terminal(tmp_path: Path, model: Writer) -> None:
    pytest.importorskip("rich")
    import pty

    screen, terminal = pty.openpty()
    shell = {**environment(), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "essay.py"), *command(model, "Bees", "Honey")[1:]],
        cwd=tmp_path,
        env=shell,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        seen = b""
        while b"Your answer" not in seen:
            seen += os.read(screen, 4096)
        os.write(screen, b"\n")
        try:
            while block := os.read(screen, 4096):
                seen += block
        except OSError:
            pass  # how Linux says that the other side has closed
    os.close(screen)
    assert process.returncode == 0
    assert b"Saved to" in seen
    assert not re.search(rb"\x1b\[\?25l(?!.*\x1b\[\?25h)", seen, re.DOTALL), "the cursor was left hidden"


@pytest.mark.skipif(not offline.is_installed(), reason=f"the offline model is not installed: {offline.INSTALL}")
def test_with_the_real_offline_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "essay.py"), "Bees", "--yes"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    essay = (tmp_path / "essays" / "bees.md").read_text()
    paragraphs = re.findall(r"^## .+\n\n(.+)$", essay, re.MULTILINE)
    assert len(paragraphs) == 4
    assert all(len(paragraph.split()) >= 10 and paragraph[-1] in '.!?"”' for paragraph in paragraphs)
    assert "bees" in " ".join(paragraphs).lower()
