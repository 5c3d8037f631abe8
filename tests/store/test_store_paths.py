from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.errors import ConfigError
from durably.store.paths import steps, texts

VALUE: dict[str, Any] = {
    "title": "Tea",
    "n": 3,
    "ok": True,
    "none": None,
    "blank": "  ",
    "tags": ["hot", "green"],
    "parts": [{"text": "one", "lang": "en"}, {"text": "two"}, "loose"],
    "deep": {"a": {"b": "x"}, "c": {"b": "y"}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("title", ["Tea"]),
        ("n", ["3"]),
        ("ok", ["true"]),
        ("none", []),
        ("blank", []),
        ("missing", []),
        ("title.inner", []),
        ("title[0]", []),
        ("tags", ['["hot","green"]']),
        ("tags[0]", ["hot"]),
        ("tags[-1]", ["green"]),
        ("tags[2]", []),
        ("tags[-3]", []),
        ("tags[*]", ["hot", "green"]),
        ("parts[*].text", ["one", "two"]),
        ("parts[0].{text,lang}", ["one", "en"]),
        ("{title, n}", ["Tea", "3"]),
        ("deep.*.b", ["x", "y"]),
        ("deep.a", ['{"b":"x"}']),
    ],
)
def test_what_a_path_leads_to(path: str, found: list[str]) -> None:
    assert texts(VALUE, [path]) == found


def test_the_same_text_is_taken_once() -> None:
    assert texts({"a": "x", "b": "x", "c": "y"}, ["a", "b", "c", "a"]) == ["x", "y"]


@given(st.text(alphabet="ab.[]{}*,-01$ ", max_size=12))
def test_any_path_is_read_or_refused(path: str) -> None:
    try:
        read = steps(path)
    except ConfigError as error:
        assert repr(path) in str(error)
    else:
        assert path == "$" or read
        assert isinstance(texts(VALUE, [path]), list)
