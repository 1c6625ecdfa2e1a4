from __future__ import annotations

import pytest

from weir.demo.upstream import Chat, chunks, completion, read_chat

CHAT = Chat("small", prompt_tokens=2, completion_tokens=3, is_stream=False)


def test_a_token_is_a_word_and_the_caller_chooses_how_many() -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "what is a weir"}]

    chat = read_chat({"model": "large", "messages": messages, "max_tokens": 7, "stream": True})

    assert chat == Chat("large", prompt_tokens=6, completion_tokens=7, is_stream=True)


def test_what_is_left_out_has_a_default() -> None:
    assert read_chat({"messages": []}) == Chat("demo", 0, 40, is_stream=False)


@pytest.mark.parametrize(
    "body", [{}, {"messages": "hi"}, {"messages": [], "max_tokens": 0}, {"messages": [], "max_tokens": 5000}]
)
def test_what_is_no_chat_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="needs `messages`"):
        read_chat(body)


def test_an_answer_has_as_many_words_as_its_usage_says() -> None:
    answer = completion(CHAT)

    assert len(answer["choices"][0]["message"]["content"].split()) == 3
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_a_stream_tells_its_usage_once_in_its_last_chunk() -> None:
    found = list(chunks(CHAT))

    assert [bool(each["usage"]) for each in found] == [False] * 4 + [True]
    assert found[-1]["choices"] == []
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert "".join(each["choices"][0]["delta"]["content"] for each in found[:3]) == "a weir raises "
