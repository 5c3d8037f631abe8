"""Write an essay with a language model, ask a person about it, and survive anything in between.

    python examples/essay.py Bees                    # four paragraphs, written side by side
    python examples/essay.py Bees Honey "The hive"   # with sections of your own

Kill it at any moment and run the same command again: it goes on where it was. Run it once more when the
essay is finished: it remembers the essays before. The whole story is `essay_workflow`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from durably import RetryPolicy, Workflow, entrypoint, get_runtime, get_stream_writer, interrupt, task
from durably.checkpoint.sqlite import SqliteSaver
from essay_support import text
from essay_support.cli import main
from essay_support.events import Began, Piece, Reused, Round, Started
from essay_support.files import write_new_file
from essay_support.model import ChatModel, Messages, ModelUnavailable
from essay_support.text import Essay, Paragraph, Request

PATIENTLY = RetryPolicy(max_attempts=4, retry_on=ModelUnavailable)


@task(retry_policy=PATIENTLY)
def plan_sections(topic: str, earlier: list[Essay]) -> list[str]:
    model = get_runtime(ChatModel).context
    answer = "".join(model.stream(text.outline_prompt(topic, earlier))) if model.can_plan else ""
    return text.read_outline(answer) or text.ready_outline(topic, earlier)


@task(retry_policy=PATIENTLY)
def write_paragraph(topic: str, section: str) -> Paragraph:
    return generate(section, text.paragraph_prompt(topic, section))


@task(retry_policy=PATIENTLY)
def revise_paragraph(topic: str, paragraph: Paragraph, instructions: str) -> Paragraph:
    return generate(paragraph.section, text.revision_prompt(topic, paragraph, instructions), instead=paragraph.text)


@task
def save_essay(essay: Essay, earlier: list[Essay], folder: str) -> str:
    return str(write_new_file(folder, text.file_stem(essay.topic), text.as_markdown(essay, earlier)))


def essay_workflow(saver: SqliteSaver) -> Workflow[Request, Essay]:
    """The workflow. Each finished task is recorded in ``saver`` and never runs again."""

    @entrypoint(checkpointer=saver)
    def essay(request: Request, *, previous: list[Essay] | None = None) -> entrypoint.final[Essay, list[Essay]]:
        topic, earlier = request.topic, previous or []
        show = get_stream_writer()
        show(Began(topic, [one.topic for one in earlier]))

        sections = request.sections or plan_sections(topic, earlier).result()
        show(Round("Writing", sections))
        draft = Essay(topic, collect([write_paragraph(topic, section) for section in sections]))  # side by side

        # The run stops at interrupt() until somebody answers, today or next week, this program or another.
        while not (review := text.read_review(interrupt(draft), sections)).accepted:
            show(Round("Revising", review.sections))
            chosen = [paragraph for paragraph in draft.paragraphs if paragraph.section in review.sections]
            draft = draft.revised(collect([revise_paragraph(topic, one, review.instructions) for one in chosen]))

        done = replace(draft, path=save_essay(draft, earlier, request.folder).result())
        return entrypoint.final(value=done, save=[*earlier, done])  # the next run gets these as `previous`

    return essay


def collect(paragraphs: Sequence[Future[Paragraph]]) -> list[Paragraph]:
    """Wait for the paragraphs. Those that are there at once were written by an attempt before this one."""
    get_stream_writer()(Reused([future.result() for future in paragraphs if future.done()]))
    return [future.result() for future in paragraphs]


def generate(section: str, messages: Messages, instead: str = "") -> Paragraph:
    """The model's answer, shown piece by piece to whoever watches the run; ``instead`` where it has none."""
    runtime, answer = get_runtime(ChatModel), ""
    runtime.stream_writer(Started(section))
    for piece in runtime.context.stream(messages):
        runtime.stream_writer(Piece(section, piece))
        answer += piece
    return Paragraph(section, text.tidy(answer) or instead)


if __name__ == "__main__":
    sys.exit(main(essay_workflow))
