from __future__ import annotations

import math
from typing import Any

import pytest

from ratelimit.errors import StoreRefused, StoreTimeout
from ratelimit.store import Charge, Ledger, Outcome, Policy
from ratelimit.stores.redis_script import read
from ratelimit.stores.shares import Share
from serving.redis_node import Command


def outcome(reply: Any, policy: Policy = Policy.BURN) -> Outcome:
    share = Share(0, Ledger([Charge("k", 1, 10, 100)], math.inf, policy))
    read(Command((), reply=reply), [share])
    return share.outcome


@pytest.mark.parametrize("reply", [7, None, b"OK", [], [None], [[1]]], ids=repr)
@pytest.mark.parametrize("policy", list(Policy), ids=lambda policy: policy.value)
def test_an_answer_that_makes_no_sense_may_have_happened(reply: Any, policy: Policy) -> None:
    assert isinstance(outcome(reply, policy), StoreTimeout)


@pytest.mark.parametrize("after", [None, b"8", [8]], ids=repr)
def test_half_an_answer_may_have_happened(after: Any) -> None:
    assert isinstance(outcome([7, after], Policy.STOP), StoreTimeout)


def test_what_the_script_says_of_a_counter_is_told_in_its_words() -> None:
    assert repr(outcome([b"WRONGTYPE \xff"])) == repr(StoreRefused("WRONGTYPE \ufffd"))
