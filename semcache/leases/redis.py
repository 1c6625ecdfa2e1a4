"""Leases of many replicas, in Redis; releases are told on a channel.

    weir:lease:{<group>}:due     sorted set of held keys by the end of their lease
    weir:lease:{<group>}:held    hash of held keys: token and note
    weir:lease:released          channel

The group stands in braces, hashed: both keys share a slot of a cluster. Time is the server's.
"""

from __future__ import annotations

import math
import secrets
from hashlib import sha1, sha256
from pathlib import Path

from semcache.errors import LeaseError
from semcache.lease import Grant, Pending
from semcache.leases.waiters import Waiters
from semcache.settings import LeaseSettings
from serving.clock import Clock
from serving.redis_client import RedisClient
from serving.redis_link import RedisFault, Reply, ReplyError
from serving.redis_node import Command, Script

CHANNEL = "weir:lease:released"
_SERVER_TIME = 0


def _script(name: str) -> Script:
    body = (Path(__file__).parent.parent / "redis_scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(sha1(body.encode(), usedforsecurity=False).hexdigest(), body)


TAKE, RELEASE, LOOK = _script("take"), _script("release"), _script("look")


class RedisLeases:
    """Holds everything in Redis."""

    def __init__(self, client: RedisClient, settings: LeaseSettings, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._waiters = Waiters(clock, settings.poll_interval)

    async def start(self) -> None:
        """Listen to releases."""
        self._client.subscribe(CHANNEL, self._hear)

    async def take(self, group: str, key: str, note: bytes, ttl_seconds: float) -> Grant:
        """Hold a key, unless somebody does."""
        settings, token = self._settings, secrets.token_hex(16)
        note = note if len(note) <= settings.note_bytes_max else b""
        bounds = (math.ceil(ttl_seconds * 1000), settings.pending_max, settings.others_max)
        reply = await self._run(TAKE, _keys(group), (_SERVER_TIME, key, token, note, *bounds))
        if not reply:
            return Grant("")
        others = [Pending(name.decode(), left) for name, left in zip(reply[1::2], reply[2::2], strict=True)]
        return Grant(token, others)

    async def wait(self, group: str, key: str, timeout_seconds: float) -> bool:
        """Wait until nobody holds a key."""
        due = _keys(group)[:1]

        async def look() -> float:
            return int(await self._run(LOOK, due, (_SERVER_TIME, key))) / 1000

        return await self._waiters.wait(group, key, timeout_seconds, look)

    async def release(self, group: str, key: str, token: str) -> bool:
        """Give a key back."""
        told = f"{group}\n{key}"
        return bool(await self._run(RELEASE, _keys(group), (key, token, CHANNEL, told)))

    async def stop(self) -> None:
        """Let waiters go; the connections are their owner's."""
        self._waiters.stop()

    def _hear(self, message: bytes) -> None:
        group, _, key = message.decode(errors="replace").partition("\n")
        self._waiters.wake(group, key)

    async def _run(self, script: Script, keys: tuple[str, ...], arguments: tuple[str | bytes | int, ...]) -> Reply:
        parts = ("EVALSHA", script.digest, len(keys), *keys, *arguments)
        command = Command(parts, self._client.slot_of(keys[0]), script)
        await self._client.run([command], self._clock.steady() + self._settings.timeout)
        if isinstance(command.reply, RedisFault | ReplyError):
            raise LeaseError(f"Redis keeps no leases now: {command.reply}")
        return command.reply


def _keys(group: str) -> tuple[str, ...]:
    tag = sha256(group.encode()).hexdigest()[:32]
    return (f"weir:lease:{{{tag}}}:due", f"weir:lease:{{{tag}}}:held")
