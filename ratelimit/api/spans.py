"""What a span tells about a call: the domain and the answer, never a descriptor's value."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from protos.interop.rls.v1 import rls_pb2
from serving.calls import Call, Failure, Reply

# The reference's name.
SPAN = "ShouldRateLimit Execution"


def describe(call: Call, reply: Reply) -> Mapping[str, str | int]:
    """Return the attributes of one call's span; only calls that are kept come here, so decoding again is cheap."""
    told: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": "envoy.service.ratelimit.v3.RateLimitService",
        "rpc.method": "ShouldRateLimit",
        "ratelimit.code": _code(reply),
    }
    try:
        request = rls_pb2.RateLimitRequest.FromString(call.message)
    except DecodeError:
        return told
    return told | {"ratelimit.domain": request.domain, "ratelimit.descriptors": len(request.descriptors)}


def _code(reply: Reply) -> str:
    if isinstance(reply, Failure):
        return reply.status.name
    code = rls_pb2.RateLimitResponse.FromString(reply).overall_code
    return rls_pb2.RateLimitResponse.Code.Name(code)
