from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from semcache.client import chat
from semcache.client.values import Completion

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}


def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return ChatCompletionChunk.construct(**{
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields
    })  # fmt: skip


def response(message: dict[str, Any], finish: str = "stop", **fields: Any) -> Any:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return ChatCompletion.construct(**{
        "id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **fields
    })  # fmt: skip


def said(*chunks: Any) -> Completion | None:
    made = chat.Said()
    for each in chunks:
        made.take(each)
    return made.whole()


def test_how_it_is_sent_is_not_in_the_scope_and_what_is_not_given_is_absent() -> None:
    plain = chat.scope_of({"model": "m", "messages": [], "temperature": 0.5})
    streamed = chat.scope_of({
        "model": "m", "messages": [], "temperature": 0.5, "stream": True, "stream_options": {"include_usage": True},
        "timeout": 5, "tools": openai.NOT_GIVEN, "seed": openai.omit,
    })  # fmt: skip

    assert plain == streamed
    assert plain["sampling"] == {"temperature": 0.5}


@pytest.mark.parametrize(("number", "expected"), [(None, True), (1, True), (2, False), (openai.omit, True)])
def test_several_choices_are_not_asked_for(number: object, expected: object) -> None:
    assert chat.is_asked({"n": number}) is expected


def test_a_stream_is_an_answer_once_it_says_why_it_ended() -> None:
    begun = [chunk({"role": "assistant", "content": "By "}), chunk({"content": "mail."})]

    assert said(*begun) is None
    whole = said(*begun, chunk({}, "stop"))
    assert whole is not None
    assert (whole.text, whole.finish_reason, chat.read_response(whole).choices[0].message.content) == (
        *("By mail.", "stop", "By mail."),
    )


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_stream_that_ended_otherwise_is_no_answer(reason: str) -> None:
    assert said(chunk({"role": "assistant", "content": "By "}), chunk({}, reason)) is None


def test_a_chunk_that_does_not_fit_leaves_the_stream_and_is_not_kept() -> None:
    assert said(chunk({"content": "By"}), object(), chunk({}, "stop")) is None


def test_tool_calls_of_a_stream_are_put_together_and_replayed() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}}
    more = {"index": 0, "function": {"arguments": '"Bonn"}'}}
    whole = said(
        chunk({"role": "assistant", "tool_calls": [first]}), chunk({"tool_calls": [more]}), chunk({}, "tool_calls")
    )
    assert whole is not None

    call = json.loads(whole.tool_calls)[0]
    replayed = next(chat.read_chunks(whole, {})).choices[0].delta.tool_calls[0]

    assert (call["function"]["arguments"], replayed.function.arguments) == ('{"city":"Bonn"}',) * 2
    assert (replayed.index, replayed.id, replayed.function.name) == (0, "c1", "weather")


def test_what_a_provider_adds_comes_back() -> None:
    kept = chat.write_response(response({"content": "x", "reasoning_content": "why"}, "eos"))

    again = chat.read_response(kept)

    assert (again.choices[0].message.reasoning_content, again.choices[0].finish_reason) == ("why", "eos")


def test_an_answer_of_another_writer_is_given_as_the_library_would() -> None:
    kept = Completion("x", model="m", tool_calls=json.dumps([CALL]), input_tokens=3, output_tokens=4)

    read = chat.read_response(kept)
    *_, ending, usage = chat.read_chunks(kept, {"stream_options": {"include_usage": True}})

    assert (read.choices[0].message.tool_calls[0].function.name, read.usage.total_tokens) == ("weather", 7)
    assert (ending.choices[0].finish_reason, usage.choices, usage.usage.total_tokens) == ("stop", [], 7)


def test_without_usage_none_is_replayed() -> None:
    chunks = chat.read_chunks(
        chat.write_response(response({"content": "x"})), {"stream_options": {"include_usage": True}}
    )

    assert len(list(chunks)) == 2


def test_an_answer_of_another_writer_without_tools_calls_none() -> None:
    read = chat.read_response(Completion("By mail.", model="m"))

    assert (read.choices[0].message.content, read.choices[0].message.tool_calls) == ("By mail.", None)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 3}}, (6, 3)),
        ({"prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": None}}, (0, 0)),
        ({}, (0, 0)),
    ],
    ids=["told", "told as nothing", "not told"],
)
def test_what_was_cheaper_or_not_said_of_the_usage_is_kept(details: Any, expected: tuple[int, int]) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, **details}

    kept = chat.write_response(response({"content": "x"}, usage=usage))

    assert (kept.input_tokens, kept.output_tokens) == (9, 5)
    assert (kept.cached_input_tokens, kept.reasoning_tokens) == expected


@pytest.mark.parametrize("name", ["n", "prompt_cache_key", "user", "store"])
def test_what_changes_no_answer_is_not_in_the_scope(name: str) -> None:
    assert chat.scope_of({"model": "m", name: 1}) == chat.scope_of({"model": "m"})
