"""examples/chat.py: a conversation goes on, whatever becomes of the process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from chatting import Partner, sitting
from stand_in import read_until, run_program, start_program

CHAT = "chat.py"


def test_it_remembers_what_was_said_in_processes_before(tmp_path: Path, partner: Partner) -> None:
    assert sitting(tmp_path, partner, CHAT, "My name is Ada.", "", "My tea is green.") == [
        "you > My name is Ada.",
        "bot > Noted.",
        "you >",
        "you > My tea is green.",
        "bot > Noted.",
    ]
    assert sitting(tmp_path, partner, CHAT, "What is my name?") == [
        "... 2 messages before",
        "you > My tea is green.",
        "bot > Noted.",
        "you > What is my name?",
        "bot > It is Ada.",
    ]
    other = sitting(tmp_path, partner, CHAT, "What is my name?", options=("--thread", "other"))
    assert other[-1] == "bot > I do not know."


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_in_the_middle_of_an_answer_it_answers_when_it_comes_back(tmp_path: Path, partner: Partner) -> None:
    sitting(tmp_path, partner, CHAT, "My name is Ada.")
    partner.held = {"What"}
    command = [CHAT, "--model", "stand-in", "--base-url", partner.url]
    with start_program(tmp_path, command) as process:
        assert process.stdin is not None
        process.stdin.write("What is my name?\n")
        process.stdin.flush()
        read_until(process, lambda out: "What is my name?" in out)
        partner.wait_until_asked(2)
        process.send_signal(signal.SIGKILL)
    partner.held = set()
    partner.released.set()

    before, answered = ["you > My name is Ada.", "bot > Noted."], ["you > What is my name?", "bot > It is Ada."]
    assert sitting(tmp_path, partner, CHAT) == [*before, *answered]
    assert sitting(tmp_path, partner, CHAT) == ["... 2 messages before", *answered]
    assert len(partner.requests) == 3, "what was answered is not asked again"


def test_a_refusal_is_explained_and_the_question_is_kept(tmp_path: Path, partner: Partner) -> None:
    partner.failures = [401]
    command = [CHAT, "--model", "stand-in", "--base-url", partner.url]
    refused = run_program(tmp_path, command, "My name is Ada.\nWhat is my name?\n")
    assert refused.returncode == 1
    assert "401" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sitting(tmp_path, partner, CHAT) == ["you > My name is Ada.", "bot > Noted."]


def test_an_overloaded_model_is_asked_again(tmp_path: Path, partner: Partner) -> None:
    partner.failures = [503]
    assert sitting(tmp_path, partner, CHAT, "My name is Ada.")[-1] == "bot > Noted."
    assert len(partner.requests) == 2
