"""Between the bytes of Envoy's rate limit service and our own values.

Requests are parsed by protobuf. Answers are written by hand, because one is made for every call
and a status is a few varints: 2 µs instead of 9 for two descriptors. `tests/unit` holds the writer
to protobuf's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from protos.interop.rls.v1 import rls_pb2
from ratelimit.descriptor import Descriptor, Entry, Phase, Request
from ratelimit.errors import BadRequest
from ratelimit.limits import UNITS_BY_NUMBER, Limit
from ratelimit.specs import JsonValue
from ratelimit.verdict import REMAINING_MAX, Status, Verdict

# Tags of RateLimitResponse and its messages: field number × 8 + wire type.
_STATUSES, _RESPONSE_HEADERS, _REQUEST_HEADERS, _RAW_BODY, _METADATA = b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x32"
_CURRENT_LIMIT, _REMAINING, _RESET = b"\x12", b"\x18", b"\x22"
# The field of the code has the same number in the response and in each of its statuses.
_CODE_OK, _CODE_OVER_LIMIT = b"\x08\x01", b"\x08\x02"


@dataclass(frozen=True, slots=True)
class OwnEntries:
    """Keys of descriptor entries that speak to us: taken out before matching, and from keys, metrics and metadata."""

    request_id: str = ""
    phase: str = ""
    kind: str = ""

    def in_(self, message: bytes) -> AbstractSet[str]:
        """Return those that a message may have, by a look at its bytes: nearly all have none."""
        return {name for name in (self.request_id, self.phase, self.kind) if name and name.encode() in message}


NO_ENTRIES = OwnEntries()


def parse(message: bytes, *, descriptors_max: int, own: OwnEntries = NO_ENTRIES) -> Request:
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
    names = own.in_(message)
    descriptors = tuple([_descriptor(descriptor, names, own) for descriptor in wire.descriptors])
    return Request(wire.domain, descriptors, wire.hits_addend or None, _request_id(wire, own) if names else "")


def read_descriptors(descriptors: Iterable[rls_pb2.RateLimitDescriptor], own: OwnEntries) -> tuple[Descriptor, ...]:
    """Read descriptors of another message.

    Raises:
        BadRequest: one has a phase or a unit that does not exist.
    """
    names = {own.request_id, own.phase, own.kind} - {""}
    return tuple([_descriptor(descriptor, names, own) for descriptor in descriptors])


def _request_id(wire: rls_pb2.RateLimitRequest, own: OwnEntries) -> str:
    if not own.request_id:
        return ""
    entries = (entry for descriptor in wire.descriptors for entry in descriptor.entries)
    return next((entry.value for entry in entries if entry.key == own.request_id), "")


def _descriptor(wire: rls_pb2.RateLimitDescriptor, names: AbstractSet[str], own: OwnEntries) -> Descriptor:
    entries: tuple[Entry, ...] = tuple([(entry.key, entry.value) for entry in wire.entries])
    hits = wire.hits_addend.value if wire.HasField("hits_addend") else None
    override = _override(wire) if wire.HasField("limit") else None
    if not names:
        return Descriptor(entries, hits, wire.is_negative_hits, override)
    said = {key: value for key, value in entries if key in names}
    others = tuple([entry for entry in entries if entry[0] not in names])
    phase = _phase(said.get(own.phase, ""))
    return Descriptor(others, hits, wire.is_negative_hits, override, phase, said.get(own.kind, ""))


def _phase(text: str) -> Phase:
    try:
        return Phase(text)
    except ValueError:
        raise BadRequest(f"phase '{text[:32]}' is none of check, charge and look") from None


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
    parts = [_CODE_OVER_LIMIT if verdict.is_over else _CODE_OK]
    for status in verdict.statuses:
        encoded = _status(status)
        parts += (_STATUSES, varint(len(encoded)), encoded)
    if verdict.tightest is not None:
        for tag, names in ((_RESPONSE_HEADERS, response_headers), (_REQUEST_HEADERS, request_headers)):
            for header in _headers(verdict.tightest, names) if names else ():
                parts += (tag, varint(len(header)), header)
    for tag, pairs in ((_RESPONSE_HEADERS, verdict.response_headers), (_REQUEST_HEADERS, verdict.request_headers)):
        for name, text in pairs:
            header = rls_pb2.HeaderValue(key=name, value=text).SerializeToString()
            parts += (tag, varint(len(header)), header)
    if verdict.body:
        parts += (_RAW_BODY, varint(len(verdict.body)), verdict.body)
    if verdict.metadata is not None:
        struct = _struct(verdict.metadata)
        parts += (_METADATA, varint(len(struct)), struct)
    return b"".join(parts)


def _status(status: Status) -> bytes:
    limit, remaining = status.limit, status.remaining
    if limit is None:
        head, reset = (_CODE_OVER_LIMIT if status.is_over else _CODE_OK), b""
    else:
        known = _HEADS.get(id(limit))
        head = (known[1] if known is not None and known[0] is limit else _remember(limit))[status.is_over]
        reset = _reset(status.reset_seconds)
    if not remaining:
        return head + reset
    return b"%b%b%b%b" % (head, _REMAINING, varint(min(remaining, REMAINING_MAX)), reset)


# Code and `current_limit` of the limits now in use, OK and OVER_LIMIT. By identity, which the limit kept beside it
# makes safe: to hash a limit costs more than to write it. Bounded: overrides make limits without end.
_HEADS: dict[int, tuple[Limit, tuple[bytes, bytes]]] = {}
_HEADS_MAX = 4_096


def _remember(limit: Limit) -> tuple[bytes, bytes]:
    """Write `current_limit`; amounts above 32 bits are told as the largest that fits."""
    amount = min(limit.amount, REMAINING_MAX)
    wire = rls_pb2.RateLimitResponse.RateLimit(requests_per_unit=amount, name=limit.name)
    # A window that the answer has no name for is UNKNOWN there: Envoy then tells clients the amount without a window.
    if limit.unit is not None:
        wire.unit = rls_pb2.RateLimitResponse.RateLimit.Unit.ValueType(limit.unit.number)
    encoded = wire.SerializeToString()
    told = _CURRENT_LIMIT + varint(len(encoded)) + encoded
    if len(_HEADS) >= _HEADS_MAX:
        _HEADS.clear()
    heads = _CODE_OK + told, _CODE_OVER_LIMIT + told
    _HEADS[id(limit)] = limit, heads
    return heads


@lru_cache(maxsize=4_096)
def _reset(seconds: int) -> bytes:
    encoded = varint(seconds)
    return b"%b%b\x08%b" % (_RESET, varint(len(encoded) + 1), encoded)


def _headers(status: Status, names: Sequence[str]) -> list[bytes]:
    amount = status.limit.amount if status.limit else 0
    values = (amount, status.remaining, status.reset_seconds)
    return [
        rls_pb2.HeaderValue(key=name, value=str(value)).SerializeToString()
        for name, value in zip(names, values, strict=True)
    ]


def _struct(metadata: Mapping[str, JsonValue]) -> bytes:
    return ParseDict(dict(metadata), Struct()).SerializeToString()


# Fourteen bits at a time: as last groups, and as groups that others follow. 1.4 MiB, and a third of the time of a loop.
_LAST = [bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7]) for number in range(1 << 14)]
_FIRST = [bytes([number & 127 | 128, number >> 7 | 128]) for number in range(1 << 14)]


def varint(number: int) -> bytes:
    """Write a non-negative number in base 128, least significant group first."""
    if number < 1 << 14:
        return _LAST[number]
    return _FIRST[number & 0x3FFF] + varint(number >> 14)
