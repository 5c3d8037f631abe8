from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.errors import ConfigError, InvalidUpdateError
from durably.graph.message import (
    REMOVE_ALL_MESSAGES,
    RemoveMessage,
    add_messages,
    approximate_tokens,
    trim_messages,
)
from durably.serde import TypedSerializer


def user(content: str, id: str | None = None) -> dict[str, Any]:
    return {"role": "user", "content": content} | ({} if id is None else {"id": id})


def contents(messages: list[Any]) -> list[Any]:
    return [one["content"] if isinstance(one, dict) else one.content for one in messages]


def test_new_messages_are_appended_and_arguments_left_alone() -> None:
    left, right = [user("a", "1")], [user("b", "2"), user("c")]
    before = copy.deepcopy((left, right))

    assert contents(add_messages(left, right)) == ["a", "b", "c"]
    assert (left, right) == before


def test_a_message_with_a_known_id_replaces_that_one_in_its_place() -> None:
    left = [user("a", "1"), user("b", "2"), user("c", "3")]

    assert contents(add_messages(left, [user("B", "2"), user("d", "4")])) == ["a", "B", "c", "d"]
    assert contents(add_messages([], [user("x", "1"), user("y", "1")])) == ["y"]


def test_messages_without_ids_never_replace_each_other_and_get_no_id() -> None:
    merged = add_messages([user("a")], [user("a"), user("b")])

    assert merged == [user("a"), user("a"), user("b")]


@pytest.mark.parametrize("removal", [RemoveMessage("2"), {"role": "remove", "id": "2"}, {"type": "remove", "id": "2"}])
def test_removal(removal: Any) -> None:
    left = [user("a", "1"), user("b", "2")]

    assert contents(add_messages(left, removal)) == ["a"]
    assert contents(add_messages(left, [removal, user("c", "3")])) == ["a", "c"]
    assert contents(add_messages(left, [removal, user("again", "2")])) == ["a", "again"]
    assert contents(add_messages([], [user("b", "2"), removal])) == []


def test_removing_what_is_not_there_is_an_error() -> None:
    with pytest.raises(InvalidUpdateError, match="'9'"):
        add_messages([user("a", "1")], RemoveMessage("9"))


def test_remove_all_starts_a_new_history() -> None:
    left = [user("a", "1"), user("b")]

    assert add_messages(left, RemoveMessage(REMOVE_ALL_MESSAGES)) == []
    assert contents(add_messages(left, [user("x"), RemoveMessage(REMOVE_ALL_MESSAGES), user("y"), user("z", "1")])) == [
        "y",
        "z",
    ]


def test_a_removal_can_be_stored() -> None:
    serializer = TypedSerializer()

    assert serializer.loads(serializer.dumps([RemoveMessage("1")])) == [RemoveMessage("1")]


def test_short_forms() -> None:
    assert add_messages([], "hi") == [user("hi")]
    assert add_messages([], ("ai", "hello")) == [{"role": "assistant", "content": "hello"}]
    assert contents(add_messages([("user", "a")], ["b", ("system", "c")])) == ["a", "b", "c"]
    assert contents(add_messages((user("a"), user("b")), (user("c"),))) == ["a", "b", "c"]


def test_without_messages_it_returns_a_function() -> None:
    assert contents(add_messages()([user("a")], "b")) == ["a", "b"]
    with pytest.raises(InvalidUpdateError, match="both"):
        add_messages([user("a")], None)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [3, {"content": "no role"}, {"role": 3}, ("a", 3), object(), [[user("a")]]])
def test_what_is_no_message_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidUpdateError):
        add_messages([], bad)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=12))
def test_any_history_agrees_with_an_ordered_dict(changes: list[tuple[str, bool]]) -> None:
    history: list[Any] = []
    model: dict[str, str] = {}
    for n, (name, remove) in enumerate(changes):
        if remove and name in model:
            history = add_messages(history, RemoveMessage(name))
            del model[name]
        elif not remove:
            history = add_messages(history, user(str(n), name))
            model[name] = str(n)

    assert [(one["id"], one["content"]) for one in history] == list(model.items())


