"""Dynamic limits in Redis: five keys of one slot, one script call for a change, and one for what changed since.

Over connections of their own: a page of a thousand limits never stands in front of a charge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha1
from pathlib import Path

from ratelimit.dynamic_limit import CLEARED_MAX, PAGE_MAX, Change, DynamicLimit, LimitsFull, Page, VersionConflict
from ratelimit.errors import StoreTimeout
from ratelimit.stores.redis_errors import error_of
from serving.redis_client import RedisClient
from serving.redis_link import Reply
from serving.redis_node import Command, Script

_SCRIPTS = Path(__file__).parent.parent / "redis_scripts"
_SENSELESS = "Redis gave an answer that makes no sense"


def _script(name: str) -> Script:
    body = (_SCRIPTS / name).read_text(encoding="utf-8")
    return Script(sha1(body.encode(), usedforsecurity=False).hexdigest(), body)


PUT = _script("put_limit.lua")
READ = _script("read_limits.lua")


class RedisLimits:
    """Keeps them where the counters are; connects when it is first asked."""

    def __init__(
        self,
        make_client: Callable[[], RedisClient],
        *,
        limits_max: int,
        key_prefix: str = "",
        cleared_max: int = CLEARED_MAX,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """`now_ms` stands for the server's clock in tests; 0 is that clock."""
        self._make_client = make_client
        self._client: RedisClient | None = None
        self._limits_max = limits_max
        self._cleared_max = cleared_max
        self._now_ms = now_ms
        # The braces have all of them share a slot; no counter is named so, since those have `_` behind their domain.
        self._keys = tuple(
            f"{key_prefix}weir:{{limits}}:{part}" for part in ("state", "limits", "changes", "cleared", "ends")
        )

    async def put(
        self, name: str, amount: int, *, ttl_ms: int, expected_version: int | None, deadline: float
    ) -> DynamicLimit:
        """Put an amount in force."""
        word, version, ends_ms = await self._change(name, str(amount), ttl_ms, expected_version, deadline)
        if word == b"full":
            raise LimitsFull
        return DynamicLimit(name, amount, version, ends_ms)

    async def clear(self, name: str, *, expected_version: int | None, deadline: float) -> int:
        """Have the rule's own amount in force again."""
        _, version, _ = await self._change(name, "", 0, expected_version, deadline)
        return version

    async def read(self, after: int, *, most: int = PAGE_MAX, deadline: float) -> Page:
        """Return what changed after a version."""
        reply = await self._ask(READ, self._keys[:3], (self._now_ms(), after, most), deadline)
        try:
            return _page(after, reply)
        except (TypeError, ValueError):
            raise StoreTimeout(_SENSELESS) from None

    async def stop(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.stop()

    async def _change(
        self, name: str, amount: str, ttl_ms: int, expected_version: int | None, deadline: float
    ) -> tuple[bytes, int, int]:
        expected = "" if expected_version is None else expected_version
        bounds = (self._limits_max, self._cleared_max)
        reply = await self._ask(PUT, self._keys, (self._now_ms(), name, amount, ttl_ms, expected, *bounds), deadline)
        match reply:
            case [b"conflict", int(version), _]:
                raise VersionConflict(version)
            case [bytes(word), int(version), int(ends_ms)]:
                return word, version, ends_ms
        raise StoreTimeout(_SENSELESS)

    async def _ask(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int], deadline: float) -> Reply:
        if self._client is None:
            self._client = self._make_client()
        slot = self._client.slot_of(keys[0])
        command = Command(("EVALSHA", script.digest, len(keys), *keys, *arguments), slot, script)
        await self._client.run([command], deadline)
        error = error_of(command.reply)
        if error is not None:
            raise error
        return command.reply


def _page(after: int, reply: Reply) -> Page:
    if not isinstance(reply, list):
        raise TypeError
    born, version, floor, now_ms, *told = reply
    changes = [
        Change(name.decode(), changed, _limit(name.decode(), row))
        for name, changed, row in zip(told[::3], told[1::3], told[2::3], strict=True)
    ]
    return Page(after, born.decode(), version, floor, now_ms, changes)


def _limit(name: str, row: bytes) -> DynamicLimit | None:
    if not row:
        return None
    amount, version, ends_ms = map(int, row.split())
    return DynamicLimit(name, amount, version, ends_ms)
