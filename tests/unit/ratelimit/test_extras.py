from __future__ import annotations

import json

import pytest

from ratelimit.descriptor import Descriptor, Request
from ratelimit.extras import Extras, extras
from ratelimit.plan import Planner
from ratelimit.verdict import Status
from tests.fakes.rules import read_rules

RULES = read_rules("""
domain: d
descriptors:
  - key: openai
    rate_limit: { unit: minute, amount: 100, denied: { body: openai, headers: { x-budget: "{limit} per {span}" } } }
  - key: anthropic
    rate_limit: { unit: minute, amount: 100, denied: { body: anthropic } }
  - key: text
    rate_limit: { window: 5h, amount: 100, denied: { body: "{rule}: {remaining} left", headers: { retry-after: "7" } } }
  - key: soft
    rate_limit: { unit: minute, amount: 100, soft: { at: 0.8, headers: { x-route: small } } }
  - key: bodiless
    rate_limit: { unit: minute, amount: 100, denied: { headers: { x-why: "{rule}" } } }
  - key: plain
    rate_limit: { unit: minute, requests_per_unit: 100 }
  - key: long
    rate_limit: { window: 5h, amount: 100, denied: { body: openai } }
  - key: calendar
    rate_limit: { calendar: month, timezone: Europe/Berlin, amount: 100, denied: { body: openai } }
""")


def answered(*told: tuple[str, int, bool]) -> Extras:
    """`told`: key, remaining, is over."""
    plan = Planner().plan(Request("d", tuple(Descriptor(((key, ""),)) for key, _, _ in told)), RULES)
    statuses = [
        Status(is_over, step.rule.limit if step.rule else None, remaining, 42)
        for step, (_, remaining, is_over) in zip(plan.steps, told, strict=True)
    ]
    return extras(plan, statuses, is_over=any(is_over for _, _, is_over in told))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_refused_client_gets_an_error_in_the_shape_of_its_provider(provider: str) -> None:
    answer = answered((provider, 0, True))

    error = json.loads(answer.body)["error"]
    assert error["type"] == "rate_limit_error"
    assert error["message"] == "Rate limit reached: 100 per minute. Try again in 42 s."
    assert {("retry-after", "42"), ("content-type", "application/json")} <= set(answer.response_headers)


def test_templates_are_filled_in() -> None:
    assert answered(("openai", 0, True)).response_headers[0] == ("x-budget", "100 per minute")
    assert answered(("text", 3, True)).body == b"d.text: 3 left"


def test_a_header_that_the_rule_gives_is_not_given_twice() -> None:
    assert answered(("text", 0, True)).response_headers == [("retry-after", "7"), ("content-type", "text/plain")]


def test_an_answer_without_a_body_is_of_no_media_type() -> None:
    answer = answered(("bodiless", 0, True))

    assert answer == Extras(response_headers=[("x-why", "d.bodiless"), ("retry-after", "42")])


def test_the_first_rule_that_refused_speaks() -> None:
    answer = answered(("openai", 50, False), ("plain", 0, True), ("text", 0, True), ("anthropic", 0, True))

    assert answer.body == b"d.text: 0 left"


@pytest.mark.parametrize(
    ("remaining", "headers"), [(21, []), (20, [("x-route", "small")]), (0, [("x-route", "small")])]
)
def test_a_soft_limit_marks_a_request_from_its_share_on(remaining: int, headers: list[tuple[str, str]]) -> None:
    assert list(answered(("soft", remaining, False), ("plain", 5, False)).request_headers) == headers


def test_a_refused_request_is_not_marked_for_an_upstream_it_never_reaches() -> None:
    assert answered(("soft", 0, False), ("plain", 0, True)) == Extras()


@pytest.mark.parametrize(("key", "span"), [("long", "5 hours"), ("calendar", "month")])
def test_a_refused_client_is_told_the_window_in_words(key: str, span: str) -> None:
    message = json.loads(answered((key, 0, True)).body)["error"]["message"]

    assert message == f"Rate limit reached: 100 per {span}. Try again in 42 s."
