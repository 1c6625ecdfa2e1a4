"""What a lookup is while nobody can say what was invalidated."""

from __future__ import annotations

import gc

import pytest

from semcache.answers import Outcome, Reason
from semcache.errors import StoreUnavailable
from tests.fakes.caches import make_world

PASSWORD = "how do I reset my password"


@pytest.mark.parametrize("is_store_away", [False, True], ids=["the moment alone", "the entries as well"])
async def test_where_it_is_not_known_what_was_invalidated_a_lookup_is_a_bypass(
    *, is_store_away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.stores.failure = StoreUnavailable("away")
    world.store.failure = world.stores.failure if is_store_away else None

    answer = await world.lookup(PASSWORD)
    gc.collect()

    # Nor is there a failure that nobody heard of.
    assert ((answer.outcome, answer.reason), caplog.text) == ((Outcome.BYPASS, Reason.STORE_AWAY), "")
