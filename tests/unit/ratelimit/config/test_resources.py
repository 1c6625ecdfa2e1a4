from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from protos.interop.ratelimit_config.v1.ratelimit_config_pb2 import RateLimitConfig, RateLimitUnit
from ratelimit.config.resources import TYPE_URL, read_resources
from ratelimit.errors import ConfigError
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Where

HERE = Where("r")


def resource(**fields: object) -> AnyMessage:
    config = ParseDict({"name": "r", "domain": "d", **fields}, RateLimitConfig())
    return AnyMessage(type_url=TYPE_URL, value=config.SerializeToString())


def limited(**fields: object) -> AnyMessage:
    return resource(descriptors=[{"key": "a", "rateLimit": fields}])


def limit_of(message: AnyMessage) -> LimitSpec | None:
    return read_resources([message])[0].descriptors[0].rate_limit


def test_every_field_is_read() -> None:
    message = resource(
        descriptors=[
            {
                "key": "a",
                "value": "b",
                "shadowMode": True,
                "quotaMode": True,
                "detailedMetric": True,
                "metadata": {"n": 1, "s": "x", "b": True, "l": [None], "m": {"k": "v"}},
                "rateLimit": {"unit": "HOUR", "requestsPerUnit": 5, "name": "n", "replaces": [{"name": "m"}]},
                "descriptors": [{"key": "c"}],
            }
        ]
    )

    metadata = {"n": 1.0, "s": "x", "b": True, "l": [None], "m": {"k": "v"}}
    limit = LimitSpec(HERE, "HOUR", 5, name="n", replaces=("m",))
    top = DescriptorSpec(
        HERE,
        "a",
        "b",
        limit,
        (DescriptorSpec(HERE, "c"),),
        shadow_mode=True,
        quota_mode=True,
        detailed_metric=True,
        metadata=metadata,
    )
    assert read_resources([message]) == [DomainSpec(HERE, "d", (top,))]


@pytest.mark.parametrize("unit", RateLimitUnit.keys())
def test_every_unit_has_its_name(unit: str) -> None:
    assert limit_of(limited(unit=unit)) == LimitSpec(HERE, unit)


def test_a_unit_of_another_time_is_a_number() -> None:
    assert limit_of(limited(unit=99)) == LimitSpec(HERE, "99")


def test_unlimited_is_read() -> None:
    assert limit_of(limited(unlimited=True)) == LimitSpec(HERE, "UNKNOWN", unlimited=True)


def test_an_empty_limit_is_a_limit() -> None:
    assert limit_of(limited()) == LimitSpec(HERE, "UNKNOWN")


def test_a_resource_without_a_name_is_named_by_its_place() -> None:
    assert read_resources([resource(), resource(name="")])[1].where == Where("resource 1")


def test_every_resource_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        read_resources([AnyMessage(type_url=TYPE_URL, value=b"\xff"), resource(), AnyMessage(type_url="other")])

    assert [(problem.file, problem.message.split(":")[0]) for problem in error.value.problems] == [
        ("resource 0", "error loading resource"),
        ("resource 2", "error loading resource"),
    ]


def test_descriptors_without_end_are_refused() -> None:
    # Nested by hand: the library refuses to write what it would refuse to read.
    inner = b""
    for _ in range(500):
        inner = b"\x22" + varint(len(inner)) + inner

    with pytest.raises(ConfigError):
        read_resources([AnyMessage(type_url=TYPE_URL, value=b"\x1a" + varint(len(inner)) + inner)])


@given(st.binary(max_size=200))
def test_any_bytes_are_specs_or_a_refusal(value: bytes) -> None:
    check(value)


@given(st.data())
def test_a_damaged_resource_is_specs_or_a_refusal(data: st.DataObject) -> None:
    whole = limited(unit="HOUR", requestsPerUnit=5, name="n").value
    position = data.draw(st.integers(0, len(whole) - 1))

    check(whole[:position] + data.draw(st.binary(max_size=3)) + whole[position + 1 :])


def check(value: bytes) -> None:
    try:
        specs = read_resources([AnyMessage(type_url=TYPE_URL, value=value)])
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - one of two good ends
    else:
        assert len(specs) == 1


def varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
