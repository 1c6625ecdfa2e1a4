"""The yardstick: a grpc.aio server that answers OK without looking."""

from __future__ import annotations

import asyncio
import sys

import grpc

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


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
