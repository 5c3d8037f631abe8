"""Pictures of real runs, and of what hostile names and damaged rows make of them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.cache.memory import InMemoryCache
from durably.checkpoint.records import Record, encode_records
from durably.checkpoint.rows import Chunk
from durably.checkpoint.sqlite import SqliteSaver
from durably.drawing import Call, Drawing, RunFacts, Span
from durably.errors import ConfigError, EmptyInputError
from durably.serde import EncryptedSerializer
from durably.types import CachePolicy, RetryPolicy


def facts(drawing: Drawing) -> RunFacts:
    return drawing._facts


def outline(calls: tuple[Call, ...]) -> list[Any]:
    """Names and states, with those of the calls inside."""
    return [(call.name, call.state, *([outline(call.calls)] if call.calls else [])) for call in calls]


@task
def fetch(url: str) -> str:
    return url.upper()


@task
def page(url: str) -> str:
    return fetch(url).result() + fetch(url + "#").result()


@task
def sign(text: str) -> str:
    return text + interrupt(f"sign {text}?")


def test_a_run_from_question_to_end() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def publish(url: str) -> str:
        return sign(page(url).result()).result()

    publish.invoke("a", thread_id="t")
    inside: list[Any] = [("fetch", "finished"), ("fetch", "finished")]
    asked = publish.draw(thread_id="t")
    waiting = [("page", "finished", inside), ("sign", "waiting", [("interrupt", "waiting")])]
    assert outline(facts(asked).calls) == waiting
    assert repr(asked) == "<Drawing of publish, asked, 5 calls>"
    publish.invoke(Command(resume=" yes"), thread_id="t")
    done = publish.draw(thread_id="t")
    assert outline(facts(done).calls) == [
        ("page", "finished", inside),
        ("sign", "finished", [("interrupt", "answered")]),
    ]
    question = facts(done).calls[1].calls[0]
    assert question.words == "'sign AA#?' → ' yes'"
    assert [span.state for span in facts(done).calls[1].spans] == ["unfinished", "finished"], "the attempt that asked"
    assert (facts(done).words, facts(done).attempts) == ("'a'", 2)


def test_failures_attempts_and_caches() -> None:
    broken = [OSError("first"), OSError("second"), OSError("third")]

    @task(retry_policy=RetryPolicy(initial_interval=0.0, max_attempts=2))
    def send(to: str) -> str:
        if broken:
            raise broken.pop(0)
        return to

    @task(cache_policy=CachePolicy())
    def style(name: str) -> str:
        return name

    @entrypoint(checkpointer=InMemorySaver(), cache=InMemoryCache())
    def mail(to: str) -> str:
        style("x").result()
        style("x").result()
        return send(to).result()

    with pytest.raises(OSError, match="second"):
        mail.invoke("me", thread_id="t")
    failed = facts(mail.draw(thread_id="t"))
    assert outline(failed.calls) == [("style", "finished"), ("style", "cached"), ("send", "failed")]
    assert failed.note == failed.calls[2].note == "OSError: second"
    mail.invoke(None, thread_id="t")
    send_call = facts(mail.draw(thread_id="t")).calls[2]
    assert [span.state for span in send_call.spans] == ["failed", "finished"], "a failure that was tried again is shown"
    assert (send_call.attempts, send_call.note) == (2, "")


def test_a_fork_shows_what_it_kept() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def two(url: str) -> str:
        return page(fetch(url).result()).result()

    two.invoke("a", thread_id="t")
    last = two.runs("t")[0].calls()[-1]
    first_run = two.draw(thread_id="t")
    two.fork(thread_id="t", before=last)
    assert [call.state for call in facts(two.draw(thread_id="t")).calls] == ["kept", "finished"]
    config = two.runs("t")[1].config
    assert two.draw(config).svg == first_run.svg, "the checkpoint addresses the run"


def test_async_and_sync_draw_the_same() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def both(url: str) -> list[str]:
        return await asyncio.gather(*(page(url * n) for n in range(4)))

    asyncio.run(both.ainvoke("a", thread_id="t"))
    drawing = asyncio.run(both.adraw(thread_id="t"))
    assert (drawing.svg, drawing.mermaid) == (both.draw(thread_id="t").svg, both.draw(thread_id="t").mermaid)
    assert "page ×4" in drawing.mermaid and "fetch ×8" in drawing.mermaid


KILLED = """
import os, sys
from durably import entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver

