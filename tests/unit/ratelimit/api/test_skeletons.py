from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api import rls_messages
from ratelimit.api.skeletons import read_keys, take_apart
from ratelimit.descriptor import Descriptor, Request
from ratelimit.errors import BadRequest

Entries = list[tuple[str, str]]


def message(*descriptors: Entries, domain: str = "d", hits: int = 0) -> bytes:
    made = rls_pb2.RateLimitRequest(domain=domain, hits_addend=hits)
    for entries in descriptors:
        descriptor = made.descriptors.add()
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
    return made.SerializeToString()


def put_together(text: bytes) -> tuple[Request, bytes] | None:
    """Return what was taken apart as a request, and the bytes behind it."""
    apart = take_apart(text)
    if apart is None:
        return None
    skeleton, values, end = apart
    domain, keys = read_keys(skeleton)
    rest = iter(values)
    descriptors = tuple(Descriptor(tuple((key, next(rest)) for key in each)) for each in keys)
    return Request(domain, descriptors), text[end:]


def test_a_message_is_taken_apart_into_what_it_names_and_its_values() -> None:
    text = message([("user", "alice"), ("model", "gpt")], [("user", "bob")])

    assert take_apart(text) == ((b"d", None, b"user", b"model", None, b"user"), ["alice", "gpt", "bob"], len(text))


def test_hits_are_left_at_the_end() -> None:
    with_hits, without = message([("a", "1")], hits=300), message([("a", "1")])

    assert take_apart(with_hits) == take_apart(without)


def test_a_descriptor_may_be_longer_than_its_texts() -> None:
    entries = [(f"key{number}", "x" * 100) for number in range(9)]

    assert put_together(message(entries)) == (Request("d", (Descriptor(tuple(entries)),)), b"")


def limited(text: bytes) -> bytes:
    wire = rls_pb2.RateLimitRequest.FromString(text)
    wire.descriptors[0].limit.requests_per_unit = 5
    return wire.SerializeToString()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x0a",
        message([("a", "1")], domain=""),
        message([("a", "1")], domain="d" * 128),
        message([("a", "")]),
        message([("", "1")]),
        message([("a", "x" * 128)]),
        message([("k" * 128, "1")]),
        limited(message([("a", "1")])),
        message([("a", "1")])[:-1],
        message([("a", "1")]) + b"\x0a\x01e",
        b"\x0a\x01d\x12\x0a\x0a\x06\x12\x01x\x0a\x01a",
        b"\x0a\x01d\x12\x89\x00\x0a\x07\x0a\x01a\x12\x02xy",
        b"\x0a\x01d\x12\x89\x80\x00\x0a\x07\x0a\x01a\x12\x02xy",
        b"\x0a\x01d\x12\x08\x0a\x06\x0a\x01a\x12\x01\xff",
        b"\x0a\x01d\x12\x07\x0a\x06\x0a\x01a\x12\x01x",
    ],
    ids=[
        "nothing",
        "cut short",
        "no domain",
        "a long domain",
        "an empty value",
        "an empty key",
        "a long value",
        "a long key",
        "a limit of its own",
        "an entry cut short",
        "a second domain",
        "a value before its key",
        "a length of two bytes that needs one",
        "a length of three bytes",
        "no UTF-8",
        "an entry longer than its descriptor",
    ],
)
def test_what_is_written_otherwise_is_left_to_protobuf(text: bytes) -> None:
    assert take_apart(text) is None


NAMES = st.sampled_from(["a", "b", "", "\x18\x05", "\n\x04\n\x01a\x12", "é", "x" * 126, "y" * 130])
MESSAGES = st.builds(
    lambda descriptors, hits: message(*descriptors, hits=hits),
    st.lists(st.lists(st.tuples(NAMES, NAMES), max_size=3), max_size=3),
    st.sampled_from([0, 1, 24, 128, 2**32 - 1]),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = bytearray(draw(MESSAGES))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(text)


def by_protobuf(text: bytes) -> Request | None:
    try:
        return rls_messages.parse(text, descriptors_max=100)
    except BadRequest:
        return None


@given(st.one_of(damaged(), st.binary(max_size=40)))
def test_what_is_taken_apart_is_what_protobuf_reads(text: bytes) -> None:
    with suppress(UnicodeDecodeError):  # of a key: protobuf refuses it, too, so that it never becomes known
        found = put_together(text)

        assert found is None or found[0] == by_protobuf(text[: len(text) - len(found[1])])


@given(
    st.lists(
        st.lists(st.tuples(st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=15)), min_size=1, max_size=4),
        max_size=4,
    )
)
def test_what_gateways_write_is_taken_apart(descriptors: list[Entries]) -> None:
    text = message(*descriptors)

    assert put_together(text) == (by_protobuf(text), b"")
