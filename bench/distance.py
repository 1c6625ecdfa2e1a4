"""A way to a Redis that takes some time: answers come so many milliseconds later, and in their order.

python -m bench.distance LISTEN TARGET MILLISECONDS         both are Unix sockets
"""

from __future__ import annotations

import asyncio
import sys

import uvloop


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, each piece so much later."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(data)

    writing = asyncio.create_task(write())
    while data := await reader.read(1 << 16):
        waiting.put_nowait((loop.time() + seconds, data))
    writing.cancel()
    writer.close()


async def _serve(listen: str, target: str, seconds: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_unix_connection(target)
        await asyncio.gather(_late(reader, to_them, 0.0), _late(theirs, writer, seconds))

    server = await asyncio.start_unix_server(accept, listen)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000))