@task
def part(n: int) -> int:
    return n

@task
def whole(n: int) -> int:
    part(1).result()
    os._exit(9)

@entrypoint(checkpointer=SqliteSaver(sys.argv[1]))
def job(n: int) -> int:
    return whole(n).result()

job.invoke(1, thread_id="t", durability="sync")
"""


def test_what_a_killed_process_left_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, env={**os.environ})
    assert done.returncode == 9
    with SqliteSaver(path) as saver:

        @entrypoint(checkpointer=saver)
        def job(n: int) -> int:
            raise AssertionError

        run = facts(job.draw(thread_id="t"))
        assert outline(run.calls) == [("whole", "unfinished", [("part", "finished")])]
        assert run.status == "running"


@pytest.mark.once("ten thousand passes of up to ten thousand calls")
def test_ten_thousand_calls() -> None:
    @task
    def step(n: int) -> int:
        return n

    @entrypoint(checkpointer=InMemorySaver())
    def loop(n: int) -> int:
        for i in range(n // 2):
            step(i).result()
            fetch(str(i)).result()
        return n

    loop.invoke(10_000, thread_id="t")
    drawing = loop.draw(thread_id="t")
    assert repr(drawing) == "<Drawing of loop, done, 10000 calls>"
    assert "step ×5,000" in drawing.mermaid and "fetch ×5,000" in drawing.svg
    assert len(drawing.mermaid) < 5_000 and len(drawing.svg) < 200_000


def test_encrypted_runs_are_drawn_by_who_can_read_them() -> None:
    pytest.importorskip("cryptography")
    key = os.urandom(32)
    saver = InMemorySaver(serde=EncryptedSerializer(keys=key))

    @entrypoint(checkpointer=saver)
    def secret(url: str) -> str:
        return fetch(url).result()

    secret.invoke("hidden", thread_id="t")
    assert facts(secret.draw(thread_id="t")).calls[0].words == "'hidden'"
    saver.serde = EncryptedSerializer(keys=os.urandom(32))
    drawing = secret.draw(thread_id="t")
    assert "hidden" not in drawing.svg + drawing.mermaid
    assert facts(drawing).calls[0].name == "fetch", "names and times are not sealed"


def test_what_cannot_be_drawn() -> None:
    saver = InMemorySaver()

    @entrypoint(checkpointer=saver)
    def plain(n: int) -> int:
        return n

    with pytest.raises(EmptyInputError, match="'nobody' has never run"):
        plain.draw(thread_id="nobody")
    with pytest.raises(ConfigError, match="name the thread"):
        plain.draw()
    plain.invoke(1, thread_id="a")
    plain.invoke(1, thread_id="b")
    foreign = plain.runs("b")[0].config["configurable"]["checkpoint_id"]
    with pytest.raises(ConfigError, match="no checkpoint"):
        plain.draw({"configurable": {"thread_id": "a", "checkpoint_id": foreign}})
    assert plain.draw(thread_id="a").mermaid.count("-->") == 1, "from its beginning to its end"


def test_saved_and_shown(tmp_path: Path) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def one(url: str) -> str:
        return fetch(url).result()

    one.invoke("a", thread_id="t")
    drawing = one.draw(thread_id="t")
    assert drawing.save(tmp_path / "run.svg").read_text("utf-8") == drawing.svg + "\n"
    assert drawing.save(str(tmp_path / "run.mmd")).read_text("utf-8") == drawing.mermaid + "\n"
    assert (drawing.save(tmp_path / "run.md")).read_text("utf-8") == f"```mermaid\n{drawing.mermaid}\n```\n"
    with pytest.raises(ConfigError, match=r"'run\.png': end the name with \.svg, \.mmd, \.md"):
        drawing.save(tmp_path / "run.png")
    shown = drawing._repr_mimebundle_()
    assert shown == {"image/svg+xml": drawing.svg, "text/vnd.mermaid": drawing.mermaid, "text/plain": repr(drawing)}


# Hostile names and values.

HOSTILE = [
    "</text><script>alert(1)</script>",
    '"]; click c0 call alert(1); x["',
    "a\nclick c0 href javascript:alert(1)",
    "%%{init: {'securityLevel': 'loose'}}%%",
    "end",
    "]]>&amp;&#60;",
    "`**bold**`",
    "\ud800\x00\x1b[31m\u202e\ufffe",
    "x" * 2_000,
    "",
]
hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
ELEMENTS = {"svg", "title", "style", "rect", "text", "tspan", "path"}
ATTRIBUTES = {"class", "x", "y", "width", "height", "rx", "d", "role", "viewBox", "text-anchor"}
NODE = r"[a-z0-9_]+"
LABEL = r"\"(?:[^\"#;`<>&{}\[\]|%\n]|#\d+;|<br/>)*\""
LINES = [
    "flowchart TD",
    rf"{NODE}(\(\[{LABEL}\]\)|\(\({LABEL}\)\)|\({LABEL}\)|\{{\{{{LABEL}\}}\}}):::[a-z]+",
    rf"subgraph {NODE}\[{LABEL}\]",
    "end",
    rf"{NODE} (-->|---|-\.->)(\|{LABEL}\|)? {NODE}",
    r"classDef [a-z]+ [a-z0-9:,#\- ]+",
    rf"class {NODE} [a-z]+",
]
MERMAID_LINE = re.compile("|".join(f"(?:{line})" for line in LINES))


def check_harmless(drawing: Drawing) -> None:
    for element in ET.fromstring(drawing.svg).iter():
        assert element.tag.removeprefix("{http://www.w3.org/2000/svg}") in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
        assert re.fullmatch(r"[a-z ]*", element.attrib.get("class", ""))
    for line in drawing.mermaid.split("\n"):
        assert MERMAID_LINE.fullmatch(line.strip()), line
    drawing.svg.encode("utf-8")
    drawing.mermaid.encode("utf-8")


def with_calls(call: Call, calls: list[Call]) -> Call:
    return replace(call, calls=tuple(calls))


calls = st.recursive(
    st.builds(
        Call,
        hostile,
        st.sampled_from(["finished", "failed", "waiting", "answered", "unfinished", "cached", "kept"]),
        st.just((Span(0.0, 1.0, "finished"),)),
        st.booleans(),
        hostile,
        hostile,
    ),
    lambda inner: st.builds(with_calls, inner, st.lists(inner, max_size=3)),
    max_leaves=8,
)


@given(st.lists(calls, max_size=4), hostile, hostile, hostile)
def test_names_and_values_are_only_text(found: list[Call], workflow: str, status: str, words: str) -> None:
    check_harmless(Drawing(RunFacts(workflow, words, words, status, 1, 0.0, 1.0, words, words, tuple(found))))


@pytest.mark.parametrize("name", HOSTILE[:-1])
def test_a_task_of_any_name_is_drawn(name: str) -> None:
    name = name[:200].encode("utf-8", "replace").decode() or "x"

    @task(name=name)
    def inner(value: str) -> str:
        return fetch(value).result()

    @entrypoint(checkpointer=InMemorySaver(), name="w" + name)
    def outer(value: str) -> str:
        return inner(value).result()

    outer.invoke(name, thread_id=name)
    drawing = outer.draw(thread_id=name)
    check_harmless(drawing)
    assert outline(facts(drawing).calls) == [(name, "finished", [("fetch", "finished")])]


record = st.builds(
    Record,
    st.integers(0, 4),
    st.one_of(st.text(alphabet="ab./~=%0", max_size=40), st.just("a.0/" * 3_000 + "a.0")),
    st.text(alphabet="ab./~%\n", max_size=5),
    st.integers(-5, 1 << 60),
    st.binary(max_size=2),
    st.binary(max_size=8),
    st.floats(),
    st.floats(),
    st.integers(-1, 1 << 60),
    st.booleans(),
    st.binary(max_size=4),
    st.binary(max_size=4),
)


@given(st.lists(record, max_size=12))
def test_any_journal_that_can_be_decoded_is_drawn(records: list[Record]) -> None:
    saver = InMemorySaver()

    @entrypoint(checkpointer=saver)
    def victim(n: int) -> int:
        return fetch("x").result() and n

    victim.invoke(1, thread_id="t")
    thread, run = saver.transact([lambda rows: (rows.open("t").thread, rows.open("t").run)])[0]
    saver.transact([lambda rows: rows.append(Chunk(thread.no, thread.fence, run.no, encode_records(records)))])
    check_harmless(victim.draw(thread_id="t"))
