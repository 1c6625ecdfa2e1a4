from __future__ import annotations

from math import inf

import pytest

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api.spans import describe
from serving.calls import Call, Caller, Failure, Reply, StatusCode

MESSAGE = rls_pb2.RateLimitRequest(
    domain="llm",
    descriptors=[rls_pb2.RateLimitDescriptor(entries=[rls_pb2.RateLimitDescriptor.Entry(key="user", value="secret")])],
).SerializeToString()
OVER = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OVER_LIMIT).SerializeToString()


def call(message: bytes) -> Call:
    return Call(message, inf, Caller("test"))


@pytest.mark.parametrize(
    ("reply", "code"), [(OVER, "OVER_LIMIT"), (Failure(StatusCode.UNAVAILABLE, "Redis is away"), "UNAVAILABLE")]
)
def test_a_span_tells_the_domain_and_the_answer(reply: Reply, code: str) -> None:
    told = describe(call(MESSAGE), reply)

    assert (told["ratelimit.domain"], told["ratelimit.descriptors"], told["ratelimit.code"]) == ("llm", 1, code)


def test_a_span_tells_no_value_of_a_descriptor() -> None:
    assert "secret" not in str(describe(call(MESSAGE), OVER))


def test_what_is_no_request_has_no_domain() -> None:
    told = describe(call(b"\xff"), Failure(StatusCode.INVALID_ARGUMENT, "not a RateLimitRequest"))

    assert "ratelimit.domain" not in told
