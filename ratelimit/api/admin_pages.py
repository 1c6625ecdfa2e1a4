"""AdminService as JSON on the debug port: `POST /admin/<Method>`, with the method's request as the body.

200 answered · 400 the caller's fault · 401 no proof · 403 no right · 404 no such domain · 409 not as things stand
429 no room for more · 503 the counters are away
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from google.protobuf.json_format import MessageToDict, Parse, ParseError

from protos.ratelimit.v1 import admin_pb2
from ratelimit.api.admin import AdminApi
from serving.calls import Call, Caller, Failure, StatusCode
from serving.clock import Clock
from serving.http import Page
from serving.identity import bearer_token

_STATUSES = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}


def admin_pages(api: AdminApi, clock: Clock, timeout_seconds: float) -> Mapping[str, Page]:
    """Return a page for each method; a call waits `timeout_seconds` at most."""
    return {f"/admin/{name}": _page(api, name, clock, timeout_seconds) for name in api.verbs}


def _page(api: AdminApi, name: str, clock: Clock, timeout_seconds: float) -> Page:
    kind, _ = api.verbs[name]
    handler = api.handler(name)
    response_type = getattr(admin_pb2, f"{name}Response")

    async def page(request: web.BaseRequest) -> web.Response:
        # A body of another type is what a page of another site could have a browser send.
        if request.method != "POST" or request.content_type != "application/json":
            return _failed(405, "POST application/json")
        try:
            message = Parse(await request.read() or b"{}", kind())
        except (ParseError, UnicodeDecodeError) as error:
            return _failed(400, str(error))
        token = bearer_token((key.lower(), value) for key, value in request.headers.items())
        caller = Caller(f"http:{request.remote}", token=token)
        (reply,) = await handler([Call(message.SerializeToString(), clock.steady() + timeout_seconds, caller)])
        if isinstance(reply, Failure):
            return _failed(_STATUSES.get(reply.status, 500), reply.detail)
        return web.json_response(MessageToDict(response_type.FromString(reply)))

    return page


def _failed(status: int, detail: str) -> web.Response:
    return web.json_response({"error": detail}, status=status)
