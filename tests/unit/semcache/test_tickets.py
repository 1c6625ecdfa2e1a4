from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.entry import EntryId, ScopeId
from semcache.invalidation import Moment
from semcache.tickets import Held, Ticket, new_nonce, read_lease, read_ticket, whose, write

names = st.text(max_size=40)


@given(
    names,
    names,
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.none() | names.filter(bool),
    st.none() | st.floats(-1e6, 1e6),
)
def test_a_lookup_is_read_as_it_was_written(
    namespace: str, scope: str, epoch: int, mark: int, entry: str | None, score: float | None
) -> None:
    ticket = Ticket(namespace, ScopeId(scope), Moment(epoch, mark), EntryId(entry) if entry else None, score)

    assert read_ticket(write(ticket)) == ticket


def test_a_lease_is_read_as_it_was_written() -> None:
    held = Held("group", "key", "token", Moment(7, 8))

    assert read_lease(write(held)) == held
    assert "token" not in repr(held).replace("token=", "")


def test_a_lookup_says_whose_it_was_to_who_knows_the_tenant_only() -> None:
    mine, other = (whose(ScopeId("s"), tenant) for tenant in ("acme", "globex"))

    assert (mine == other, "acme" in mine, mine == whose(ScopeId("t"), "acme")) == (False, False, False)
    assert (whose(ScopeId("s"), "acme"), whose(ScopeId("s"), None)) == (mine, "")


def test_two_lookups_have_two_names() -> None:
    names = {write(Ticket("n", ScopeId("s"), Moment(), nonce=new_nonce())) for _ in range(2)}

    assert len(names) == 2


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


FOREIGN = {
    "nothing": "",
    "no base64": "!!!",
    "no JSON": base64.urlsafe_b64encode(b"{").decode(),
    "another shape": packed({"a": 1}),
    "too few": packed(["n", "s", 0]),
    "another kind": packed(["n", "s", ["0", 0], None, None, "x", 0.5, "w"]),
    "a score that is no number": packed(["n", "s", [0, 0], None, float("inf"), "x", 0.5, "w"]),
    "a similarity that is no number": packed(["n", "s", [0, 0], None, None, "x", float("nan"), "w"]),
    "too long": packed(["n", "s", [0, 0], None, None, "x" * 2_000, 0.5, "w"]),
    "letters of another language": "éé",
}


def test_one_of_ours_has_the_shape_that_foreign_ones_have_here() -> None:
    assert read_ticket(packed(["n", "s", [0, 0], None, None, "x", 0.5, "w"])) is not None


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_ours_is_nothing(text: str) -> None:
    assert (read_ticket(text), read_lease(text)) == (None, None)


def test_a_lookup_is_no_lease_and_a_lease_no_lookup() -> None:
    assert read_lease(write(Ticket("n", ScopeId("s"), Moment()))) is None
    assert read_ticket(write(Held("g", "k", "t", Moment()))) is None


@given(st.text(max_size=80))
def test_no_text_breaks_reading(text: str) -> None:
    assert read_ticket(text) is None or text
