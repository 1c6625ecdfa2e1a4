from __future__ import annotations

import math

from ratelimit.errors import StoreRefused
from ratelimit.store import Charge, Ledger
from ratelimit.stores.forecast import Forecast
from serving.redis_link import ReplyError


def ledger(key: str) -> Ledger:
    return Ledger([Charge(key, 1, 10, 100)], math.inf)


def test_what_could_not_be_looked_up_stays_so_whatever_is_written_to_it() -> None:
    forecast = Forecast()
    forecast.learn("list", ReplyError("WRONGTYPE no number"))
    forecast.expect(ledger("list"))

    settled = forecast.settle(ledger("list"), lambda _: True)

    assert repr(settled) == repr(StoreRefused("WRONGTYPE no number"))
