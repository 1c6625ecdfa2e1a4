"""What a span tells about a call: how it ended and what it saved, by OpenTelemetry's names for models; never a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from protos.semcache.v1 import semcache_pb2 as wire
from serving.calls import Call, Failure, Reply

SERVICE = "weir.semcache.v1.SemanticCacheService"

Told = dict[str, str | int | float]


def describe_lookup(call: Call, reply: Reply) -> Mapping[str, str | int | float]:
    """Return the attributes of a lookup's span; only calls that are kept come here, so decoding again is cheap."""
    return _describe("Lookup", call, reply, _of_lookup)


def describe_store(call: Call, reply: Reply) -> Mapping[str, str | int | float]:
    """Return the attributes of an offer's span."""
    return _describe("Store", call, reply, _of_store)


def _describe(
    method: str, call: Call, reply: Reply, of: Callable[[bytes, bytes], Told]
) -> Mapping[str, str | int | float]:
    told: Told = {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": method}
    if isinstance(reply, Failure):
        return told | {"weir.semcache.status": reply.status.name}
    return told | of(call.message, reply)


def _of_lookup(message: bytes, reply: bytes) -> Told:
    request, response = wire.LookupRequest.FromString(message), wire.LookupResponse.FromString(reply)
    told: Told = {
        "gen_ai.operation.name": "chat",
        "weir.semcache.namespace": request.namespace,
        "weir.semcache.outcome": wire.Outcome.Name(response.outcome).removeprefix("OUTCOME_").lower(),
        "weir.semcache.reason": wire.Reason.Name(response.reason).removeprefix("REASON_").lower(),
        "weir.semcache.step": response.step,
        "weir.semcache.similarity": response.similarity,
        "weir.semcache.confidence": response.confidence,
    }
    if response.HasField("completion"):
        usage = response.completion.usage
        told |= _model("gen_ai.response.model", response.completion.model)
        told |= {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.response.finish_reasons": response.completion.finish_reason,
        }
    return told | _model("gen_ai.request.model", request.scope.model)


def _of_store(message: bytes, reply: bytes) -> Told:
    request, response = wire.StoreRequest.FromString(message), wire.StoreResponse.FromString(reply)
    told: Told = {
        "gen_ai.operation.name": "chat",
        "weir.semcache.namespace": request.namespace,
        "weir.semcache.refusal": wire.Refusal.Name(response.refusal).removeprefix("REFUSAL_").lower(),
    }
    return told | _model("gen_ai.request.model", request.scope.model)


def _model(name: str, model: str) -> Told:
    return {name: model} if model else {}
