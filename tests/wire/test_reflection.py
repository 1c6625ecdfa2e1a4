"""What grpcurl sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from protos.interop.rls.v1 import rls_pb2
from serving.reflection import reflection_handler
from tests.wire.transports import RLS, SERVICE, Connect, Serve

Result = TypeVar("Result")


async def _ask(target: str, question: Callable[[ProtoReflectionDescriptorDatabase], Result]) -> Result:
    """The library's client is synchronous: it asks from a thread."""

    def ask() -> Result:
        with grpc.insecure_channel(target) as channel:
            return question(ProtoReflectionDescriptorDatabase(channel))

    return await asyncio.to_thread(ask)


async def test_services_are_listed_under_the_names_they_are_called_by(serve: Serve) -> None:
    services = await _ask((await serve()).target, lambda database: list(database.get_services()))

    names = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
    assert services == [SERVICE, *names]


async def test_a_method_takes_and_gives_messages_of_the_public_package(serve: Serve) -> None:
    def method(database: ProtoReflectionDescriptorDatabase) -> tuple[str, str, str]:
        method = DescriptorPool(database).FindServiceByName(SERVICE).methods[0]
        return method.name, method.input_type.full_name, method.output_type.full_name

    package = "envoy.service.ratelimit.v3"
    assert await _ask((await serve()).target, method) == (
        "ShouldRateLimit",
        f"{package}.RateLimitRequest",
        f"{package}.RateLimitResponse",
    )


@pytest.mark.parametrize("symbol", [SERVICE, f"{SERVICE}.ShouldRateLimit"], ids=["service", "method"])
async def test_a_method_is_a_symbol_too(serve: Serve, symbol: str) -> None:
    file = await _ask((await serve()).target, lambda database: database.FindFileContainingSymbol(symbol))

    assert file.package == "envoy.service.ratelimit.v3"


async def test_a_method_that_is_not_there_is_no_symbol(serve: Serve) -> None:
    with pytest.raises(KeyError):
        await _ask((await serve()).target, lambda database: database.FindFileContainingSymbol(f"{SERVICE}.Nothing"))


async def test_what_is_shown_is_the_same_on_the_wire(serve: Serve) -> None:
    """A message of the shown schema, filled and sent, is read as one of ours."""

    def fields(database: ProtoReflectionDescriptorDatabase) -> dict[str, int]:
        shown = DescriptorPool(database).FindMessageTypeByName("envoy.service.ratelimit.v3.RateLimitRequest")
        return {field.name: field.number for field in shown.fields}

    ours = {field.name: field.number for field in rls_pb2.RateLimitRequest.DESCRIPTOR.fields}
    assert await _ask((await serve()).target, fields) == ours


async def test_our_own_package_does_not_show(serve: Serve) -> None:
    def find(database: ProtoReflectionDescriptorDatabase) -> FileDescriptorProto:
        found: FileDescriptorProto = database.FindFileContainingSymbol("weir.interop.rls.v1.RateLimitService")
        return found

    with pytest.raises(KeyError):
        await _ask((await serve()).target, find)


async def test_the_protocol_is_spoken_under_its_present_name_too(serve: Serve, connect: Connect) -> None:
    method = connect(await serve()).stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    response = await call.read()

    assert SERVICE in [service.name for service in response.list_services_response.service]


async def test_a_service_may_be_shown_under_its_own_name(serve: Serve) -> None:
    file = await _ask(
        (await serve()).target, lambda database: database.FindFileContainingSymbol("grpc.health.v1.Health.Check")
    )

    assert file.name == health_pb2.DESCRIPTOR.name


def test_a_public_name_must_end_as_the_services_own() -> None:
    with pytest.raises(ValueError, match="only the package may differ"):
        reflection_handler({"envoy.service.ratelimit.v3.Other": RLS})


async def test_a_file_may_be_asked_for_by_its_name(serve: Serve) -> None:
    target = (await serve()).target
    name = (await _ask(target, lambda database: database.FindFileContainingSymbol(SERVICE))).name

    # By another client: this one remembers what it was told.
    file = await _ask(target, lambda database: database.FindFileByName(name))

    assert [service.name for service in file.service] == ["RateLimitService"]
