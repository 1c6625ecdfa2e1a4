from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api import rls_messages
from ratelimit.api.rls_messages import OwnEntries
from ratelimit.api.shapes import Shape, shape_of, shape_with_hits
from ratelimit.descriptor import Request
from ratelimit.errors import BadRequest

ID = "_request_id"


def descriptor(*entries: tuple[str, str], hits: int | None = None, refund: bool = False) -> rls_pb2.RateLimitDescriptor:
    made = rls_pb2.RateLimitDescriptor(is_negative_hits=refund)
    for key, value in entries:
        made.entries.add(key=key, value=value)
    if hits is not None:
        made.hits_addend.value = hits
    return made


def message(*descriptors: rls_pb2.RateLimitDescriptor, hits: int = 0) -> bytes:
    return rls_pb2.RateLimitRequest(domain="d", descriptors=descriptors, hits_addend=hits).SerializeToString()


def shape(text: bytes) -> Shape:
    found = shape_of(text, ID)
    assert found is not None
    return found


def test_a_message_without_what_varies_is_its_own_shape() -> None:
    text = message(descriptor(("a", "1")), descriptor(("b", "")))

    assert shape(text) == Shape(text)


def test_an_id_with_something_behind_it_has_no_shape() -> None:
    one = rls_pb2.RateLimitDescriptor.Entry(key=ID, value="x").SerializeToString()
    twice = one + b"\x12\x01y"
    inside = b"\x0a" + bytes([len(twice)]) + twice
    text = b"\x0a\x01d\x12" + bytes([len(inside)]) + inside

    assert rls_pb2.RateLimitRequest.FromString(text).descriptors[0].entries[0].value == "y"
    assert shape_of(text, ID) is None


def test_hits_of_a_request_are_cut() -> None:
    shapes = [shape(message(descriptor(("a", "1")), hits=hits)) for hits in (1, 300, 2**32 - 1)]

    assert len({one.key for one in shapes}) == 1
    assert [one.hits for one in shapes] == [1, 300, 2**32 - 1]


def test_hits_of_a_descriptor_are_cut() -> None:
    shapes = [
        shape(message(descriptor(("a", "1"), hits=hits, refund=True), descriptor(("b", "2")))) for hits in (128, 999)
    ]

    assert len({one.key for one in shapes}) == 1
    assert [one.own_hits for one in shapes] == [[128, None], [999, None]]


def test_hits_of_zero_are_hits() -> None:
    assert shape(message(descriptor(("a", "1"), hits=0))).own_hits == [0]


def test_a_request_id_is_cut() -> None:
    shapes = [
        shape(message(descriptor((ID, name), ("a", "1")), descriptor(("b", "2"), (ID, name)))) for name in ("x1", "y2")
    ]

    assert len({one.key for one in shapes}) == 1
    assert [one.request_id for one in shapes] == ["x1", "y2"]


def test_a_request_id_is_a_value_like_any_other_where_no_entry_is_named() -> None:
    text = message(descriptor((ID, "x")))

    assert shape_of(text) == Shape(text)


def test_what_only_looks_like_a_field_is_not_cut() -> None:
    pairs = [shape(message(descriptor(("a", f"\n\x0b{number}\x18{number}")))) for number in (1, 2)]

    assert pairs[0].key != pairs[1].key


@pytest.mark.parametrize(
    "text",
    [
        b"\x18\x05" + message(descriptor(("a", "1"))),
        message(descriptor(("a", "1"))) + b"\x18\x05\x18\x06",
        message(descriptor(("a", "1"))) + b"\x18\x85\x00",
        message(descriptor(("a", "1"))) + b"\x18\xff\xff\xff\xff\x7f",
        message(descriptor(("a", "1"), hits=5)) + b"\x22\x01x",
        message(descriptor(("a", "1"), hits=5))[:-1],
        b"\x0a\x01d\x12\x05\x1a\x02\x08\x05",
        b"\x0a\x01d\x12\x08\x1a\x02\x08\x05\x0a\x02\x0a\x00",
        b"\x0a\x01d\x12\x08\x1a\x02\x08\x05\x1a\x02\x08\x06",
        b"\x0a\x01d\x12\x04\x1a\x02\x10\x05",
        b"\x0a\x01d\x12\x06\x1a\x02\x08\x05\x30\x01",
        message(descriptor((ID, "x")), descriptor((ID, "y"))),
        message(descriptor((ID, ""))),
        message(descriptor((f"{ID}2", "x"))),
    ],
    ids=[
        "hits first",
        "hits twice",
        "a long varint",
        "more than 32 bits",
        "an unknown field",
        "cut short",
        "a descriptor cut short",
        "entries after hits",
        "hits of a descriptor twice",
        "no wrapper",
        "an unknown field of a descriptor",
        "two request ids",
        "a request id without a value",
        "a key that contains the request id's",
    ],
)
def test_what_cannot_be_cut_surely_has_no_shape(text: bytes) -> None:
    assert shape_of(text, ID) is None


