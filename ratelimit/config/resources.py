"""Rules as a management server writes them: protobuf resources to specs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from google.protobuf.struct_pb2 import Value as StructValue

from protos.interop.ratelimit_config.v1.ratelimit_config_pb2 import (
    RateLimitConfig,
    RateLimitDescriptor,
    RateLimitPolicy,
    RateLimitUnit,
)
from ratelimit.errors import ConfigError, Problem
from ratelimit.specs import DescriptorSpec, DomainSpec, JsonValue, LimitSpec, Where

TYPE_URL = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"


def read_resources(resources: Iterable[AnyMessage]) -> list[DomainSpec]:
    """Return the domains of all resources, in the order they were sent.

    Raises:
        ConfigError: some resource cannot be read; the others are good for nothing alone.
    """
    specs: list[DomainSpec] = []
    problems: list[Problem] = []
    for position, resource in enumerate(resources):
        try:
            specs.append(_domain(_unpacked(resource), position))
        except (DecodeError, TypeError) as error:
            problems.append(Problem(f"resource {position}", 0, f"error loading resource: {error}"))
    if problems:
        raise ConfigError(problems)
    return specs


def _unpacked(resource: AnyMessage) -> RateLimitConfig:
    if resource.type_url != TYPE_URL:
        raise TypeError(f"its type is '{resource.type_url}'")
    # Our copy of the schema has a package of its own, so `Any.Unpack` would not know the name.
    return RateLimitConfig.FromString(resource.value)


def _domain(config: RateLimitConfig, position: int) -> DomainSpec:
    where = Where(config.name or f"resource {position}")
    return DomainSpec(where, config.domain, _descriptors(config.descriptors, where))


def _descriptors(descriptors: Iterable[RateLimitDescriptor], where: Where) -> tuple[DescriptorSpec, ...]:
    return tuple(_descriptor(descriptor, where) for descriptor in descriptors)


def _descriptor(descriptor: RateLimitDescriptor, where: Where) -> DescriptorSpec:
    return DescriptorSpec(
        where=where,
        key=descriptor.key,
        value=descriptor.value,
        rate_limit=_limit(descriptor.rate_limit, where) if descriptor.HasField("rate_limit") else None,
        descriptors=_descriptors(descriptor.descriptors, where),
        shadow_mode=descriptor.shadow_mode,
        quota_mode=descriptor.quota_mode,
        detailed_metric=descriptor.detailed_metric,
        metadata=_struct(descriptor.metadata),
    )


def _limit(policy: RateLimitPolicy, where: Where) -> LimitSpec:
    # A number that this version does not know is refused by its number, as a name that it does not know is.
    unit = RateLimitUnit.Name(policy.unit) if policy.unit in RateLimitUnit.values() else str(policy.unit)
    return LimitSpec(
        where=where,
        unit=unit,
        requests_per_unit=policy.requests_per_unit,
        unlimited=policy.unlimited,
        name=policy.name,
        replaces=tuple(replaced.name for replaced in policy.replaces),
    )


def _struct(struct: Struct) -> Mapping[str, JsonValue]:
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: StructValue) -> JsonValue:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _struct(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
