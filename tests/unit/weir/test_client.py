from __future__ import annotations

from protos.interop.rls.v1 import rls_pb2 as rls
from weir.client import Answer, Answers, read, request

ALICE = (("user", "alice"),)
BOB = (("user", "bob"), ("model", "large"))


def test_hits_are_said_of_each_descriptor_so_that_0_only_looks() -> None:
    message = request("llm", [ALICE, BOB], 0)

    assert message.domain == "llm"
    assert [each.HasField("hits_addend") for each in message.descriptors] == [True, True]
    assert [each.hits_addend.value for each in message.descriptors] == [0, 0]
    assert [(entry.key, entry.value) for entry in message.descriptors[1].entries] == list(BOB)


def test_answers_come_in_the_order_asked() -> None:
    response = rls.RateLimitResponse(overall_code=rls.RateLimitResponse.OVER_LIMIT)
    over = response.statuses.add(code=rls.RateLimitResponse.OVER_LIMIT)
    over.current_limit.requests_per_unit = 300
    over.current_limit.unit = rls.RateLimitResponse.RateLimit.MINUTE
    over.current_limit.name = "small"
    over.duration_until_reset.seconds = 20
    response.statuses.add(code=rls.RateLimitResponse.OK)

    answers = read([ALICE, BOB], response)

    assert answers == Answers(
        is_over=True,
        answers=(
            Answer(ALICE, True, 300, "minute", "small", 0, 20),
            Answer(BOB, False, None, "", "", 0, 0),
        ),
    )


def test_what_is_spent_is_what_is_not_left() -> None:
    assert Answer(ALICE, False, 300, "minute", "", 120, 20).spent == 180


def test_nothing_is_spent_where_no_limit_applies() -> None:
    assert Answer(ALICE, False, None, "", "", 2**32 - 1, 0).spent == 0
