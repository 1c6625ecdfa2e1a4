from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api import rls_messages
from ratelimit.api.rls_messages import OwnEntries
from ratelimit.descriptor import Descriptor, Phase, Request
from ratelimit.errors import BadRequest
from ratelimit.limits import Limit, Unit
from ratelimit.verdict import NO_LIMIT, REMAINING_MAX, UNLIMITED, Status, Verdict

NAMES = ("Limit", "Left", "Reset")


def wire_request(**fields: Any) -> bytes:
    return rls_pb2.RateLimitRequest(**fields).SerializeToString()


def parse(message: bytes, **options: Any) -> Request:
    return rls_messages.parse(message, **{"descriptors_max": 10, **options})


def entry(key: str, value: str) -> rls_pb2.RateLimitDescriptor.Entry:
    return rls_pb2.RateLimitDescriptor.Entry(key=key, value=value)


def test_a_request_is_read_whole() -> None:
    descriptor = rls_pb2.RateLimitDescriptor(entries=[entry("a", "1"), entry("b", "")], is_negative_hits=True)
    descriptor.hits_addend.value = 0
    descriptor.limit.requests_per_unit = 7
    descriptor.limit.unit = rls_pb2.WEEK

    request = parse(wire_request(domain="d", hits_addend=3, descriptors=[descriptor, {}]))

    first = Descriptor((("a", "1"), ("b", "")), 0, is_refund=True, override=Limit(7, Unit.WEEK))
    assert request == Request("d", (first, Descriptor(())), 3)


def test_hits_of_zero_on_the_request_count_as_not_given() -> None:
    assert parse(wire_request(domain="d", hits_addend=0)).hits is None


def test_without_a_name_for_it_there_is_no_request_id() -> None:
    descriptor = rls_pb2.RateLimitDescriptor(entries=[entry("_phase", "charge"), entry("", "x")])

    request = parse(wire_request(domain="d", descriptors=[descriptor]), own=OwnEntries(phase="_phase"))

    assert (request.request_id, request.descriptors[0].phase) == ("", Phase.CHARGE)


def test_limits_without_end_are_told_rightly() -> None:
    """Overrides make them: more than are remembered, and some again."""
    limits = [Limit(number, Unit.HOUR) for number in range(2 * rls_messages._HEADS_MAX)]
    told = [
        rls_pb2.RateLimitResponse.FromString(
            rls_messages.encode(Verdict(is_over=False, statuses=[Status(is_over=False, limit=limit)]))
        )
        for limit in (*limits, *limits[:10])
    ]

    amounts = [response.statuses[0].current_limit.requests_per_unit for response in told]
    assert amounts == [*range(len(limits)), *range(10)]
    assert len(rls_messages._HEADS) <= rls_messages._HEADS_MAX


def test_an_override_without_a_unit_falls_back_to_the_rule() -> None:
    descriptor = rls_pb2.RateLimitDescriptor(limit=rls_pb2.RateLimitDescriptor.RateLimitOverride(requests_per_unit=5))

    assert parse(wire_request(domain="d", descriptors=[descriptor])).descriptors[0].override is None


def test_the_request_id_is_taken_out() -> None:
    descriptor = rls_pb2.RateLimitDescriptor(entries=[entry("_request_id", "x"), entry("a", "1")])
    message = wire_request(domain="d", descriptors=[descriptor])

    assert parse(message, own=OwnEntries("_request_id")).descriptors[0].entries == (("a", "1"),)
    assert len(parse(message).descriptors[0].entries) == 2


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\xff", "not a RateLimitRequest"),
        (b"\x0a\x02\xff\xfe", "not a RateLimitRequest"),
        (wire_request(domain="d", descriptors=[{}] * 11), "descriptors: 11 of them, at most 10 are taken"),
        (b"\x0a\x01d\x12\x04\x12\x02\x10\x63", "limit.unit: 99 is not a unit"),
    ],
    ids=["not-protobuf", "not-utf-8", "too-many", "unit-99"],
)
def test_what_is_no_request_is_named(message: bytes, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        parse(message)


def protobuf(verdict: Verdict) -> rls_pb2.RateLimitResponse:
    """Write the same answer by protobuf's own means."""
    wire = rls_pb2.RateLimitResponse(overall_code=2 if verdict.is_over else 1)  # type: ignore[arg-type]
    for status in verdict.statuses:
        told = wire.statuses.add(code=2 if status.is_over else 1, limit_remaining=min(status.remaining, REMAINING_MAX))  # type: ignore[arg-type]
        if status.limit is not None:
            told.current_limit.requests_per_unit = min(status.limit.amount, REMAINING_MAX)
            told.current_limit.unit = status.limit.unit.number  # type: ignore[assignment]
            told.current_limit.name = status.limit.name
            told.duration_until_reset.seconds = status.reset_seconds
    return wire


limits = st.builds(Limit, st.integers(0, 2**53), st.sampled_from(Unit), st.sampled_from(["", "gold", "é"]))
limited = st.builds(Status, st.booleans(), limits, st.integers(0, 2**53), st.integers(1, Unit.YEAR.seconds))


@given(
    st.builds(Verdict, st.booleans(), st.lists(st.one_of(limited, st.sampled_from([NO_LIMIT, UNLIMITED])), max_size=5))
)
def test_answers_are_protobufs_own(verdict: Verdict) -> None:
    encoded = rls_messages.encode(verdict, response_headers=NAMES)

    assert rls_pb2.RateLimitResponse.FromString(encoded) == protobuf(verdict)


def test_headers_speak_of_the_tightest_limit() -> None:
    status = Status(is_over=False, limit=Limit(10, Unit.HOUR), remaining=4, reset_seconds=58)
    encoded = rls_messages.encode(
        Verdict(False, [status], status), response_headers=NAMES, request_headers=(*NAMES[:2], "R")
    )

    answer = rls_pb2.RateLimitResponse.FromString(encoded)

    assert [(header.key, header.value) for header in answer.response_headers_to_add] == [
        ("Limit", "10"),
        ("Left", "4"),
        ("Reset", "58"),
    ]
    assert [header.key for header in answer.request_headers_to_add] == ["Limit", "Left", "R"]


def test_headers_that_are_off_are_not_written() -> None:
    status = Status(is_over=False, limit=Limit(10, Unit.HOUR))
    encoded = rls_messages.encode(Verdict(False, [status], status), request_headers=NAMES)

    answer = rls_pb2.RateLimitResponse.FromString(encoded)

    assert (len(answer.response_headers_to_add), len(answer.request_headers_to_add)) == (0, 3)


def test_metadata_is_a_struct() -> None:
    encoded = rls_messages.encode(Verdict(False, [], metadata={"domain": "d", "hitsAddend": 2, "list": [True, None]}))

    answer = rls_pb2.RateLimitResponse.FromString(encoded)

    assert dict(answer.dynamic_metadata)["hitsAddend"] == 2.0


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32 - 1, 2**53, 2**64 - 1])
def test_numbers_are_written_seven_bits_at_a_time(number: int) -> None:
    groups = rls_messages.varint(number)

    assert sum((group & 127) << 7 * place for place, group in enumerate(groups)) == number
    assert [group > 127 for group in groups] == [True] * (len(groups) - 1) + [False]
