"""The yardsticks: servers that answer OK without looking, of grpc.aio and of the front alone.

`python -m bench.nothing PORT` is the first, which everything is a ratio to. With `front` behind it, it is the second: no
relay before it, no Redis and no decision behind it.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from bench.services import PATH

OK = b"\x08\x01"


async def answer(_message: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer OK."""
    return OK


async def main(port: int) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    service = "envoy.service.ratelimit.v3.RateLimitService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ShouldRateLimit": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def front(port: int) -> None:
    """Serve until killed."""
    server = NativeGrpcFront(f"127.0.0.1:{port}", [(PATH, False)], io_threads=1, call_details=True)
    server.start()
    while (events := server.recv_batch_details(1024)) is not None:
        for kind, call_id, *_ in events:
            if kind == EVENT_CALL:
                server.respond(call_id, OK)


if __name__ == "__main__":
    if "front" in sys.argv:
        front(int(sys.argv[1]))
    else:
        asyncio.run(main(int(sys.argv[1])))
