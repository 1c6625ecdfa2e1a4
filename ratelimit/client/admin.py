"""AdminService from Python: requests and answers are the messages of `admin.proto`."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from protos.ratelimit.v1 import admin_pb2 as wire
from ratelimit.client.values import LimiterAway, LimiterRefused
from serving.channels import bearer, open_channel

SERVICE = "weir.ratelimit.v1.AdminService"

# Precedent: a person waits.
TIMEOUT_SECONDS = 5.0
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class AdminClient:
    """One connection to a service."""

    def __init__(self, target: str, *, token: str = "", credentials: grpc.ChannelCredentials | None = None) -> None:
        """Prepare a connection; `credentials` make it TLS, `token` is sent as a bearer token."""
        self._metadata = bearer(token)
        self._channel = open_channel(target, credentials)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def ask(self, request: Message) -> Any:  # noqa: ANN401 - the response that goes with the request
        """Answer a request: an `ExplainRequest` with an `ExplainResponse`, and so on.

        Raises:
            LimiterRefused: bad input, or a right that is missing.
            LimiterAway: no answer.
        """
        name = request.DESCRIPTOR.name.removesuffix("Request")
        response: type[Message] = getattr(wire, f"{name}Response")
        method = self._channel.unary_unary(f"/{SERVICE}/{name}", type(request).SerializeToString, response.FromString)
        try:
            return await method(request, timeout=TIMEOUT_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            kind = LimiterAway if error.code() in _AWAY else LimiterRefused
            raise kind(f"{error.code().name}: {error.details()}") from None
