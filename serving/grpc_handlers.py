"""Handlers as the grpcio server takes them: methods by their path, and a guard before any of them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias

import grpc

from serving.calls import Caller
from serving.identity import bearer_token, has_name
from serving.sieve import unpacked

MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # a string: the class is generic in its stubs only
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_BUILDERS: dict[tuple[bool, bool], Callable[..., MethodHandler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Paths(grpc.GenericRpcHandler):
    """Methods by their path."""

    def __init__(self, methods: Mapping[str, MethodHandler]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> MethodHandler | None:
        """Return the method of a path."""
        return self._methods.get(details.method)


class NamedClients(grpc.GenericRpcHandler):
    """Another handler, for clients whose certificate bears a DNS name; PERMISSION_DENIED for the rest.

    Per call and not in the handshake, into which grpcio gives no view.
    """

    def __init__(self, handler: grpc.GenericRpcHandler, name: str) -> None:
        self._handler = handler
        self._name = name
        self._guarded: dict[str, MethodHandler] = {}

    def service(self, details: grpc.HandlerCallDetails) -> MethodHandler | None:
        """Return the method of a path behind the guard."""
        if details.method not in self._guarded:
            method = self._handler.service(details)
            if method is None:
                return None
            self._guarded[details.method] = _guard(method, self._check)
        return self._guarded[details.method]

    async def _check(self, context: Context) -> None:
        if not has_name(sans(context), self._name):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "the client certificate does not bear the name asked for"
            )


class Unpacking(grpc.GenericRpcHandler):
    """Another handler, for messages that the sieve before the front has passed on packed."""

    def __init__(self, handler: grpc.GenericRpcHandler, bytes_max: int) -> None:
        self._handler = handler
        self._bytes_max = bytes_max

    def service(self, details: grpc.HandlerCallDetails) -> MethodHandler | None:
        """Return the method of a path, which reads what is in its messages."""
        method = self._handler.service(details)
        if method is None:
            return None
        read: Callable[[bytes], Any] = method.request_deserializer or bytes

        def deserialize(message: bytes) -> Any:  # noqa: ANN401 - whatever the method takes
            return read(unpacked(message, self._bytes_max))

        build = _BUILDERS[bool(method.request_streaming), bool(method.response_streaming)]
        return build(_behaviour(method), deserialize, method.response_serializer)


def sans(context: Context) -> tuple[str, ...]:
    """Return the subject alternative names of the certificate that the client proved."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return tuple(name.decode("utf-8", "replace") for name in names)


def caller_of(context: Context) -> Caller:
    """Return who calls, with all that was proved about him."""
    return Caller(context.peer(), sans(context), bearer_token(context.invocation_metadata() or ()))


def _guard(method: MethodHandler, check: Callable[[Context], Any]) -> MethodHandler:
    behaviour = _behaviour(method)
    build = _BUILDERS[bool(method.request_streaming), bool(method.response_streaming)]

    async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the method takes and gives
        await check(context)
        return await behaviour(request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401 - whatever the method takes
        await check(context)
        async for response in behaviour(request, context):
            yield response

    guarded = stream if inspect.isasyncgenfunction(behaviour) else answer
    return build(guarded, method.request_deserializer, method.response_serializer)


def _behaviour(method: MethodHandler) -> Any:  # noqa: ANN401 - the stubs only know those of the synchronous server
    """Return one of the four, by the shape of the method."""
    return method.unary_unary or method.unary_stream or method.stream_unary or method.stream_stream
