from __future__ import annotations

from math import inf

import pytest

from ratelimit.descriptor import Descriptor, Phase, Request
from ratelimit.draw import Draw, Op, Role
from ratelimit.drawing import Wish, admission
from ratelimit.limits import Windows
from ratelimit.plan import Planner
from ratelimit.settings import ModeSettings
from ratelimit.spans import Spans
from tests.fakes.rules import read_rules

RULES = read_rules("""
domain: d
descriptors:
  - key: kept
    rate_limit: { unit: hour, amount: 100, on_deny: keep, weights: { input: 3, cached: 0.1 } }
  - key: budget
    rate_limit: { unit: hour, amount: 100, check: exhausted, on_deny: keep }
  - key: held
    rate_limit: { unit: hour, amount: 100, reserve: { default: 40, max_fraction: 0.5 } }
  - key: many
    rate_limit:
      limits:
        - { amount: 10, window: 1m, algorithm: sliding_window }
        - { amount: 90, window: 5h }
        - { amount: 50, calendar: month, timezone: Europe/Berlin }
  - key: shadow
    shadow_mode: true
    rate_limit: { unit: hour, amount: 5, on_deny: keep }
  - key: quota
    quota_mode: true
    rate_limit: { unit: hour, requests_per_unit: 5 }
  - key: free
    rate_limit: { unlimited: true }
""")
NOW = 1_700_007_600.0


def drawn(
    *descriptors: Descriptor, hits: int = 1, identity: str = "", modes: ModeSettings | None = None
) -> tuple[list[Draw], bool]:
    plan = Planner().plan(Request("d", descriptors), RULES)
    wanted = admission(plan, hits, identity, inf, None, modes or ModeSettings(), Spans(Windows(), NOW, 0))
    return list(wanted.draws), wanted.is_kept


def asked(key: str, hits: int | None = None, **fields: object) -> Descriptor:
    return Descriptor(((key, "x"),), hits, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("descriptor", "identity", "op", "hits"),
    [
        (asked("kept", 0), "", Op.CHARGE, 0),
        (asked("kept", 7), "id", Op.CHARGE, 7),
        (asked("kept", 7, phase=Phase.CHARGE), "", Op.FORCE, 7),
        (asked("kept", 7, is_refund=True), "", Op.REFUND, 7),
        (asked("budget", 0), "", Op.CHARGE, 0),
        (asked("budget", 7), "", Op.FORCE, 7),
        (asked("budget", 7, phase=Phase.CHECK), "", Op.CHARGE, 7),
        (asked("held", 0), "", Op.RESERVE, 40),
        (asked("held", 0), "id", Op.RESERVE, 40),
        (asked("held", 7), "", Op.SETTLE, 7),
        (asked("held", 7), "id", Op.AUTO, 7),
        (asked("held", 7, phase=Phase.CHECK), "", Op.RESERVE, 7),
        (asked("held", 7, phase=Phase.CHARGE), "id", Op.SETTLE, 7),
        (asked("held", 7, phase=Phase.LOOK), "id", Op.CHARGE, 0),
        (asked("held", 7, is_refund=True), "id", Op.REFUND, 7),
    ],
)
def test_what_a_call_means_is_read_off_it(descriptor: Descriptor, identity: str, op: Op, hits: int) -> None:
    [draw] = drawn(descriptor, identity=identity)[0]

    assert (draw.op, draw.hits, draw.id) == (op, hits, identity)


@pytest.mark.parametrize(("kind", "hits"), [("", 7), ("input", 21), ("cached", 1), ("output", 7)])
def test_tokens_weigh_what_their_kind_does_rounded_up(kind: str, hits: int) -> None:
    assert [draw.hits for draw in drawn(asked("kept", 7, kind=kind))[0]] == [hits]
    assert [draw.hits for draw in drawn(asked("kept", kind=kind), hits=7)[0]] == [hits]


def test_every_limit_of_a_rule_is_drawn_on_its_own_counter_in_its_own_window() -> None:
    draws, _ = drawn(asked("many", 3))

    assert [draw.stem for draw in draws] == [
        "w1:{d|many=x}#s60s",
        "w1:{d|many=x}#f18000s",
        "w1:{d|many=x}#fmonth@Europe/Berlin",
    ]
    assert [(draw.start, draw.end) for draw in draws[:2]] == [(0, 0), (1_699_992_000, 1_700_010_000)]
    # 1 November 2023, 00:00 in Berlin, and 1 December.
    assert (draws[2].start, draws[2].end) == (1_698_793_200, 1_701_385_200)


def test_a_kept_rule_counts_where_the_reference_does() -> None:
    assert drawn(asked("kept", 1))[0][0].stem == "d_kept_x_1700006400"


@pytest.mark.parametrize(
    ("keys", "is_kept"),
    [(["kept"], True), (["held"], True), (["many"], True), (["shadow"], False), (["shadow", "quota"], False)],
)
def test_all_or_nothing_is_what_any_rule_that_refuses_asks_for(keys: list[str], *, is_kept: bool) -> None:
    descriptors = [asked(key, 0 if key == "held" else 1) for key in keys]

    assert drawn(*descriptors)[1] is is_kept


def test_roles_are_those_of_the_rules() -> None:
    draws, _ = drawn(asked("kept", 1), asked("shadow", 1), asked("quota", 1), asked("free", 1), asked("nothing", 1))

    assert [draw.role for draw in draws] == [Role.BLOCK, Role.SHADOW, Role.QUOTA]


@pytest.mark.parametrize(
    ("modes", "keys", "role"),
    [
        (ModeSettings(shadow_mode=True), ["kept"], Role.SHADOW),
        (ModeSettings(quota_mode=True), ["kept"], Role.QUOTA),
        (ModeSettings(quota_mode=True), ["kept", "nothing"], Role.SHADOW),
    ],
    ids=["shadow", "quota", "quota with a descriptor that nothing limits"],
)
def test_modes_of_the_service_come_first(modes: ModeSettings, keys: list[str], role: Role) -> None:
    draws, _ = drawn(*(asked(key, 1) for key in keys), modes=modes)

    assert draws[0].role is role


def test_values_that_look_like_other_keys_count_apart() -> None:
    stems = {
        drawn(Descriptor((("many", value),), 1))[0][0].stem
        for value in ("a", "a|b=c", "a#s60s", "{a}", "%7ba%7d", "a=")
    }

    assert len(stems) == 6


def test_on_a_counter_without_holds_a_reservation_is_a_charge_if_it_fits() -> None:
    plan = Planner().plan(Request("d", (asked("kept", 7),)), RULES)

    wanted = admission(plan, 7, "id", inf, Wish(Op.RESERVE), ModeSettings(), Spans(Windows(), NOW, 0))

    assert [(draw.op, draw.hits) for draw in wanted.draws] == [(Op.CHARGE, 7)]
