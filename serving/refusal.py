"""Calls that are answered with a failure, raised where it is found out."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from serving.calls import Failure, StatusCode

M = TypeVar("M", bound=Message)


class Refused(Exception):  # noqa: N818 - what it is to its caller: an answer
    """A call that is answered with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure

    @classmethod
    def field(cls, name: str, problem: str) -> Refused:
        """Return the answer to bad input."""
        return cls(Failure(StatusCode.INVALID_ARGUMENT, f"{name}: {problem}"))


def decode(kind: type[M], message: bytes) -> M:
    """Return a message.

    Raises:
        Refused: the bytes are none of this kind.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise Refused(Failure(StatusCode.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}")) from None
