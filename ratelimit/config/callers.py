"""The file of callers: read at start, and again when it changes; a file with a problem never replaces a good one.

callers:
- san: spiffe://cluster.local/ns/chat/sa/gateway
roles: [ask, settle]
domains: [llm]
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ratelimit.errors import ConfigError, Problem
from ratelimit.rights import CallerRule, Rights
from ratelimit.settings import ApiSettings
from serving.following import Following
from serving.metrics import Registry
from serving.yaml_models import UNKNOWN_KEY, PlainYaml
from serving.yaml_nodes import Bounds, DocumentError, compose

log = logging.getLogger(__name__)

_TOP = "callers"
_BYTES_MAX = 1024 * 1024
_BOUNDS = Bounds(100_000, 20)


def read(file: str, content: bytes) -> tuple[CallerRule, ...]:
    """Return the rules of a text.

    Raises:
        ConfigError: something is wrong with it; it carries every problem.
    """
    try:
        root = compose(content, _BOUNDS)
    except DocumentError as error:
        raise ConfigError([Problem(file, error.line, str(error))]) from None
    plain = PlainYaml(file, {"token_sha256"})
    value = plain.value(root, ()) if root is not None else {}
    if not isinstance(value, dict) or not isinstance(value.get(_TOP), list):
        raise ConfigError([*plain.problems, Problem(file, 1, f"needs a list under `{_TOP}`")])
    problems = plain.problems
    problems += [Problem(file, plain.line((key,)), f"{key}: {UNKNOWN_KEY}") for key in value if key != _TOP]
    callers = []
    for index, item in enumerate(value[_TOP]):
        try:
            callers.append(CallerRule.model_validate(item))
        except ValidationError as error:
            problems += [plain.blame((_TOP, index), dict(each)) for each in error.errors(include_url=False)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return tuple(callers)


def load(path: Path) -> tuple[CallerRule, ...]:
    """Return the rules of a file.

    Raises:
        ConfigError: it cannot be read, is too large, or something is wrong with it.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, f"cannot be read: {error.strerror}")]) from None
    if len(content) > _BYTES_MAX:
        raise ConfigError([Problem(str(path), 0, f"more than {_BYTES_MAX} bytes")])
    return read(str(path), content)


class CallersWatch:
    """Keeps rights to what the file says, as a part of the service."""

    def __init__(self, settings: ApiSettings, rights: Rights, registry: Registry, *, sees_names: bool) -> None:
        self._path = Path(settings.callers_path)
        self._rights = rights
        self._refused = registry.counter("weir.callers.refused")
        self._sees_names = sees_names
        self._following = Following(
            self._path, self._changed, poll_seconds=settings.callers_poll_interval, is_told=True
        )

    async def start(self) -> None:
        """Load the file, and follow it.

        Raises:
            OSError: the file has problems: a service that quietly serves nobody is found late.
        """
        try:
            await asyncio.to_thread(load, self._path)
        except ConfigError as error:
            raise OSError(f"API_CALLERS_PATH: {error}") from None
        await self._following.start()

    async def stop(self) -> None:
        """Follow it no more."""
        await self._following.stop()

    async def _changed(self) -> None:
        try:
            callers = await asyncio.to_thread(load, self._path)
        except ConfigError as error:
            self._refused.add()
            log.error("the file of callers is refused, the old rights stay in force:\n%s", error)  # noqa: TRY400 - the words are all there is
            return
        self._accept(callers)

    def _accept(self, callers: Sequence[CallerRule]) -> None:
        self._rights.replace(callers)
        log.info("callers loaded: %d", len(callers))
        if not self._sees_names and any(rule.san for rule in callers):
            log.warning(
                "API_CALLERS_PATH: rules by `san` let nobody pass: certificates are not asked for, or were not at start"
            )
