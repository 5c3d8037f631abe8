"""Which record a call takes; which calls are tried again; how records are stored."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably.engine.failures import tried_again
from durably.engine.identity import Key, body_of
from durably.engine.journal import (
    ANSWERED,
    ASKED,
    FORGOTTEN,
    RAISED,
    RETURNED,
    Journal,
    Record,
    decode_records,
    encode_records,
    questions,
)
from durably.errors import DecodeError, NonDeterminismError, ReplayWarning


def record(scope: str, name: str, n: int, fingerprint: bytes = b"", kind: int = RETURNED) -> Record:
    return Record(kind, scope, name, n, fingerprint, b"data")


def claim(journal: Journal, scope: str, name: str, n: int, fingerprint: bytes = b"") -> Key | None:
    """The key of the record that a call takes, None where it has to run."""
    key, found = journal.claim(Key(scope, name, n), fingerprint)
    assert found is None or found.key == key
    return None if found is None else key


class TestClaim:
    def test_the_record_at_its_key(self) -> None:
        journal = Journal([record("", "f", 0, b"a"), record("", "f", 1, b"b")])
        assert claim(journal, "", "f", 1, b"b") == ("", "f", 1)
        assert claim(journal, "", "f", 0, b"a") == ("", "f", 0)
        assert not journal.has_more

    def test_each_record_once(self) -> None:
        journal = Journal([record("", "f", 0)])
        assert claim(journal, "", "f", 0) is not None
        assert claim(journal, "", "f", 0) is None

    def test_one_that_moved_within_its_body(self) -> None:
        journal = Journal([record("", "f", 0, b"a"), record("~0", "f", 0, b"b")])
        assert claim(journal, "", "f", 0, b"b") == ("~0", "f", 0)
        assert claim(journal, "~1", "f", 5, b"a") == ("", "f", 0)

    def test_not_one_of_another_body_or_name(self) -> None:
        journal = Journal([record("g.0", "f", 0, b"a"), record("", "h", 0, b"a")])
        assert claim(journal, "", "f", 0, b"a") is None
        assert claim(journal, "g.1", "f", 0, b"a") is None

    def test_the_first_of_several_that_moved(self) -> None:
        journal = Journal([record("~0", "f", n, b"a") for n in range(3)])
        assert [claim(journal, "", "f", n, b"a") for n in range(4)] == [
            ("~0", "f", 0),
            ("~0", "f", 1),
            ("~0", "f", 2),
            None,
        ]

    def test_one_with_other_arguments_with_a_warning(self) -> None:
        journal = Journal([record("", "f", 0, b"a")])
        with pytest.warns(ReplayWarning, match="call f.0 is made with other arguments than recorded"):
            assert claim(journal, "", "f", 0, b"b") == ("", "f", 0)

    def test_strictly_other_arguments_are_refused(self) -> None:
        journal = Journal([record("", "f", 0, b"a")], strict=True)
        with pytest.raises(NonDeterminismError, match=r"call f.0 is made with other arguments"):
            claim(journal, "", "f", 0, b"b")

    def test_strictly_a_new_call_is_refused_after_recorded_ones_that_were_not_made(self) -> None:
        journal = Journal([record("", "f", 3, b"a")], strict=True)
        with pytest.raises(NonDeterminismError, match=r"call f\.4 is new, while the recorded calls f\.3"):
            claim(journal, "", "f", 4, b"b")
        assert claim(journal, "", "g", 4) is None
        assert claim(journal, "other.0", "f", 4) is None

    def test_strictly_a_call_that_ended_later_than_its_successor_may_run_again(self) -> None:
        """Of two calls side by side, the second was recorded when the process died, and the first was not."""
        journal = Journal([record("", "f", 1, b"b")], strict=True)
        assert claim(journal, "", "f", 0, b"a") is None
        assert claim(journal, "", "f", 1, b"b") == ("", "f", 1)

    def test_a_later_record_of_a_call_replaces_an_earlier_one(self) -> None:
        journal = Journal([record("", "f", 0, b"a", RAISED), record("", "f", 0, b"a")])
        _, found = journal.claim(Key("", "f", 0), b"a")
        assert found is not None
        assert found.kind == RETURNED
        assert claim(journal, "", "f", 0, b"a") is None

    def test_dropped_records_are_gone(self) -> None:
        journal = Journal([record("", "f", 0, b"a"), record("~0", "f", 0, b"a")])
        journal.drop([Key("", "f", 0), Key("", "never", 0)])
        assert claim(journal, "", "f", 0, b"a") == ("~0", "f", 0)

    def test_added_records_can_be_found_where_they_moved_to(self) -> None:
        journal = Journal([record("", "f", 0, b"a")])
        assert claim(journal, "", "f", 9, b"a") == ("", "f", 0)
        journal.add(record("", "f", 0, b"a"))
        assert claim(journal, "~4", "f", 0, b"a") == ("", "f", 0)

    def test_leftovers_are_those_of_the_body_itself(self) -> None:
        journal = Journal([record("", "f", 0), record("~1", "g", 0), record("f.0", "h", 0)])
        assert {str(r.key) for r in journal.leftovers("")} == {"f.0", "~1/g.0"}
        with pytest.warns(
            ReplayWarning, match=r"the workflow made new calls, but not the recorded ones: f.0, ~1/g.0\."
        ):
            journal.report_leftovers("")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            journal.report_leftovers("g.0")

    def test_strictly_leftovers_are_refused(self) -> None:
        with pytest.raises(NonDeterminismError, match=r"not the recorded ones: f.0"):
            Journal([record("", "f", 0)], strict=True).report_leftovers("")


scopes = st.sampled_from(["", "~0", "~1", "f.0", "f.0~0"])
keys = st.builds(Key, scopes, st.sampled_from(["f", "g"]), st.integers(0, 3))
fingerprints = st.sampled_from([b"a", b"b"])


@given(st.dictionaries(keys, fingerprints), st.randoms(use_true_random=False))
def test_the_same_program_claims_the_same_records_in_any_order(recorded: dict[Key, bytes], random: Any) -> None:
    """Calls of different scopes come in any order; each one takes the record at its key."""
    journal = Journal([record(*key, fingerprint) for key, fingerprint in recorded.items()], strict=True)
    calls = list(recorded.items())
    random.shuffle(calls)
    assert [claim(journal, *key, fingerprint) for key, fingerprint in calls] == [key for key, _ in calls]
    assert not journal.has_more


@given(
    st.dictionaries(keys, fingerprints),
    st.lists(st.tuples(keys, fingerprints), unique_by=lambda call: call[0]),
)
def test_a_changed_program(recorded: dict[Key, bytes], calls: list[tuple[Key, bytes]]) -> None:
    """No result is used twice, lost to a call that fits it, or overwritten, whatever was recorded and is called now."""
    journal = Journal([record(*key, fingerprint) for key, fingerprint in recorded.items()])
    unclaimed = dict(recorded)
    used: set[Key] = set()
    for caller, fingerprint in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            key, found = journal.claim(caller, fingerprint)
        kin = {
            k
            for k, f in unclaimed.items()
            if (body_of(k.scope), k.name, f) == (body_of(caller.scope), caller.name, fingerprint)
        }
        assert key not in used, "no two calls of an attempt are recorded at one key"
        used.add(key)
        if found is None:
            assert not kin, "a record that fits is not passed over"
            assert key not in recorded, "a call that runs does not write over a finished one"
        else:
            assert key in kin or (not kin and key == caller)
            assert bool(caught) is (unclaimed.pop(key) != fingerprint)


class TestStoredForm:
    @given(
        st.lists(
            st.builds(
                Record,
                st.sampled_from([RETURNED, RAISED, ASKED, ANSWERED]),
                st.text(),
                st.text(),
                st.integers(0, 2**40),
                st.binary(max_size=16),
                st.binary(),
                st.floats(0, 1e12),
                st.floats(0, 1e9),
                st.integers(1, 1000),
                st.booleans(),
            )
        )
    )
    def test_records_come_back(self, records: list[Record]) -> None:
        half = len(records) // 2
        assert decode_records([encode_records(records[:half]), encode_records(records[half:])]) == records

    def test_forgotten_failures_do_not_count(self) -> None:
        failed, again = record("", "f", 0, kind=RAISED), record("", "f", 0, kind=FORGOTTEN)
        later, other = record("", "f", 0, b"later", RAISED), record("", "g", 0, kind=RAISED)
        chunks = [encode_records([failed, other]), encode_records([again]), encode_records([later])]
        assert decode_records(chunks) == [other, later]

    def test_records_of_an_older_version_are_read(self) -> None:
        short = msgspec.msgpack.encode([[0, "", "f", 0, b"", b"data"]])
        assert decode_records([short]) == [record("", "f", 0)]

    @pytest.mark.parametrize("chunk", [b"", b"\xc1", b"\x91\x01", msgspec.msgpack.encode([["x"]])], ids=repr)
    def test_damage_is_named(self, chunk: bytes) -> None:
        with pytest.raises(DecodeError, match="journal cannot be read"):
            decode_records([chunk])

    def test_open_questions(self) -> None:
        asked, answered = record("", "interrupt", 0, kind=ASKED), record("", "interrupt", 1, kind=ASKED)
        records = [asked, answered, record("", "f", 0), record("", "interrupt", 1, kind=ANSWERED)]
        assert questions(records) == {asked.key: asked}


@dataclass
class Call:
    """A failed call as `tried_again` sees it."""

    key: Key
    failed: BaseException | None
    seen: bool = True
    because: tuple[Key, ...] = ()


class TestTriedAgain:
    def test_the_call_whose_failure_ended_the_attempt(self) -> None:
        ended, handled = ValueError("ended"), ValueError("handled")
        calls = [Call(Key("", "f", 0), handled), Call(Key("", "f", 1), ended)]
        assert tried_again(ended, calls) == [Key("", "f", 1)]

    def test_found_through_causes_and_contexts(self) -> None:
        failure = ValueError("inner")
        for link in ("__cause__", "__context__"):
            wrapped, outermost = RuntimeError("outer"), KeyError("outermost")
            setattr(wrapped, link, failure)
            outermost.__context__ = wrapped
            assert tried_again(outermost, [Call(Key("", "f", 0), failure)]) == [Key("", "f", 0)]

    def test_only_the_first_on_the_way(self) -> None:
        first, second = ValueError("first"), ValueError("second")
        first.__context__ = second
        calls = [Call(Key("", "f", 0), second), Call(Key("", "f", 1), first)]
        assert tried_again(first, calls) == [Key("", "f", 1)]

    def test_each_member_of_a_group(self) -> None:
        failures = [ValueError(str(n)) for n in range(4)]
        group = ExceptionGroup("", [failures[0], ExceptionGroup("", failures[1:3])])
        calls = [Call(Key("", "f", n), failure) for n, failure in enumerate(failures)]
        assert tried_again(group, calls) == [Key("", "f", n) for n in range(3)]

    def test_failures_that_nobody_heard_of(self) -> None:
        calls = [Call(Key("", "f", 0), ValueError(), seen=False), Call(Key("", "g", 0), ValueError())]
        assert tried_again(RuntimeError("the body's own"), calls) == [Key("", "f", 0)]

    def test_a_call_and_the_one_inside_it_that_made_it_fail(self) -> None:
        failure, handled = ValueError("passed on"), KeyError("handled inside")
        calls = [
            Call(Key("outer.0", "handled", 0), handled),
            Call(Key("outer.0", "inner", 0), failure),
            Call(Key("outer.0/inner.0", "innermost", 0), failure),
            Call(Key("", "outer", 0), failure),
        ]
        assert set(tried_again(failure, calls)) == {
            Key("", "outer", 0), Key("outer.0", "inner", 0), Key("outer.0/inner.0", "innermost", 0),
        }  # fmt: skip

    def test_a_failure_of_the_body_alone_tries_nothing_again(self) -> None:
        assert tried_again(ValueError("own"), [Call(Key("", "f", 0), ValueError("handled"))]) == []

    def test_circles_end(self) -> None:
        first, second = ValueError("first"), ValueError("second")
        first.__cause__, second.__cause__ = second, first
        assert tried_again(first, []) == []
