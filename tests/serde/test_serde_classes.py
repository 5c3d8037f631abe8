"""Which classes may be stored, and what happens when they change."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
import textwrap
import typing
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from durably.errors import DecodeError, EncodeError
from durably.serde import TypedSerializer, ValueWarning, allowed, learn, register

serializer = TypedSerializer()


@dataclasses.dataclass
class Leaf:
    n: int


@dataclasses.dataclass
class Branch:
    leaves: dict[str, list[Leaf | None]]
    later: Later | None = None


class Later(NamedTuple):
    leaf: Leaf


class Shown(enum.Enum):
    YES = 1


class Typed(typing.TypedDict):
    shown: Shown


@dataclasses.dataclass
class Unnamed:
    n: int


Alias = typing.NewType("Alias", Later)
T = typing.TypeVar("T", bound=Leaf)


def names() -> set[str]:
    return {key.partition(":")[2] for key in allowed() if key.startswith(f"{__name__}:")}


def test_annotations_are_followed_into_fields_generics_and_strings() -> None:
    def task(a: list[tuple[Branch, ...]], b: typing.Annotated[Typed, "x"]) -> Alias | None: ...

    learn(task)
    assert {"Branch", "Leaf", "Later", "Shown"} <= names()
    assert "Unnamed" not in names()
    value = Branch({"a": [Leaf(1), None]}, Later(Leaf(2)))
    assert serializer.loads(serializer.dumps(value)) == value


def test_names_that_exist_later_are_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def task(a: dict[str, NotYet]) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    learn(task)
    assert "NotYet" not in names()
    made = dataclasses.make_dataclass("NotYet", ["a"])
    made.__module__, made.__qualname__ = __name__, "NotYet"
    monkeypatch.setattr(sys.modules[__name__], "NotYet", made, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = serializer.loads(serializer.dumps(made(1)))
    assert type(found) is made


def test_declaring_a_task_again_and_again_keeps_the_table_small() -> None:
    def declare() -> type:
        @dataclasses.dataclass
        class Local:
            n: int

        def task(a: Any) -> None: ...

        task.__annotations__["a"] = Local
        learn(task)
        return Local

    sizes = set()
    for _ in range(5):
        local = declare()
        data = serializer.dumps(local(1))
        assert type(serializer.loads(data)) is local
        sizes.add(len(allowed()))
    assert len(sizes) == 1
    declare()
    assert type(serializer.loads(data)) is not local  # the newest declaration counts


def test_a_data_class_of_the_same_package_is_stored_with_one_warning() -> None:
    def task() -> None: ...

    learn(task)
    with pytest.warns(ValueWarning, match=r"Unnamed is stored although no annotation names it.*register\(Unnamed\)"):
        data = serializer.dumps(Unnamed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        serializer.dumps([Unnamed(2)])
    assert serializer.loads(data) == Unnamed(1)


def test_classes_of_other_packages_need_a_line_and_the_error_says_which() -> None:
    import hypothesis

    with pytest.raises(EncodeError, match=r"hypothesis\S*settings.*durably.serde.register\(settings\)") as caught:
        serializer.dumps({"s": [hypothesis.settings()]})
    assert caught.value.path == '["s"][0]'


def test_the_table_can_be_looked_at_but_not_changed_from_outside() -> None:
    register(Leaf)
    row = allowed()[f"{__name__}:Leaf"]
    assert (row.cls, row.reason) == (Leaf, "registered")
    allowed().clear()
    assert allowed()


def test_factories_of_defaultdicts_may_be_allowed_classes() -> None:
    register(Leaf)
    assert serializer.loads(serializer.dumps(defaultdict(Leaf))).default_factory is Leaf
    with pytest.raises(EncodeError, match="factory"):
        serializer.dumps(defaultdict(lambda: 1))


# --- changes ------------------------------------------------------------------------------------------------------


def versions(before: type, after: type) -> Any:
    """Store an instance of one class and read it as another of the same name."""
    for cls in (before, after):
        cls.__module__, cls.__qualname__ = __name__, "Changed"
    register(before)
    data = serializer.dumps(before(1, 2))
    register(after)
    return serializer.loads(data)


def dataclass_of(*fields: Any, **options: Any) -> type:
    return dataclasses.make_dataclass("Changed", fields, **options)


@pytest.mark.parametrize("options", [{}, {"slots": True}, {"frozen": True}])
def test_a_new_field_gets_its_default_and_a_removed_one_is_dropped(options: dict[str, bool]) -> None:
    before = dataclass_of(("a", int), ("gone", int), **options)
    after = dataclass_of(
        ("a", int),
        ("b", int, dataclasses.field(default=5)),
        ("c", list[int], dataclasses.field(default_factory=list)),
        **options,
    )
    with pytest.warns(ValueWarning, match="no longer has: gone; without its new fields: b, c"):
        found = versions(before, after)
    assert found == after(1, 5, [])


def test_changed_models_structs_tuples_and_attrs() -> None:
    families = [
        (pydantic.create_model("M", a=int, gone=int), pydantic.create_model("M", a=int, b=(int, 5))),
        (msgspec.defstruct("S", ["a", "gone"]), msgspec.defstruct("S", ["a", ("b", int, 5)])),
        (NamedTuple("T", [("a", int), ("gone", int)]), namedtuple_with_default()),
        (
            attrs.make_class("A", ["a", "gone"]),
            attrs.make_class("A", {"a": attrs.field(), "b": attrs.field(default=5)}),
        ),
    ]
    for before, after in families:
        for cls in (before, after):
            cls.__module__, cls.__qualname__ = __name__, f"Changed{before.__name__}"
        register(before)
        made = before(a=1, gone=2)
        data = serializer.dumps(made)
        register(after)
        with pytest.warns(ValueWarning, match="gone"):
            found = serializer.loads(data)
        assert (type(found), found.a, found.b) == (after, 1, 5)
        assert not hasattr(found, "gone")


def namedtuple_with_default() -> type:
    from collections import namedtuple

    return namedtuple("T", ["a", "b"], defaults=[5])


def test_a_removed_enum_member_is_an_error_that_names_it() -> None:
    for members in ({"A": 1, "B": 2}, {"A": 1}):
        cls = enum.Enum("Mood", members, module=__name__, qualname="Mood")  # type: ignore[misc]
        register(cls)
        if "B" in members:
            data = serializer.dumps(cls["B"])
    with pytest.raises(DecodeError, match="no member 'B' any more"):
        serializer.loads(data)


def test_a_renamed_class_is_found_by_its_alias() -> None:
    old = dataclass_of(("n", int))
    old.__module__, old.__qualname__ = "shop.old", "Order"
    register(old)
    data = serializer.dumps(old(7))
    new = dataclass_of(("n", int))
    new.__module__, new.__qualname__ = __name__, "NewOrder"
    assert register(aliases=["shop.old:Order"])(new) is new
    assert serializer.loads(data) == new(7)


MODULE = """
    import dataclasses, sys
    from durably.serde import TypedSerializer, learn

    @dataclasses.dataclass
    class Order:
        n: int

    def task(order: {annotation}) -> None: ...
    learn(task)
"""


@pytest.mark.parametrize("annotation", ["'Order'", "object"])
def test_another_process_reads_it(tmp_path: Path, annotation: str) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(MODULE.format(annotation=annotation)))
    write = "import shop; sys.stdout.buffer.write(shop.TypedSerializer().dumps([shop.Order(7)]))"
    read = "import shop; print(shop.TypedSerializer().loads(sys.stdin.buffer.read()))"
    blind = "from durably.serde import TypedSerializer as T; T().loads(sys.stdin.buffer.read())"

    def run(code: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        start = f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}; "
        return subprocess.run([sys.executable, "-c", start + code], input=data, capture_output=True, check=False)

    stored = run(write).stdout
    assert run(read, stored).stdout.strip() == b"[Order(n=7)]"
    error = run(blind, stored).stderr.decode()
    assert "the class Order of module shop is not known here: import the module that defines it" in error
