from __future__ import annotations

from openai import AsyncOpenAI

from semcache.client import CacheClient, cached


async def test_all_but_chat_completions_is_the_clients_own() -> None:
    async with (
        AsyncOpenAI(base_url="http://127.0.0.1:1", api_key="x") as plain,
        CacheClient("127.0.0.1:1", namespace="support", tenant="a") as cache,
    ):
        client = cached(plain, cache)

        assert client.base_url == plain.base_url
        assert client.models is plain.models
        assert client.chat.completions.with_raw_response is plain.chat.completions.with_raw_response
        assert client.chat.completions is not plain.chat.completions
