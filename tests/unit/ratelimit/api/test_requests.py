from __future__ import annotations

from math import inf

import pytest

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api.requests import Requests
from ratelimit.api.rls_messages import OwnEntries
from ratelimit.errors import BadRequest
from ratelimit.limiter import Ask
from ratelimit.plan import Planner
from ratelimit.settings import ConfigSettings, LimiterSettings
from ratelimit.source import Rules
from ratelimit.specs import DescriptorSpec, DomainSpec
from serving.metrics import Registry
from tests.fakes.rules import HERE, limit

OWN = OwnEntries("_request_id", "_phase", "_kind")


class Reading:
    """Requests over rules that can be changed."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.rules = Rules(ConfigSettings(), self.registry)
        self.requests = Requests(Planner(), self.rules, LimiterSettings(), OWN, self.registry)

    async def load(self, *nodes: DescriptorSpec) -> None:
        await self.rules.apply([DomainSpec(HERE, "d", nodes)])
        self.requests.renew()

    def ask(self, *entries: tuple[str, str], hits: int = 0) -> Ask:
        return self.requests.ask(message(*entries, hits=hits), inf)

    def plans(self, what: str) -> float:
        return next(sample.value for sample in self.registry.samples() if sample.name == f"weir.plans.{what}")


@pytest.fixture
async def reading() -> Reading:
    made = Reading()
    await made.load(limit("a", 100), limit("b", 50))
    return made


def message(*entries: tuple[str, str], hits: int = 0, domain: str = "d") -> bytes:
    made = rls_pb2.RateLimitRequest(domain=domain, hits_addend=hits)
    descriptor = made.descriptors.add()
    for key, value in entries:
        descriptor.entries.add(key=key, value=value)
    return made.SerializeToString()


def test_requests_of_one_kind_share_what_does_not_depend_on_values(reading: Reading) -> None:
    first, second, third = (reading.ask(("a", value)).plan for value in "123")

    assert second.steps is third.steps
    assert [plan.stems for plan in (first, second, third)] == [("d_a_1_",), ("d_a_2_",), ("d_a_3_",)]


def test_they_are_remembered_one_by_one(reading: Reading) -> None:
    plans = [reading.ask(("a", value)).plan for value in "1212"]

    assert plans[:2] == plans[2:]
    assert (reading.plans("misses"), reading.plans("hits")) == (2, 2)


def test_hits_are_no_part_of_what_is_remembered(reading: Reading) -> None:
    reading.ask(("a", "0"))
    asks = [reading.ask(("a", value), hits=hits) for value, hits in [("1", 5), ("1", 300), ("2", 7), ("1", 0)]]

    assert [ask.hits for ask in asks] == [5, 300, 7, 1]
    assert asks[0].plan is asks[1].plan
    assert reading.plans("entries") == 4


def test_hits_that_are_written_oddly_are_read_by_protobuf(reading: Reading) -> None:
    reading.ask(("a", "0"))
    ask = reading.requests.ask(message(("a", "1")) + b"\x18\x05\x18\x06", inf)

    assert ask.hits == 6


def test_a_plan_tells_its_request_however_it_was_made(reading: Reading) -> None:
    told = [reading.ask(("a", value)).plan.request for value in "12"]

    assert [request.domain for request in told] == ["d", "d"]
    assert [request.descriptors[0].entries for request in told] == [(("a", "1"),), (("a", "2"),)]


@pytest.mark.parametrize("key", ["_request_id", "_phase", "_kind"])
def test_entries_that_speak_to_us_are_in_no_counter(reading: Reading, key: str) -> None:
    value = "check" if key == "_phase" else "x"
    stems = [reading.ask(("a", user), (key, value)).plan.stems for user in "12"]

    assert stems == [("d_a_1_",), ("d_a_2_",)]


async def test_new_rules_hold_for_kinds_that_are_known(reading: Reading) -> None:
    for value in "12":
        reading.ask(("a", value))
    await reading.load(limit("a", 7))
    amounts = [step.rule.limit.amount for step in reading.ask(("a", "3")).plan.steps if step.rule and step.rule.limit]

    assert amounts == [7]


async def test_rules_that_show_values_are_planned_for_each(reading: Reading) -> None:
    await reading.load(limit("a", value_to_metric=True))
    keys = [reading.ask(("a", value)).plan.steps[0].stats_key for value in "12"]

    assert keys == ["d.a_1", "d.a_2"]


def test_a_domain_without_rules_is_unknown_however_often_it_is_asked_for(reading: Reading) -> None:
    plans = [reading.requests.ask(message(("a", value), domain="other"), inf).plan for value in "12"]

    assert [plan.is_known_domain for plan in plans] == [False, False]


def test_the_same_rules_forget_nothing(reading: Reading) -> None:
    plan = reading.ask(("a", "1")).plan
    reading.requests.renew()

    assert reading.ask(("a", "1")).plan is plan


@pytest.mark.parametrize("text", [message(("a", "1"), domain=""), b"\x0a\x01d"], ids=["no domain", "no descriptors"])
def test_a_request_that_asks_for_nothing_is_refused(reading: Reading, text: bytes) -> None:
    with pytest.raises(BadRequest, match="must not be empty"):
        reading.requests.ask(text, inf)


def test_kinds_are_bounded(reading: Reading) -> None:
    for number in range(300):
        reading.ask((f"key{number}", "1"))

    assert reading.ask(("a", "1")).plan.stems == ("d_a_1_",)
    assert 0 < len(reading.requests.kinds) <= 256


def test_without_rules_there_is_nothing_to_ask() -> None:
    reading = Reading()
    reading.requests.renew()

    with pytest.raises(BadRequest, match="no rate limit configuration"):
        reading.ask(("a", "1"))


async def test_a_request_that_is_told_is_read_whole(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPONSE_DYNAMIC_METADATA", "true")
    await reading.load(limit("a", 7))
    told = [reading.ask(("a", value), hits=hits).plan.request.hits for value, hits in [("1", 5), ("2", 6), ("2", 7)]]

    assert told == [5, 6, 7]


def test_equal_requests_of_a_batch_have_one_plan_whatever_they_spend(reading: Reading) -> None:
    text = rls_pb2.RateLimitRequest.FromString(message(("a", "1"), ("_request_id", "x1")))
    text.descriptors[0].hits_addend.value = 7
    equal = [reading.requests.ask(text.SerializeToString(), deadline) for deadline in (1.0, 2.0)]
    reading.requests.renew()
    later = reading.requests.ask(text.SerializeToString(), 3.0)

    assert equal[0].plan is equal[1].plan
    # What lasts no longer than a batch does not outlive the limits that were in force in it.
    assert later.plan is not equal[0].plan
    assert [(ask.deadline, ask.request_id, ask.plan.steps[0].hits) for ask in (*equal, later)] == [
        (deadline, "x1", 7) for deadline in (1.0, 2.0, 3.0)
    ]
