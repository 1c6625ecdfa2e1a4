from __future__ import annotations

import pytest
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.api.tickets import write_ticket
from ratelimit.rights import CallerRule, Role
from serving.calls import Caller, StatusCode
from serving.rights import digest
from tests.fakes.desks import Apis

RULES = """
domain: llm
descriptors:
  - key: plain
    rate_limit: {unit: minute, requests_per_unit: 1000}
"""


def descriptor(key: str, hits: int = 1) -> wire.Descriptor:
    return wire.Descriptor(entries=[wire.Entry(key=key, value="a")], amount=wire.Amount(hits=hits))


def common(key: str) -> dict[str, object]:
    return {"domain": "llm", "descriptors": [descriptor(key)]}


ASKER = CallerRule(token_sha256=digest("asks"), roles=frozenset({Role.ASK}), domains=("llm",))
SETTLER = CallerRule(san="settler.example", roles=frozenset({Role.SETTLE}))
ADMIN = CallerRule(token_sha256=digest("all"), roles=frozenset({Role.ADMINISTER}))
CALLERS = {
    "asker": Caller("p", token="asks"),
    "settler": Caller("p", ("settler.example",)),
    "admin": Caller("p", token="all"),
    "stranger": Caller("p", token="other"),
    "nobody": Caller("p"),
}
_TICKET = wire.Ticket(request_id="x", domain="llm", descriptors=[descriptor("plain", 1)])


@pytest.mark.parametrize(
    ("name", "request_", "allowed"),
    [
        ("Check", wire.CheckRequest(**common("plain")), {"asker", "admin"}),
        ("Charge", wire.ChargeRequest(**common("plain")), {"asker", "admin"}),
        ("Charge", wire.ChargeRequest(**common("plain"), force=True), {"settler", "admin"}),
        ("Reserve", wire.ReserveRequest(**common("plain")), {"asker", "admin"}),
        ("Settle", wire.SettleRequest(reservation_id="ticket"), {"settler", "admin"}),
        ("Release", wire.ReleaseRequest(reservation_id="ticket"), {"settler", "admin"}),
        ("Refund", wire.RefundRequest(**common("plain")), {"admin"}),
    ],
    ids=["check", "charge", "forced", "reserve", "settle", "release", "refund"],
)
async def test_who_may_do_what(name: str, request_: Message, allowed: set[str]) -> None:
    apis = await Apis(RULES, callers=(ASKER, SETTLER, ADMIN)).start()
    if isinstance(request_, wire.SettleRequest | wire.ReleaseRequest):
        request_ = type(request_)(reservation_id=write_ticket(_TICKET))
    passed = {
        caller
        for caller, who in CALLERS.items()
        if isinstance((await apis.replies(name, request_, caller=who))[0], bytes)
    }

    assert passed == allowed


@pytest.mark.parametrize(
    ("callers", "who", "status"),
    [
        ((), "admin", StatusCode.PERMISSION_DENIED),
        ((), "nobody", StatusCode.PERMISSION_DENIED),
        ((ADMIN,), "nobody", StatusCode.UNAUTHENTICATED),
        ((ADMIN,), "stranger", StatusCode.PERMISSION_DENIED),
    ],
)
async def test_who_may_not_is_told_whether_a_proof_is_missing(
    callers: tuple[CallerRule, ...], who: str, status: StatusCode
) -> None:
    apis = await Apis(RULES, callers=callers).start()
    failure = await apis.failure("Check", wire.CheckRequest(**common("plain")), CALLERS[who])

    assert failure.status == status


async def test_rights_hold_for_their_domains_only() -> None:
    apis = await Apis(RULES.replace("domain: llm", "domain: other"), callers=(ASKER,)).start()
    request = wire.CheckRequest(domain="other", descriptors=[descriptor("plain")])
    failure = await apis.failure("Check", request, CALLERS["asker"])

    assert failure.status == StatusCode.PERMISSION_DENIED
