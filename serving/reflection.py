"""gRPC reflection that shows our services under the names they are called by.

    weir.interop.rls.v1.RateLimitService ──▶ envoy.service.ratelimit.v3.RateLimitService

A schema that stands in for another project's lives in a package of ours, so that both can be
loaded at once. For reflection a copy of its file is built in a pool of its own, where the package
has the name that callers know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from serving.grpc_handlers import Paths

_OURS: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
_HEALTH: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]
# `v1` has the messages of `v1alpha`; tools ask for the one or the other first.
_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_handler(services: Mapping[str, ServiceDescriptor]) -> grpc.GenericRpcHandler:
    """Return the reflection service for services by their public full name; it shows itself and health, too.

    Raises:
        ValueError: a public name ends otherwise than the service's own.
    """
    shown = {**services, _HEALTH.full_name: _HEALTH, **dict.fromkeys(_NAMES, _OURS)}
    servicer = aio.ReflectionServicer(shown, pool=_Symbols(_public_pool(shown)))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return Paths({f"/{name}/ServerReflectionInfo": method for name in _NAMES})


class _Symbols:
    """A pool in which methods are symbols too: some clients (ghz) ask for a service by them."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's name for it
        """Return the file of a message, a service, or a method.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a pool has
        return getattr(self._pool, name)


def _public_pool(services: Mapping[str, ServiceDescriptor]) -> DescriptorPool:
    files: dict[str, FileDescriptorProto] = {}
    for public_name, service in services.items():
        package, _, name = public_name.rpartition(".")
        if name != service.name:
            raise ValueError(f"{public_name} cannot stand for {service.full_name}: only the package may differ")
        for needed in _needed(service.file):
            files.setdefault(needed.name, _proto(needed))
        renamed = _renamed(_proto(service.file), package)
        files[renamed.name] = renamed
    pool = DescriptorPool()
    for file in files.values():
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _needed(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """Yield the imports of a file, deepest first, as a pool wants them."""
    for dependency in file.dependencies:
        yield from _needed(dependency)
        yield dependency


def _proto(file: FileDescriptor) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto


def _renamed(proto: FileDescriptorProto, package: str) -> FileDescriptorProto:
    """Put a file and everything in it that it refers to under another package."""
    if proto.package != package:
        _refer(proto, f".{proto.package}.", f".{package}.")
        proto.package = package
        proto.name = f"{package.replace('.', '/')}/{proto.name.rpartition('/')[2]}"
    return proto


def _refer(message: Message, old: str, new: str) -> None:
    """Rewrite every full type name below a message: fields that start with a dot and the old package."""
    for field, value in message.ListFields():
        if isinstance(value, str) and value.startswith(old):
            setattr(message, field.name, new + value.removeprefix(old))
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                _refer(part, old, new)