def test_plain_messages_do_not_load_langchain() -> None:
    code = (
        "import sys; from durably.graph.message import add_messages, trim_messages;"
        "trim_messages(add_messages([], [{'role': 'user', 'content': 'a'}]), max_tokens=5);"
        "assert not [m for m in sys.modules if m.startswith('langchain')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestLangChain:
    @pytest.fixture(autouse=True)
    def load(self) -> None:
        self.lc: Any = pytest.importorskip("langchain_core.messages")

    def test_all_become_langchain_messages_with_ids(self) -> None:
        merged = add_messages(
            [user("a", "1")],
            [self.lc.AIMessage("b"), ("system", "c"), "d", {"role": "assistant", "content": "e"}],
        )

        assert [type(one).__name__ for one in merged] == [
            "HumanMessage", "AIMessage", "SystemMessage", "HumanMessage", "AIMessage",
        ]  # fmt: skip
        assert contents(merged) == ["a", "b", "c", "d", "e"]
        assert len({one.id for one in merged}) == 5
        assert merged[0].id == "1"

    def test_the_given_message_is_not_changed(self) -> None:
        message = self.lc.HumanMessage("a")
        [merged] = add_messages([], message)

        assert message.id is None
        assert merged.id

    def test_replace_and_remove(self) -> None:
        left = add_messages([], [self.lc.HumanMessage("a", id="1"), self.lc.AIMessage("b", id="2")])

        assert contents(add_messages(left, self.lc.AIMessage("B", id="2"))) == ["a", "B"]
        assert contents(add_messages(left, self.lc.RemoveMessage(id="1"))) == ["b"]
        assert contents(add_messages(left, RemoveMessage("1"))) == ["b"]
        assert contents(add_messages(left, {"role": "remove", "id": "1"})) == ["b"]
        everything = self.lc.RemoveMessage(id=REMOVE_ALL_MESSAGES)
        assert contents(add_messages(left, [everything, self.lc.HumanMessage("new")])) == ["new"]
        with pytest.raises(InvalidUpdateError):
            add_messages(left, self.lc.RemoveMessage(id="9"))

    def test_chunks_become_messages(self) -> None:
        [merged] = add_messages([], self.lc.AIMessageChunk("part", id="1"))

        assert type(merged).__name__ == "AIMessage"

    def test_openai_format(self) -> None:
        message = self.lc.HumanMessage(
            [{"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}}], id="1"
        )
        [merged] = add_messages(format="langchain-openai")([], message)

        assert (merged.content, merged.id) == ("see", "1")
        with pytest.raises(ConfigError, match="xml"):
            add_messages([], message, format="xml")  # type: ignore[call-overload]

    def test_what_langchain_cannot_read_is_refused(self) -> None:
        with pytest.raises(InvalidUpdateError):
            add_messages([self.lc.HumanMessage("a")], [{"role": "no such role", "content": "x"}])

    def test_trimming_keeps_calls_with_their_results(self) -> None:
        call = {"name": "add", "args": {"a": 1}, "id": "c1"}
        history = [
            self.lc.SystemMessage("s"),
            self.lc.HumanMessage("q"),
            self.lc.AIMessage("", tool_calls=[call, {**call, "id": "c2"}]),
            self.lc.ToolMessage("2", tool_call_id="c1"),
            self.lc.ToolMessage("3", tool_call_id="c2"),
            self.lc.AIMessage("done"),
        ]
        assert contents(trim_messages(history, max_messages=4)) == ["s", "done"]
        assert contents(trim_messages(history, max_messages=5)) == ["s", "", "2", "3", "done"]
        assert contents(trim_messages(history, max_messages=5, start_on_user=True)) == ["s"]
        assert contents(trim_messages(history, max_messages=6, start_on_user=True)) == contents(history)


HISTORY = [
    {"role": "system", "content": "S"},
    user("one"),
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
    {"role": "tool", "content": "result", "tool_call_id": "c"},
    {"role": "assistant", "content": "answer"},
    user("two"),
]


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (0, ["S"]),
        (1, ["S"]),
        (2, ["S", "two"]),
        (3, ["S", "answer", "two"]),
        (4, ["S", "answer", "two"]),
        (5, ["S", None, "result", "answer", "two"]),
        (6, ["S", "one", None, "result", "answer", "two"]),
        (None, ["S", "one", None, "result", "answer", "two"]),
    ],
)
def test_trim_by_count(limit: int | None, kept: list[Any]) -> None:
    assert contents(trim_messages(HISTORY, max_messages=limit)) == kept


def test_trim_by_tokens_with_a_counter() -> None:
    history = [user("x" * n) for n in (5, 4, 3, 2)]

    def count(message: Any) -> int:
        return len(message["content"])

    assert contents(trim_messages(history, max_tokens=5, count_tokens=count)) == ["xxx", "xx"]
    assert contents(trim_messages(history, max_tokens=8, count_tokens=count)) == ["xxx", "xx"]
    assert contents(trim_messages(history, max_tokens=9, count_tokens=count)) == ["xxxx", "xxx", "xx"]
    assert trim_messages(history, max_tokens=1, count_tokens=count) == []
    both = trim_messages(history, max_tokens=9, max_messages=1, count_tokens=count)
    assert contents(both) == ["xx"]


def test_system_messages_can_go_too() -> None:
    assert contents(trim_messages(HISTORY, max_messages=1, keep_system=False)) == ["two"]


def test_trimming_can_begin_with_the_user() -> None:
    assert contents(trim_messages(HISTORY, max_messages=5, start_on_user=True)) == ["S", "two"]


@pytest.mark.parametrize("limit", [-1, 1.5, True, "3"])
def test_bad_limits_are_refused(limit: Any) -> None:
    with pytest.raises(ConfigError, match="max_messages"):
        trim_messages([], max_messages=limit)
    with pytest.raises(ConfigError, match="max_tokens"):
        trim_messages([], max_tokens=limit)


@given(st.lists(st.sampled_from(["user", "assistant", "tool", "system"])), st.integers(0, 12))
def test_a_trimmed_history_is_a_head_and_an_end_of_the_old_one(roles: list[str], limit: int) -> None:
    history = [{"role": role, "content": str(n)} for n, role in enumerate(roles)]
    head = next((n for n, role in enumerate(roles) if role != "system"), len(roles))
    trimmed = trim_messages(history, max_messages=limit)

    assert len(trimmed) <= max(limit, head)
    tail = trimmed[head:]
    assert trimmed[:head] == history[:head]
    assert tail == history[len(history) - len(tail) :]
    if tail and len(tail) < len(history) - head:
        assert tail[0]["role"] != "tool"


def test_tokens_are_estimated_from_all_parts() -> None:
    text = approximate_tokens(user("x" * 400))
    assert text == 104
    assert approximate_tokens({"role": "user", "content": [{"type": "text", "text": "x" * 400}]}) == text
    assert approximate_tokens({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}) > 200
    assert approximate_tokens({"role": "assistant", "content": None}) == 4
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": "y" * 400}}]}
    assert approximate_tokens(called) > 100
