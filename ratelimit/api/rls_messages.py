"""Between the bytes of Envoy's rate limit service and our own values.

Requests are parsed by protobuf. Answers are written by hand, because one is made for every call
and a status is a few varints: 2 µs instead of 9 for two descriptors. `tests/unit` holds the writer
to protobuf's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from protos.interop.rls.v1 import rls_pb2
from ratelimit.descriptor import Descriptor, Entry, Request
from ratelimit.errors import BadRequest
from ratelimit.limits import UNITS_BY_NUMBER, Limit
from ratelimit.specs import JsonValue
from ratelimit.verdict import REMAINING_MAX, Status, Verdict

# Tags of RateLimitResponse and its messages: field number × 8 + wire type.
_OVERALL_CODE, _STATUSES, _RESPONSE_HEADERS, _REQUEST_HEADERS, _METADATA = b"\x08", b"\x12", b"\x1a", b"\x22", b"\x32"
_CODE, _CURRENT_LIMIT, _REMAINING, _RESET = b"\x08", b"\x12", b"\x18", b"\x22"
_OK, _OVER_LIMIT = b"\x01", b"\x02"


def parse(message: bytes, *, descriptors_max: int, request_id_entry: str = "") -> Request:
    """Read a RateLimitRequest.

    Raises:
        BadRequest: it is none, or has more descriptors than allowed, or a unit that does not exist.
    """
    try:
        wire = rls_pb2.RateLimitRequest.FromString(message)
    except DecodeError as error:
        raise BadRequest(f"not a RateLimitRequest: {error}") from None
    if len(wire.descriptors) > descriptors_max:
        raise BadRequest(f"descriptors: {len(wire.descriptors)} of them, at most {descriptors_max} are taken")
    descriptors = tuple(_descriptor(descriptor, request_id_entry) for descriptor in wire.descriptors)
    return Request(wire.domain, descriptors, wire.hits_addend or None, _request_id(wire, request_id_entry))


def _request_id(wire: rls_pb2.RateLimitRequest, request_id_entry: str) -> str:
    if not request_id_entry:
        return ""
    entries = (entry for descriptor in wire.descriptors for entry in descriptor.entries)
    return next((entry.value for entry in entries if entry.key == request_id_entry), "")


def _descriptor(wire: rls_pb2.RateLimitDescriptor, request_id_entry: str) -> Descriptor:
    entries: tuple[Entry, ...] = tuple(
        (entry.key, entry.value) for entry in wire.entries if entry.key != request_id_entry or not request_id_entry
    )
    hits = wire.hits_addend.value if wire.HasField("hits_addend") else None
    return Descriptor(entries, hits, wire.is_negative_hits, _override(wire) if wire.HasField("limit") else None)


def _override(wire: rls_pb2.RateLimitDescriptor) -> Limit | None:
    # UNKNOWN falls back to the configured rule, as proposed to the reference (which crashes).
    if wire.limit.unit == rls_pb2.UNKNOWN:
        return None
    unit = UNITS_BY_NUMBER.get(wire.limit.unit)
    if unit is None:
        raise BadRequest(f"limit.unit: {wire.limit.unit} is not a unit")
    return Limit(wire.limit.requests_per_unit, unit)


def encode(
    verdict: Verdict, *, response_headers: Sequence[str] | None = None, request_headers: Sequence[str] | None = None
) -> bytes:
    """Write a RateLimitResponse; headers are the names for limit, remaining and reset, or None for none."""
    parts = [_OVERALL_CODE, _OVER_LIMIT if verdict.is_over else _OK]
    for status in verdict.statuses:
        encoded = _status(status)
        parts += (_STATUSES, varint(len(encoded)), encoded)
    if verdict.tightest is not None:
        for tag, names in ((_RESPONSE_HEADERS, response_headers), (_REQUEST_HEADERS, request_headers)):
            for header in _headers(verdict.tightest, names) if names else ():
                parts += (tag, varint(len(header)), header)
    if verdict.metadata is not None:
        struct = _struct(verdict.metadata)
        parts += (_METADATA, varint(len(struct)), struct)
    return b"".join(parts)


def _status(status: Status) -> bytes:
    parts = [_CODE, _OVER_LIMIT if status.is_over else _OK]
    if status.limit is not None:
        parts.append(_limit(status.limit))
    if status.remaining:
        parts += (_REMAINING, varint(min(status.remaining, REMAINING_MAX)))
    if status.limit is not None:
        seconds = varint(status.reset_seconds)
        parts += (_RESET, varint(len(seconds) + 1), b"\x08", seconds)
    return b"".join(parts)


# Bounded: overrides make limits without end.
@lru_cache(maxsize=4096)
def _limit(limit: Limit) -> bytes:
    """Write `current_limit`; amounts above 32 bits are told as the largest that fits."""
    amount = min(limit.amount, REMAINING_MAX)
    wire = rls_pb2.RateLimitResponse.RateLimit(requests_per_unit=amount, name=limit.name)
    wire.unit = rls_pb2.RateLimitResponse.RateLimit.Unit.ValueType(limit.unit.number)
    encoded = wire.SerializeToString()
    return _CURRENT_LIMIT + varint(len(encoded)) + encoded


def _headers(status: Status, names: Sequence[str]) -> list[bytes]:
    amount = status.limit.amount if status.limit else 0
    values = (amount, status.remaining, status.reset_seconds)
    return [
        rls_pb2.HeaderValue(key=name, value=str(value)).SerializeToString()
        for name, value in zip(names, values, strict=True)
    ]


def _struct(metadata: Mapping[str, JsonValue]) -> bytes:
    return ParseDict(dict(metadata), Struct()).SerializeToString()


_SMALL = [bytes([number]) for number in range(128)]


def varint(number: int) -> bytes:
    """Write a non-negative number in base 128, least significant group first."""
    if number < 128:
        return _SMALL[number]
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)
