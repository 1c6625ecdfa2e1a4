"""The same question as JSON over HTTP: `/json`, for callers without gRPC.

    200 may pass · 429 over the limit · 400 the caller's fault · 503 the counters cannot be reached · 500 otherwise

The reference answers 400 for its own failures too; JSON_ERRORS_AS_400 brings that back.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson, Parse, ParseError

from protos.interop.rls.v1 import rls_pb2
from ratelimit.api.requests import NO_DESCRIPTORS, NO_DOMAIN
from serving.calls import Call, Caller, Failure, PromptHandler, StatusCode
from serving.spans import Headers

_BAD_REQUEST = {NO_DOMAIN, NO_DESCRIPTORS}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What goes back over HTTP."""

    status: int
    body: str
    content_type: str = "text/plain"


BAD_REQUEST = HttpAnswer(400, "Bad Request")


class JsonRls:
    """Translates; the answer is the handler's own."""

    def __init__(self, handler: PromptHandler, *, errors_as_400: bool) -> None:
        self._handler = handler
        self._errors_as_400 = errors_as_400

    async def answer(self, body: bytes, *, peer: str, deadline: float, trace: Headers = ()) -> HttpAnswer:
        """Answer one proto3-JSON RateLimitRequest; fields that the message does not have are refused."""
        try:
            message = Parse(body, rls_pb2.RateLimitRequest())
        except (ParseError, UnicodeDecodeError):
            return BAD_REQUEST
        if not body.lstrip().startswith(b"{"):  # protobuf takes an empty list for an empty message
            return BAD_REQUEST
        [reply] = await self._handler([Call(message.SerializeToString(), deadline, Caller(peer), trace)])
        if isinstance(reply, Failure):
            return self._failed(reply)
        answer = rls_pb2.RateLimitResponse.FromString(reply)
        status = 429 if answer.overall_code == rls_pb2.RateLimitResponse.OVER_LIMIT else 200
        return HttpAnswer(status, MessageToJson(answer, indent=None), "application/json")

    def _failed(self, failure: Failure) -> HttpAnswer:
        if self._errors_as_400 or failure.detail in _BAD_REQUEST or failure.status is StatusCode.INVALID_ARGUMENT:
            return BAD_REQUEST
        if failure.status is StatusCode.UNAVAILABLE:
            return HttpAnswer(503, "Service Unavailable")
        return HttpAnswer(500, "Internal Server Error")
