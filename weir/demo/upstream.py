"""An upstream that answers as an OpenAI chat endpoint does, and says what it cost.

    POST /v1/chat/completions   {"model": …, "messages": […], "max_tokens": 40, "stream": false}

1. A token is a word. The answer has exactly `max_tokens` of them, so a caller chooses its cost.
2. `usage` is always there: in the body, or in the last chunk of a stream. (Providers stream it only
   for `stream_options.include_usage`; a gateway that charges has to force that.)
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from aiohttp import web

WORDS = ("a", "weir", "raises", "the", "river", "and", "lets", "through", "what", "the", "mill", "can", "take")
TOKENS_DEFAULT = 40
TOKENS_MAX = 4_096

# Time between two words of a streamed answer: slow enough to be seen.
PAUSE_SECONDS = 0.02

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chat:
    """One question, as far as its answer depends on it."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    is_stream: bool

    def usage(self) -> Json:
        """Return what the answer costs."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def read_chat(body: Json) -> Chat:
    """Read a request.

    Raises:
        ValueError: it is not one.
    """
    messages, tokens = body.get("messages"), body.get("max_tokens", TOKENS_DEFAULT)
    if not isinstance(messages, list) or not isinstance(tokens, int) or not 0 < tokens <= TOKENS_MAX:
        raise ValueError(f"needs `messages`, and `max_tokens` from 1 to {TOKENS_MAX}")
    prompt = sum(len(str(message.get("content", "")).split()) for message in messages)
    return Chat(str(body.get("model", "demo")), prompt, tokens, bool(body.get("stream")))


def completion(chat: Chat) -> Json:
    """Return the whole answer."""
    message = {"role": "assistant", "content": " ".join(islice(cycle(WORDS), chat.completion_tokens))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _envelope(chat, "chat.completion", [choice]) | {"usage": chat.usage()}


def chunks(chat: Chat) -> Iterator[Json]:
    """Return the answer word by word; the usage comes last, in a chunk without choices."""
    for word in islice(cycle(WORDS), chat.completion_tokens):
        yield _chunk(chat, {"content": f"{word} "}, None)
    yield _chunk(chat, {}, "stop")
    yield _envelope(chat, "chat.completion.chunk", []) | {"usage": chat.usage()}


def _chunk(chat: Chat, delta: Json, finish: str | None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _envelope(chat, "chat.completion.chunk", [choice]) | {"usage": None}


def _envelope(chat: Chat, kind: str, choices: list[Json]) -> Json:
    return {"id": "chatcmpl-demo", "object": kind, "created": 0, "model": chat.model, "choices": choices}


class Upstream:
    """Serves chats."""

    def __init__(self, address: str = "127.0.0.1:0", *, pause_seconds: float = 0.0) -> None:
        self._wanted_address = address
        self._pause_seconds = pause_seconds
        self._runner: web.AppRunner | None = None
        self.address = ""
        self.chats_count = 0

    async def start(self) -> None:
        """Listen; `address` says where, also if the port was 0."""
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        wanted, _, number = self._wanted_address.rpartition(":")
        await web.TCPSite(self._runner, wanted, int(number)).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        """Close the port and what is still streaming."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            chat = read_chat(await request.json())
        except (ValueError, AttributeError) as error:
            return web.json_response({"error": {"message": str(error), "type": "invalid_request_error"}}, status=400)
        self.chats_count += 1
        return await self._stream(request, chat) if chat.is_stream else web.json_response(completion(chat))

    async def _stream(self, request: web.Request, chat: Chat) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        await response.prepare(request)
        for chunk in chunks(chat):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await asyncio.sleep(self._pause_seconds)
        await response.write(b"data: [DONE]\n\n")
        return response


async def serve(address: str) -> None:
    """Serve until cancelled: `python -m weir.demo.upstream 0.0.0.0:8000`."""
    upstream = Upstream(address, pause_seconds=PAUSE_SECONDS)
    await upstream.start()
    try:
        await asyncio.Event().wait()
    finally:
        await upstream.stop()


if __name__ == "__main__":  # pragma: no cover - tests/e2e runs it as a process
    asyncio.run(serve(sys.argv[1]))
