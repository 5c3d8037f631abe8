"""A scripted partner for the chatbots in examples/, and one sitting with one of them."""

from __future__ import annotations

import re
from pathlib import Path

from stand_in import StandIn, run_program


class Partner(StandIn):
    """Answers "What is my X?" from whatever it is shown, and sums up by listing facts."""

    def answer(self, messages: list[dict[str, str]]) -> str:
        prompt = messages[-1]["content"]
        if prompt.startswith("Sum up"):
            return " ".join(dict.fromkeys(re.findall(r"My \w+ is \w+\.", prompt)))
        if asked := re.match(r"What is my (\w+)\?", prompt):
            known = re.findall(rf"My {asked[1]} is (\w+)\.", " ".join(message["content"] for message in messages))
            return f"It is {known[-1]}." if known else "I do not know."
        return "Noted."

    def told(self) -> int:
        """How many characters it was shown last."""
        return sum(len(message["content"]) for message in self.requests[-1]["messages"])


def sitting(folder: Path, model: StandIn, program: str, *lines: str, options: tuple[str, ...] = ()) -> list[str]:
    """Say these lines to a chatbot, in one process; what it prints, but for the headline."""
    command = [program, *options, "--model", "stand-in", "--base-url", model.url]
    done = run_program(folder, command, "".join(f"{line}\n" for line in lines))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept in chat.sqlite" in done.stdout.splitlines()[0]
    return [line.rstrip() for line in done.stdout.splitlines()[1:-1]]
