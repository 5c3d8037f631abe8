"""The essay's data, what the model is asked, and what is made of its answers. No input or output here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .model import Messages

ACCEPT = "accept"

OUTLINES = (
    ["Origins", "How it works", "Why it matters", "In everyday life"],
    ["A closer look", "People and places", "Myths and mistakes", "What comes next"],
)
"""Sections that suit most topics, for a model too small to plan; the second set for a second essay on one."""

SYSTEM = "You write one part of an essay: a single short paragraph in plain, concrete prose."


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    topic: str
    sections: list[str]
    folder: str


@dataclass(frozen=True)
class Paragraph:
    """One section, written."""

    section: str
    text: str


@dataclass(frozen=True)
class Essay:
    """An essay, from first draft to file; a thread remembers all of its essays."""

    topic: str
    paragraphs: list[Paragraph]
    path: str = ""

    @property
    def sections(self) -> list[str]:
        """The sections' titles."""
        return [paragraph.section for paragraph in self.paragraphs]

    def revised(self, paragraphs: Iterable[Paragraph]) -> Essay:
        """The essay with these paragraphs in place of the ones before."""
        new = {paragraph.section: paragraph for paragraph in paragraphs}
        return replace(self, paragraphs=[new.get(one.section, one) for one in self.paragraphs])


@dataclass(frozen=True)
class Review:
    """What the reader answered: which sections to change, and how. None to change: it is accepted."""

    sections: list[str]
    instructions: str

    @property
    def accepted(self) -> bool:
        """Whether the essay is good as it is."""
        return not self.sections


def read_review(answer: str, sections: Sequence[str]) -> Review:
    """Understand an answer: ``accept``, instructions for all sections, or ``2,3: instructions`` for some.

    >>> read_review("yes", ["Honey", "Hives"]).accepted
    True
    >>> read_review("2: shorter", ["Honey", "Hives"])
    Review(sections=['Hives'], instructions='shorter')
    >>> read_review("simpler words", ["Honey", "Hives"]).sections
    ['Honey', 'Hives']
    """
    answer = answer.strip()
    if answer.lower() in ("", "a", "y", "ok", "yes", ACCEPT):
        return Review([], "")
    if some := re.fullmatch(r"([\d ,]+):\s*(.+)", answer, re.DOTALL):
        numbers = {int(number) for number in re.findall(r"\d+", some[1])}
        if chosen := [section for n, section in enumerate(sections, 1) if n in numbers]:
            return Review(chosen, some[2])
    return Review(list(sections), answer)


def paragraph_prompt(topic: str, section: str) -> Messages:
    """Ask for one section."""
    request = f"Explain in one short paragraph, to a curious reader: {topic}, {section[:1].lower()}{section[1:]}."
    return [_message("system", SYSTEM), _message("user", request)]


def revision_prompt(topic: str, paragraph: Paragraph, instructions: str) -> Messages:
    """Ask for one section again, with the reader's wishes. They are cut to what fits beside the rest."""
    wish = instructions.strip().rstrip(".")[:500]
    return [
        *paragraph_prompt(topic, paragraph.section),
        _message("assistant", paragraph.text),
        _message("user", f"Write it again, differently: {wish}."),
    ]


def outline_prompt(topic: str, earlier: Iterable[Essay]) -> Messages:
    """Ask for an outline that leaves out what earlier essays were about."""
    told = "; ".join(f"{essay.topic} ({', '.join(essay.sections)})" for essay in earlier)
    form = "four section titles of two to five words, one per line, nothing else."
    request = f"Outline a short essay about {topic}: {form}"
    if told:
        request += f" The reader knows these essays, so do not repeat them: {told[-1_500:]}."
    return [_message("user", request)]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def read_outline(answer: str) -> list[str]:
    """The section titles in a model's answer; none unless there are at least three.

    >>> read_outline("1. **Honey**\\n2. Hives and queens\\n- The dance")
    ['Honey', 'Hives and queens', 'The dance']
    """
    lines = (re.sub(r"^[\s\d.)#*•-]+|[\s*:.]+$", "", line) for line in answer.splitlines())
    titles = list(dict.fromkeys(line for line in lines if 0 < len(line) <= 60))[:5]
    return titles if len(titles) >= 3 else []


def ready_outline(topic: str, earlier: Iterable[Essay]) -> list[str]:
    """Sections from `OUTLINES`: another set than the last essay on this topic had."""
    before = sum(same_topic(topic, essay.topic) for essay in earlier)
    return OUTLINES[before % len(OUTLINES)]


def same_topic(one: str, other: str) -> bool:
    """Whether two topics are the same but for spelling."""
    return one.strip().casefold() == other.strip().casefold()


MARKDOWN = re.compile(r"[*_`#]+|^\s*[-•]\s+", re.MULTILINE)
SENTENCE = re.compile(r".+?[.!?][\"”’')]*(?=\s|$)", re.DOTALL)
PREAMBLE = re.compile(r"^(?:sure|certainly|of course|here(?:'s| is| are))\b[^.\n]{0,120}[:!]\s*", re.IGNORECASE)
ABOUT_ITSELF = re.compile(r"\b(?:SmolL\w*|AI (?:assistant|model)|language model)\b", re.IGNORECASE)


def tidy(answer: str) -> str:
    """A model's answer as a paragraph: no Markdown, no preamble, no sentence twice, none unfinished.

    >>> tidy("Here is the paragraph: **Bees** fly. Bees make honey. Bees make honey. And th")
    'Bees fly. Bees make honey.'
    """
    printable = "".join(letter for letter in answer if letter.isprintable() or letter.isspace())
    text = PREAMBLE.sub("", " ".join(MARKDOWN.sub("", printable).split()))
    sentences = dict.fromkeys(sentence.strip() for sentence in SENTENCE.findall(text))
    kept = [sentence for sentence in sentences if not ABOUT_ITSELF.search(sentence)]
    text = " ".join(kept) or text
    return text[:1].upper() + text[1:]


def as_markdown(essay: Essay, earlier: Sequence[Essay]) -> str:
    """The essay as it is written to its file."""
    parts = [f"# {essay.topic}"]
    if earlier:
        parts.append("*Earlier in this series: " + ", ".join(dict.fromkeys(e.topic for e in earlier)) + ".*")
    for paragraph in essay.paragraphs:
        parts += [f"## {paragraph.section}", paragraph.text]
    return "\n\n".join(parts) + "\n"


def file_stem(topic: str) -> str:
    """A file name for a topic.

    >>> file_stem("Why we sleep?"), file_stem("../..")
    ('why-we-sleep', 'essay')
    """
    return re.sub(r"\W+", "-", topic.lower()).strip("-")[:60] or "essay"
