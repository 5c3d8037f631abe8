"""examples/chat_summary.py: a long conversation is summed up, and what matters stays known."""

from __future__ import annotations

from pathlib import Path

from chatting import Partner, sitting

SUMMARY = "chat_summary.py"


def test_a_long_conversation_is_summed_up_again_and_again(tmp_path: Path, partner: Partner) -> None:
    lines = [f"This is line {n} of a story that goes on and on, and says very little in many words." for n in range(40)]
    spoken = sitting(tmp_path, partner, SUMMARY, "My name is Ada.", *lines, "My tea is green.")
    told = partner.told()

    sums = [line for line in spoken if line.startswith("  sums up")]
    assert len(sums) > 2
    assert all("My name is Ada." in line for line in sums), "a summary is summed up with what came after it"
    assert told < 2500, "what the model is shown stays short"
    questions = sitting(tmp_path, partner, SUMMARY, "What is my name?", "What is my tea?")
    assert [line for line in questions if line.startswith("bot")][-2:] == ["bot > It is Ada.", "bot > It is green."]
