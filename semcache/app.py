"""The semantic cache, put together: the only place that picks implementations.

settings ──▶ logs, metrics ──▶ namespaces ──▶ store ──▶ models ──▶ cache ──▶ HTTP ──▶ gRPC     stopping goes the other way
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from protos.semcache.v1 import semcache_pb2
from semcache import settings as service_settings
from semcache.api.cold import Cold
from semcache.api.hot import Hot
from semcache.api.spans import describe_lookup, describe_store
from semcache.api.streams import Streams
from semcache.cache import Cache
from semcache.calibration import Gate
from semcache.config.source import NamespaceSource
from semcache.embedder import Embedder
from semcache.errors import SemcacheError
from semcache.evidence import ORIGINS
from semcache.gauges import show_gates
from semcache.judging import Judges
from semcache.learned import Learned
from semcache.lease import Leases
from semcache.leases.memory import MemoryLeases
from semcache.leases.redis import RedisLeases
from semcache.migration.lineage import Lineage
from semcache.models import Find, Models
from semcache.settings import Settings
from semcache.store import EntryStores
from semcache.stores.edge.root import EdgeStores
from semcache.sweeper import Sweeper
from semcache.transfer import Transfer
from semcache.verifier import fitted
from serving import collector
from serving.calls import Handler, Method
from serving.clock import Clock, SystemClock
from serving.descriptors import open_all_that_may_be
from serving.grpc_handlers import Paths
from serving.health import Health
from serving.health_page import health_page
from serving.health_service import health_handler
from serving.http import HttpServer
from serving.lifecycle import Lifecycle, Part
from serving.logs import configure
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.redis_link import NotSent
from serving.reflection import reflection_handler
from serving.settings import GrpcSettings, SettingsError
from serving.sinks import Telemetry
from serving.transport import Transport, make_transport

_log = logging.getLogger(__name__)

SERVICE = semcache_pb2.DESCRIPTOR.services_by_name["SemanticCacheService"]
NAME = SERVICE.full_name


class Service:
    """Everything of one process, made from its settings."""

    def __init__(self, settings: Settings, clock: Clock, registry: Registry | None = None) -> None:
        """Put it together; with a `registry`, its metrics are sent by whoever brings that."""
        self.settings = settings
        self.clock = clock
        self.registry = registry or Registry()
        self.health = Health()
        self.telemetry = Telemetry(settings.stats, settings.http_clients, self.registry, settings.tracing, clock=clock)
        self._sends_metrics = registry is None
        self.source = NamespaceSource(settings.namespaces, self.registry)
        self.stores = make_stores(settings)
        self.leases = make_leases(settings, self.registry, clock)
        shipped, origin = fitted.load(), secrets.randbelow(ORIGINS)
        self.judges = Judges(
            shipped.verifier,
            lambda bounds, model: Gate(bounds, shipped.curve, f"{shipped.scale} {model}", origin),
            judged_max=settings.cache.judged_max,
        )
        self.models = Models(
            self._make_embedder,
            self._find_embedder,
            self._make_lineage,
            lambda: self.source.current,
            settings.cache.prompts_remembered,
            settings.cache.retry_interval,
        )
        self.source.subscribe(self.models.follow)
        self.sweeper = Sweeper(self.stores, self._capacities, settings.sweeper, clock, self.registry)
        self.cache = Cache(
            self.stores,
            self.models,
            self.leases,
            self.judges,
            self.sweeper.purge,
            settings.cache,
            clock,
            self.registry,
        )
        show_gates(self.registry, lambda: self.source.current.members, self.models, self.judges)
        self.tracing: list[Part] = []
        self.grpc = self._grpc()

    def parts(self) -> Sequence[Part]:
        """List what runs, in the order of starting."""
        settings = self.settings
        pages = {"/healthcheck": health_page(self.health), "/metrics": self._metrics}
        return [
            *([self.telemetry] if self._sends_metrics else []),
            HttpServer((settings.http.host, settings.http.port), pages, settings.http_clients, self.registry),
            # Before the models: their first set says which are needed.
            self.source,
            self.stores,
            Learned(self.judges, self.stores, settings.cache.state_interval),
            self.models,
            self.leases,
            self.sweeper,
            Ready(self.cache, self.health),
            *self.tracing,
            self.grpc,
        ]

    def _grpc(self) -> Transport:
        hot = Hot(self.cache, self.source, self.settings.cache, self.clock, self.registry)
        cold = Cold(self.cache, self.source, self.clock)
        streams = Streams(Transfer(self.stores, self.models), self.source, self.clock)
        unary = {**self._traced(hot), **cold.handlers()}
        is_traced = self.settings.tracing.tracing_enabled
        return make_transport(
            seeing_names(self.settings.grpc),
            [Method(f"/{NAME}/{name}", handler, keeps_trace=is_traced) for name, handler in unary.items()],
            self.clock,
            self.registry,
            handlers=[
                Paths({f"/{NAME}/{name}": method for name, method in streams.methods().items()}),
                health_handler(self.health, NAME, watches_max=self.settings.grpc.grpc_health_watches_max),
                reflection_handler({NAME: SERVICE}),
            ],
            grace_seconds=self.settings.lifecycle.drain_grace,
        )

    def _traced(self, hot: Hot) -> dict[str, Handler]:
        if not self.settings.tracing.tracing_enabled:
            return {"Lookup": hot.lookup, "Store": hot.store}
        from serving.tracing import Tracing  # noqa: PLC0415 - OpenTelemetry is loaded only where it is used

        tracing = Tracing(self.settings.tracing, self.clock)
        self.tracing.append(tracing)
        return {
            "Lookup": tracing.traced_later(hot.lookup, "semcache.lookup", describe_lookup),
            "Store": tracing.traced_later(hot.store, "semcache.store", describe_store),
        }

    def _capacities(self) -> dict[str, int]:
        return {each.name: each.entries_max for each in self.source.current.members}

    async def _make_embedder(self, model: str) -> Embedder:
        embedder = await asyncio.to_thread(make_embedder, self.settings, model, self.clock)
        await embedder.start()
        return embedder

    async def _find_embedder(self, slug: str) -> Embedder | None:
        from semcache.embedders import model_folder  # noqa: PLC0415 - with ONNX Runtime, as in make_embedder
        from semcache.embedders.onnx import OnnxEmbedder  # noqa: PLC0415 - as above

        folder = await asyncio.to_thread(model_folder.find, Path(self.settings.embedder.models_folder), slug)
        if folder is None:
            return None
        embedder = OnnxEmbedder(folder, self.settings.embedder, self.clock)
        await embedder.start()
        return embedder

    def _make_lineage(self, namespace: str, find: Find) -> Lineage:
        return Lineage(namespace, self.stores, find, self.settings.migration, self.clock, self.registry)

    async def _metrics(self, _request: web.BaseRequest) -> web.Response:
        body, content_type = await self.telemetry.page.render()
        return web.Response(body=body, headers={"Content-Type": content_type})


class Ready:
    """The cache as a part, and as a component of health."""

    def __init__(self, cache: Cache, health: Health) -> None:
        self._cache = cache
        self._health = health
        health.down("semcache")

    async def start(self) -> None:
        """Begin."""
        await self._cache.start()
        self._health.up("semcache")

    async def stop(self) -> None:
        """End what is under way."""
        await self._cache.stop()


class SharedLeases:
    """Leases in Redis with their connection, as one part; nobody waits for a Redis that is away, for leases guard nothing."""

    def __init__(self, leases: RedisLeases, client: RedisClient) -> None:
        self._leases = leases
        self._client = client
        self._connecting: asyncio.Task[None] | None = None
        self.take, self.wait, self.release = leases.take, leases.wait, leases.release

    async def start(self) -> None:
        """Begin to connect, and to hear of releases."""
        self._connecting = asyncio.create_task(self._connect())
        await self._leases.start()

    async def stop(self) -> None:
        """Let waiters go, then the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._leases.stop()
        await self._client.stop()

    async def _connect(self) -> None:
        while True:
            try:
                return await self._client.start()
            except NotSent as error:  # REDIS_STARTUP_MAX_ELAPSED_TIME is over: who waits for it is nobody here
                _log.warning("%s; fill leases are not had until it is", error)


