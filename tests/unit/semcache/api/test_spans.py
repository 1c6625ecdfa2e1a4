from __future__ import annotations

import math

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.api.spans import describe_lookup, describe_store
from serving.calls import Call, Caller, Failure, StatusCode

LOOKUP = Call(wire.LookupRequest(namespace="support").SerializeToString(), math.inf, Caller("p"))


def test_a_call_that_failed_tells_its_status_and_nothing_of_an_answer() -> None:
    told = describe_store(LOOKUP, Failure(StatusCode.INVALID_ARGUMENT, "prompt.text: is empty"))

    assert told == {
        "rpc.system": "grpc",
        "rpc.service": "weir.semcache.v1.SemanticCacheService",
        "rpc.method": "Store",
        "weir.semcache.status": "INVALID_ARGUMENT",
    }


def test_a_lookup_that_found_nothing_tells_of_no_usage() -> None:
    told = describe_lookup(LOOKUP, wire.LookupResponse(outcome=wire.OUTCOME_MISS).SerializeToString())

    assert told["weir.semcache.outcome"] == "miss"
    assert not [name for name in told if name.startswith("gen_ai.usage") or name == "gen_ai.response.model"]
