from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf

import pytest

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api.json_rls import BAD_REQUEST, HttpAnswer, JsonRls
from ratelimit.api.requests import NO_DESCRIPTORS, NO_DOMAIN, NO_RULES
from serving.calls import Call, Failure, Reply, StatusCode


async def ask(body: bytes, reply: Reply, *, errors_as_400: bool = False) -> HttpAnswer:
    async def handler(calls: Sequence[Call]) -> Sequence[Reply]:
        return [reply for _ in calls]

    return await JsonRls(handler, errors_as_400=errors_as_400).answer(body, peer="p", deadline=inf)


@pytest.mark.parametrize(("code", "status", "name"), [(1, 200, "OK"), (2, 429, "OVER_LIMIT")])
async def test_an_answer_is_json_and_a_denial_429(code: int, status: int, name: str) -> None:
    reply = rls_pb2.RateLimitResponse(overall_code=code).SerializeToString()  # type: ignore[arg-type]

    answer = await ask(b'{"domain":"d"}', reply)

    assert (answer.status, answer.content_type, json.loads(answer.body)) == (
        status,
        "application/json",
        {"overallCode": name},
    )


@pytest.mark.parametrize("body", [b"", b"}", b"[]", b'{"nonsense":1}', b"\xff"], ids=repr)
async def test_what_is_no_request_is_a_bad_request(body: bytes) -> None:
    assert await ask(body, b"") == BAD_REQUEST


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure(StatusCode.UNKNOWN, NO_DOMAIN), 400),
        (Failure(StatusCode.UNKNOWN, NO_DESCRIPTORS), 400),
        (Failure(StatusCode.INVALID_ARGUMENT, "limit.unit: 99 is not a unit"), 400),
        (Failure(StatusCode.UNKNOWN, NO_RULES), 500),
        (Failure(StatusCode.UNKNOWN, "WRONGTYPE"), 500),
        (Failure(StatusCode.UNAVAILABLE, "away"), 503),
    ],
    ids=lambda value: value.detail if isinstance(value, Failure) else "",
)
async def test_only_the_callers_faults_are_400(failure: Failure, status: int) -> None:
    assert (await ask(b"{}", failure)).status == status
    assert (await ask(b"{}", failure, errors_as_400=True)).status == 400
