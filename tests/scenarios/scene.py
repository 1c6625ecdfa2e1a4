"""What a transcript talks to: a whole service on the memory store, under a clock that stands."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest

from protos.interop.rls.v1.rls_pb2 import HeaderValue, RateLimitRequest, RateLimitResponse
from ratelimit.app import Service
from ratelimit.config.files import read_files
from ratelimit.errors import ConfigError
from ratelimit.explaining import explain
from ratelimit.source import News
from serving.calls import Call, Caller
from tests.fakes.clock import FakeClock


class Scene:
    """Answers commands."""

    def __init__(self, service: Service, clock: FakeClock, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self._service = service
        self._folder = folder
        self._clock = clock
        self._log = log
        self._domain = ""

    async def answer(self, command: str, rules: str) -> str:
        """Do one command and return what it shows."""
        name, *words = shlex.split(command)
        match name:
            case "load":
                return await self._load(rules)
            case "wait":
                self._clock.advance(float(words[0].removesuffix("s")))
                return ""
            case "match":
                return self._match(words[0])
            case "ask":
                return await self._ask(words)
            case _:
                raise ValueError(f"{name}: is no command; there are load, wait, match and ask")

    async def _load(self, rules: str) -> str:
        (self._folder / "rules.yaml").write_text(rules)
        self._log.clear()
        with self._log.at_level(logging.WARNING):
            error = await self._service.rules.apply(self._news())
        loaded = self._service.rules.current
        self._domain = next(iter(loaded.domains), "") if loaded is not None else ""
        said = [f"refused:\n{error}"] if error is not None else ["loaded", *self._log.messages]
        return "\n".join(said).replace(f"{self._folder}/", "")

    def _news(self) -> News:
        try:
            return read_files(self._folder, ignore_dotfiles=True, merge=False)
        except ConfigError as error:
            return error

    def _match(self, descriptor: str) -> str:
        rules = self._service.rules.current
        assert rules is not None, "> load comes first"
        way = explain(rules.domains[self._domain], tuple(_entries(descriptor)))
        if way.rule is None:
            return f"no rule: {way.why}"
        return f"line {way.rule.where.line}, {way.rule.path}: {way.why}"

    async def _ask(self, words: list[str]) -> str:
        wanted = _ASK.parse_args(words)
        request = RateLimitRequest(domain=self._domain)
        if wanted.hits_addend is not None:
            request.hits_addend = wanted.hits_addend
        for text in wanted.descriptors:
            descriptor = request.descriptors.add(is_negative_hits=wanted.refund)
            for key, value in _entries(text):
                descriptor.entries.add(key=key, value=value)
            if wanted.hits is not None:
                descriptor.hits_addend.value = wanted.hits
        call = Call(request.SerializeToString(), self._clock.steady() + 1, Caller("test"))
        (reply,) = await self._service.rls.should_rate_limit([call])
        assert isinstance(reply, bytes), reply
        return "\n".join(_shown(RateLimitResponse.FromString(reply)))


_ASK = argparse.ArgumentParser("ask", exit_on_error=False)
_ASK.add_argument("descriptors", nargs="+", metavar="key=value,key=value")
_ASK.add_argument("--hits", type=int, help="of each descriptor")
_ASK.add_argument("--hits-addend", type=int, help="of the request")
_ASK.add_argument("--refund", action="store_true")


def _entries(text: str) -> Iterable[tuple[str, str]]:
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        yield key, value


def _shown(response: RateLimitResponse) -> Iterable[str]:
    statuses = [_status(status) for status in response.statuses]
    overall = _code(response.overall_code)
    if len(statuses) == 1:
        yield statuses[0]
        if not statuses[0].startswith(overall):
            yield f"the request: {overall}"
    else:
        yield overall
        yield from (f"  {status}" for status in statuses)
    yield from (f"to the client: {_header(header)}" for header in response.response_headers_to_add)
    yield from (f"to the upstream: {_header(header)}" for header in response.request_headers_to_add)
    if response.raw_body:
        yield f"body: {response.raw_body.decode()}"


def _status(status: RateLimitResponse.DescriptorStatus) -> str:
    code = _code(status.code)
    if not status.HasField("current_limit"):
        return f"{code}, no limit"
    limit = status.current_limit
    unit = RateLimitResponse.RateLimit.Unit.Name(limit.unit).lower()
    left = f"{code}, {status.limit_remaining} of {limit.requests_per_unit} left"
    return f"{left} per {unit}, {status.duration_until_reset.ToSeconds()} s"


def _code(code: RateLimitResponse.Code) -> str:
    return {RateLimitResponse.OK: "ok", RateLimitResponse.OVER_LIMIT: "over"}[code]


def _header(header: HeaderValue) -> str:
    return f"{header.key}: {header.value}"