def make_stores(settings: Settings) -> EntryStores:
    """Return Qdrant where QDRANT_URL names one, or Qdrant Edge."""
    if not settings.qdrant.url.get_secret_value():
        return EdgeStores(settings.edge)
    from semcache.stores.qdrant.root import QdrantStores  # noqa: PLC0415 - half a second to import

    return QdrantStores(settings.qdrant)


def make_leases(settings: Settings, registry: Registry, clock: Clock) -> Leases:
    """Return leases in Redis where SEMCACHE_REDIS_URL names one, or in memory."""
    if not settings.redis.url.get_secret_value():
        return MemoryLeases(settings.lease, clock)
    client = RedisClient(settings.redis, registry, clock, pool="semcache_redis_pool")
    return SharedLeases(RedisLeases(client, settings.lease, clock), client)


def make_embedder(settings: Settings, model: str, clock: Clock) -> Embedder:
    """Return the embedder of a model; the default one is fetched and exported where it is not there yet.

    Raises:
        SemcacheError: there is no such model.
    """
    chosen = settings.embedder
    folder = f"{chosen.models_folder}/{model}-{chosen.precision}" if model else chosen.model
    if chosen.kind == "sentence":
        from semcache.embedders.sentence import SentenceEmbedder  # noqa: PLC0415 - imports PyTorch, where it is installed

        named = f"{chosen.models_folder}/{model}" if model else chosen.model
        return SentenceEmbedder(chosen.model_copy(update={"model": named}), clock)
    from semcache.embedders.onnx import OnnxEmbedder  # noqa: PLC0415 - the other kind does without ONNX Runtime
    from semcache.export import default  # noqa: PLC0415 - only where a model is exported

    if not folder:
        folder = f"{default.ensure(Path(chosen.models_folder))}/{default.NAME}-{chosen.precision}"
    return OnnxEmbedder(Path(folder), chosen, clock)


def seeing_names(grpc: GrpcSettings) -> GrpcSettings:
    """Return the settings under which names in certificates are seen, where certificates are asked for.

    The front does not tell whose certificate a connection has, and rights may go by it. Who asks for the front by name
    gets it, and rights by token.
    """
    if grpc.transport == "auto" and (grpc.grpc_client_tls_cacert or grpc.grpc_server_tls_ca_cert):
        return grpc.model_copy(update={"transport": "grpcio"})
    return grpc


async def serve(settings: Settings) -> None:
    """Serve until a signal."""
    service = Service(settings, SystemClock())
    lifecycle = settings.lifecycle
    await Lifecycle(
        service.parts(), service.health, delay_seconds=lifecycle.drain_delay, grace_seconds=lifecycle.drain_grace
    ).run()


def main() -> int:
    """Serve under the environment; return the exit status."""
    try:
        settings = service_settings.load()
        configure(settings.log)
        for remark in service_settings.environment_remarks():
            _log.warning(remark)
        collector.settle()
        open_all_that_may_be()
        uvloop.run(serve(settings))
    except (SettingsError, SemcacheError, OSError) as error:
        print(f"semcache: {error}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    return 0  # pragma: no cover - reached, but tracing is out of step once uvloop has cancelled a task
