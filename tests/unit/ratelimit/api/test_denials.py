from __future__ import annotations

import logging

import pytest

from ratelimit.api.denials import DenialLog
from ratelimit.descriptor import Descriptor, Request
from ratelimit.limits import Limit, Unit
from ratelimit.plan import Plan, Planner
from ratelimit.verdict import NO_LIMIT, Status, Verdict
from tests.fakes.rules import limit, rule_set

RULES = rule_set("d", limit("user"), limit("model"))
OVER = Status(is_over=True, limit=Limit(10, Unit.HOUR))
PASSED = Status(is_over=False)


def plan(*keys: str, override: Limit | None = None) -> Plan:
    return Planner().plan(Request("d", tuple(Descriptor(((key, "v\nx"),), override=override) for key in keys)), RULES)


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_denial_names_the_rule_its_place_and_its_limit(caplog: pytest.LogCaptureFixture) -> None:
    DenialLog(1).note(plan("user"), Verdict(is_over=True, statuses=[OVER]), 0)

    assert caplog.messages == ["denied by 'd.user' (rules.yaml:1): 10 per hour; 0 denials before were not logged"]


def test_of_several_limits_the_one_that_denied_is_named(caplog: pytest.LogCaptureFixture) -> None:
    over = Status(is_over=True, limit=Limit(200, Unit.DAY))

    DenialLog(1).note(plan("user"), Verdict(is_over=True, statuses=[over]), 0)

    assert "200 per day" in caplog.text


def test_a_denial_has_its_facts_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    DenialLog(1).note(plan("user"), Verdict(is_over=True, statuses=[OVER]), 0)

    assert vars(caplog.records[0])["fields"] == {
        "rule": "d.user", "place": "rules.yaml:1", "limit": "10 per hour", "left_out": 0,
    }  # fmt: skip


def test_only_the_rules_that_denied_are_named(caplog: pytest.LogCaptureFixture) -> None:
    verdict = Verdict(is_over=True, statuses=[PASSED, OVER, NO_LIMIT])

    DenialLog(1).note(plan("user", "model", "other"), verdict, 0)

    assert ["model" in message for message in caplog.messages] == [True]


def test_denials_are_sampled_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    log, verdict = DenialLog(2), Verdict(is_over=True, statuses=[OVER])

    for now in (0.0, 0.1, 0.4, 0.5, 1.0):
        log.note(plan("user"), verdict, now)

    assert [message.split("; ")[1][:1] for message in caplog.messages] == ["0", "2", "0"]


def test_no_denial_is_logged_where_none_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    DenialLog(0).note(plan("user"), Verdict(is_over=True, statuses=[OVER]), 1e9)

    assert caplog.messages == []


def test_below_info_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    DenialLog(1).note(plan("user"), Verdict(is_over=True, statuses=[OVER]), 0)

    assert caplog.messages == []


def test_a_callers_value_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    DenialLog(1).note(plan("user", override=Limit(1, Unit.HOUR)), Verdict(is_over=True, statuses=[OVER]), 0)

    assert caplog.messages == [r"denied by 'd.user_v\nx' (request): 10 per hour; 0 denials before were not logged"]