def test_the_name_of_the_entry_may_be_of_any_length() -> None:
    name = "x" * 128

    assert shape_of(message(descriptor((name, "1"))), name) is None


def test_a_limit_of_its_own_stays_where_hits_are_cut() -> None:
    limited = descriptor(("a", "1"), hits=5)
    limited.limit.requests_per_unit = 7
    limited.limit.unit = rls_pb2.HOUR
    more = rls_pb2.RateLimitDescriptor.FromString(limited.SerializeToString())
    more.limit.requests_per_unit = 8

    assert shape(message(limited)).own_hits == [5]
    assert shape(message(limited)).key != shape(message(more)).key


@pytest.mark.parametrize("hits", [1, 127, 128, 2**32 - 1])
def test_where_hits_begin_is_enough_to_cut_them(hits: int) -> None:
    text = message(descriptor(("a", "1")), hits=hits)

    assert shape_with_hits(text, len(message(descriptor(("a", "1"))))) == shape(text)


@pytest.mark.parametrize("tail", [b"", b"\x85\x00", b"\xff\xff\xff\xff\x7f", b"\x05\x18\x06", b"\x05\x12\x00"])
def test_hits_that_are_written_oddly_are_not_cut(tail: bytes) -> None:
    text = message(descriptor(("a", "1")))

    assert shape_with_hits(text + b"\x18" + tail, len(text)) is None


NAMES = st.sampled_from([ID, "a", "", "\x18\x05", "\n\x0b_request_id\x12\x01x"])
DESCRIPTORS = st.builds(
    lambda entries, hits, refund: descriptor(*entries, hits=hits, refund=refund),
    st.lists(st.tuples(NAMES, NAMES), max_size=3),
    st.one_of(st.none(), st.sampled_from([0, 1, 5, 127, 128, 2**64 - 1])),
    st.booleans(),
)
MESSAGES = st.builds(
    lambda descriptors, hits: message(*descriptors, hits=hits),
    st.lists(DESCRIPTORS, max_size=3),
    st.sampled_from([0, 1, 24, 128, 2**32 - 1]),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = bytearray(draw(MESSAGES))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(text)


def read(text: bytes) -> Request | None:
    try:
        return rls_messages.parse(text, descriptors_max=10, own=OwnEntries(ID))
    except (BadRequest, DecodeError):
        return None


@given(text=damaged())
def test_what_is_cut_is_what_protobuf_reads(text: bytes) -> None:
    found, request = shape_of(text, ID), read(text)

    if found is not None and request is not None and found.key is not text:
        assert (found.hits, found.request_id) == (request.hits, request.request_id)
        assert list(found.own_hits or [None] * len(request.descriptors)) == [one.hits for one in request.descriptors]
    elif found is not None and request is not None:
        assert (
            request.hits,
            request.request_id,
            [one.hits for one in request.descriptors if one.hits is not None],
        ) == (
            None,
            "",
            [],
        )


def bare(request: Request) -> Request:
    descriptors = tuple(replace(one, hits=None if one.hits is None else 1) for one in request.descriptors)
    return replace(request, hits=None, request_id="", descriptors=descriptors)


@given(texts=st.lists(damaged(), min_size=2, max_size=20))
def test_messages_of_one_shape_differ_only_in_what_was_cut(texts: list[bytes]) -> None:
    known: dict[bytes, Request] = {}
    for text in texts:
        found, request = shape_of(text, ID), read(text)
        if found is not None and request is not None:
            assert known.setdefault(found.key, bare(request)) == bare(request)
