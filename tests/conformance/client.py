"""One caller of a server: gRPC, gRPC health and HTTP, each answer in the form of an `expect`."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2

from tests.conformance import messages

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
TIMEOUT_SECONDS = 10.0
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A channel of our own: gRPC would share one connection between all channels to one address.
    ("grpc.use_local_subchannel_pool", 1),
]


class Client:
    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.address = address
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(SHOULD_RATE_LIMIT)
        self._check = self._channel.unary_unary(
            HEALTH_CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    def send(self, message: bytes, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
        """Send raw bytes.

        Raises:
            grpc.RpcError: the answer is an error.
        """
        return self._ask(message, timeout=timeout_seconds)

    def ask(self, question: Mapping[str, Any], timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """Send a `request` step."""
        try:
            return messages.answer(self.send(messages.request(question), timeout_seconds))
        except grpc.RpcError as error:
            return failure(error)

    def health(self, service: str) -> dict[str, Any]:
        try:
            reply = self._check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return failure(error)
        return {"status": health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}

    def close(self) -> None:
        self._channel.close()


def failure(error: grpc.RpcError) -> dict[str, Any]:
    """Put an RPC error in the form of an `expect`."""
    # Every error of a call is a grpc.Call too, though the types do not say so.
    call = cast("grpc.Call", error)
    return {"error": {"code": call.code().name, "message": call.details() or ""}}


def fetch(address: str, path: str, *, method: str = "GET", body: Any = None) -> dict[str, Any]:
    """Send one HTTP request; a body that is a map goes as JSON.

    Raises:
        OSError: nobody answers.
    """
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    content = json.dumps(body) if isinstance(body, (dict, list)) else body
    with contextlib.closing(connection):
        connection.request(method, path, body=content, headers={"Content-Type": "application/json"} if content else {})
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
    answer = {"status": reply.status, "content_type": reply.getheader("Content-Type"), "text": text.strip("\r\n")}
    with contextlib.suppress(json.JSONDecodeError):
        answer["json"] = json.loads(text)
    return answer | {"lines": text.splitlines()}
