"""The cache as it is put together for production, in this process: real engine, real model, a port of its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from protos.semcache.v1 import semcache_pb2 as wire
from semcache import settings as semcache_settings
from semcache.app import NAME, Service
from semcache.settings import (
    CacheSettings,
    EdgeSettings,
    EmbedderSettings,
    NamespaceSettings,
    QdrantSettings,
    SemcacheGrpcSettings,
    SemcacheHttpSettings,
    SemcacheRedisSettings,
    SemcacheTracingSettings,
    Settings,
)
from serving.clock import Clock, SystemClock
from serving.settings import StatsSettings
from tests.fakes.models import model_folder

TOKEN = "open sesame"
TENANT_TOKEN = "acme only"

# Lookups have seconds here: a machine under load is slow, and what is slow is tested where it is made so.
PATIENT = {"lookup_timeout": 20.0, "store_timeout": 20.0}
PATIENT_STORE = {"timeout": 20.0}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


NAMESPACES = f"""
namespaces:
  - &open
    name: support
    explore: 0
    threshold: 0.9
    callers: [{{anyone: true, roles: [administer]}}]
  - {{<<: *open, name: sales}}
  - {{<<: *open, name: chats, history: similar}}
  - {{<<: *open, name: shadowed, threshold: 1, shadow: {{threshold: 0.9}}}}
  - {{<<: *open, name: closed, enabled: false}}
  - {{<<: *open, name: small, retention: {{text_bytes_max: 20, prompt_bytes_max: 60, temperature_max: 0.5}}}}
  - name: guarded
    explore: 0
    threshold: 0.9
    callers:
      - {{anyone: true, roles: [lookup]}}
      - {{token_sha256: {digest(TOKEN)}, roles: [lookup, store, feedback, invalidate, export, administer]}}
      - {{token_sha256: {digest(TENANT_TOKEN)}, roles: [store, feedback, invalidate, export], tenants: [acme]}}
"""


def settings(folder: Path, namespaces: str, **groups: Any) -> Settings:
    path = folder / "namespaces.yaml"
    path.write_text(namespaces)
    loaded = semcache_settings.load()
    values: dict[str, Any] = {
        "grpc": SemcacheGrpcSettings(grpc_host="127.0.0.1", grpc_port=0),
        "http": SemcacheHttpSettings(host="127.0.0.1", port=0),
        "http_clients": loaded.http_clients,
        "lifecycle": loaded.lifecycle,
        "log": loaded.log,
        "stats": StatsSettings(disable_stats=True),
        "tracing": SemcacheTracingSettings(),
        "redis": SemcacheRedisSettings(),
        "embedder": EmbedderSettings(model=str(model_folder())),
        "edge": EdgeSettings(folder=str(folder / "edge"), **PATIENT_STORE),
        "qdrant": QdrantSettings(),
        "lease": loaded.lease,
        "cache": CacheSettings(**PATIENT),
        "namespaces": NamespaceSettings(path=str(path)),
        "sweeper": loaded.sweeper,
        "migration": loaded.migration,
    }
    return Settings(**values | groups)


@dataclass
class Served:
    """A running service, and a way to call it."""

    service: Service
    channel: grpc.aio.Channel

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.service.grpc.port}"

    async def call(self, request: Message, token: str = "") -> Any:
        """Send a message to the method that takes it."""
        method = type(request).__name__.removesuffix("Request")
        response: Any = getattr(wire, f"{method}Response")
        send = self.channel.unary_unary(
            f"/{NAME}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return await send(request, metadata=bearer(token), timeout=50)

    async def status(self, request: Message, token: str = "") -> tuple[str, str]:
        """Return the status that a call ends with, and its words."""
        try:
            await self.call(request, token)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; the test's own timeout bounds it."""
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)

    def value(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.service.registry.samples()
            if sample.name == f"weir.semcache.{name}" and labels.items() <= sample.labels.items()
        )


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


@asynccontextmanager
async def serving(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Served]:
    """Run it as `semcache.app` would, signals left out."""
    service = Service(settings, clock or SystemClock())
    begun = []
    try:
        for part in service.parts():
            begun.append(part)
            await part.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc.port}") as channel:
            yield Served(service, channel)
    finally:
        service.health.close()
        for part in reversed(begun):
            await part.stop()


def lookup(prompt: str, namespace: str = "support", tenant: str = "acme", **fields: Any) -> wire.LookupRequest:
    scope = wire.Scope(tenant=tenant, **fields.pop("scope", {}))
    return wire.LookupRequest(namespace=namespace, scope=scope, prompt=wire.Prompt(text=prompt), **fields)


def store(prompt: str, text: str = "By mail.", namespace: str = "support", tenant: str = "acme", **fields: Any) -> Any:
    completion = fields.pop("completion", {})
    return wire.StoreRequest(
        namespace=namespace,
        scope=wire.Scope(tenant=tenant, **fields.pop("scope", {})),
        prompt=wire.Prompt(text=prompt),
        completion=wire.Completion(text=text, **completion),
        **fields,
    )
