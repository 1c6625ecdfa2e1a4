"""Requests and answers: from the vectors' maps to protobuf, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from protos.interop.rls.v1 import rls_pb2 as pb


def request(question: Mapping[str, Any]) -> bytes:
    """Encode a `request` step."""
    message = pb.RateLimitRequest(domain=question["domain"], hits_addend=question.get("hits_addend", 0))
    for descriptor in question["descriptors"]:
        message.descriptors.append(_descriptor(descriptor))
    return message.SerializeToString()


def answer(reply: bytes) -> dict[str, Any]:
    """Decode a reply into the form of an `expect`; unset messages are left out, empty ones are not."""
    message = pb.RateLimitResponse.FromString(reply)
    return {
        "overall_code": _code(message.overall_code),
        "statuses": [_status(status) for status in message.statuses],
        "response_headers": _headers(message.response_headers_to_add) or None,
        "request_headers": _headers(message.request_headers_to_add) or None,
        "raw_body": message.raw_body.decode(errors="replace"),
        "dynamic_metadata": MessageToDict(message.dynamic_metadata) if message.HasField("dynamic_metadata") else None,
        "quota": _quota(message.quota) if message.HasField("quota") else None,
    }


def _descriptor(raw: Mapping[str, Any]) -> pb.RateLimitDescriptor:
    entries = [pb.RateLimitDescriptor.Entry(key=key, value=value) for key, value in raw["entries"]]
    message = pb.RateLimitDescriptor(entries=entries, is_negative_hits=raw.get("is_negative_hits", False))
    if "hits_addend" in raw:
        message.hits_addend.value = raw["hits_addend"]
    if "limit" in raw:
        message.limit.requests_per_unit = raw["limit"]["requests_per_unit"]
        message.limit.unit = pb.RateLimitUnit.Value(raw["limit"]["unit"])
        message.limit.SetInParent()
    return message


def _status(status: pb.RateLimitResponse.DescriptorStatus) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": _code(status.code), "limit_remaining": status.limit_remaining}
    if status.HasField("current_limit"):
        limit = status.current_limit
        unit = pb.RateLimitUnit.Name(pb.RateLimitUnit.ValueType(limit.unit)) if limit.unit else None
        fields["current_limit"] = {"requests_per_unit": limit.requests_per_unit, "unit": unit, "name": limit.name}
    if status.HasField("duration_until_reset"):
        fields["duration_until_reset"] = _seconds(status.duration_until_reset)
    if status.HasField("quota"):
        fields["quota"] = _quota(status.quota)
    return fields


def _quota(quota: pb.RateLimitResponse.Quota) -> dict[str, Any]:
    return MessageToDict(quota, preserving_proto_field_name=True)


def _headers(headers: Any) -> dict[str, str]:
    return {header.key: header.value or header.raw_value.decode(errors="replace") for header in headers}


def _code(code: pb.RateLimitResponse.Code.ValueType) -> str | None:
    return pb.RateLimitResponse.Code.Name(code) if code else None


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
