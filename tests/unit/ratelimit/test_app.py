from __future__ import annotations

import pytest

from ratelimit import settings
from ratelimit.app import make_outage
from ratelimit.settings import ConfigSettings
from ratelimit.source import Rules
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Own
from ratelimit.stores.memory import MemoryStore
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.rules import HERE, limit

SURVIVES = DescriptorSpec(HERE, "b", rate_limit=LimitSpec(HERE, "hour", 10, own={"on_store_error": Own(HERE, "open")}))


@pytest.mark.parametrize(
    ("nodes", "is_wanted"),
    [((limit("a"),), False), ((limit("a"), SURVIVES), True)],
    ids=["no rule survives an outage", "some rule does"],
)
async def test_no_call_is_looked_at_for_an_answer_that_no_rule_has(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[DescriptorSpec, ...], *, is_wanted: bool
) -> None:
    monkeypatch.setenv("BACKEND_TYPE", "redis")
    rules = Rules(ConfigSettings(), Registry())
    outage = make_outage(settings.load(), MemoryStore(10), Registry(), FakeClock(), rules)

    await rules.apply([DomainSpec(HERE, "d", nodes)])

    assert outage is not None
    assert outage.is_wanted == is_wanted
