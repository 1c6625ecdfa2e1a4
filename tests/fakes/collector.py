"""An OpenTelemetry collector: takes spans and metrics by OTLP, over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_SECONDS = 30.0


class Collector:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.resource: dict[str, Any] = {}
        self.grpc_port = 0
        self.http_port = 0
        self._changed = asyncio.Condition()
        self._grpc = grpc.aio.server()
        self._http: web.AppRunner | None = None

    async def start(self) -> None:
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(self), self._grpc)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()
        app = web.Application()
        app.router.add_post("/v1/traces", self._post_traces)
        app.router.add_post("/v1/metrics", self._post_metrics)
        self._http = web.AppRunner(app)
        await self._http.setup()
        await web.TCPSite(self._http, "127.0.0.1", 0).start()
        self.http_port = self._http.addresses[0][1]

    async def stop(self) -> None:
        await self._grpc.stop(0)
        if self._http is not None:
            await self._http.cleanup()

    def environment(self, protocol: str) -> dict[str, str]:
        """Return what points an exporter here, without delay."""
        port = self.grpc_port if protocol == "grpc" else self.http_port
        return {
            "TRACING_EXPORTER_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    async def until_spans(self, number: int) -> list[Span]:
        """Wait until so many have come, and return all."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.spans) >= number)
        return self.spans

    async def until_metric(self, name: str) -> Metric:
        """Wait until a metric of this name has come, and return it."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: name in self.metrics)
        return self.metrics[name]

    async def take_traces(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        async with self._changed:
            for group in request.resource_spans:
                self.resource = attributes(group.resource.attributes)
                self.spans += [span for scope in group.scope_spans for span in scope.spans]
            self._changed.notify_all()

    async def take_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        async with self._changed:
            for group in request.resource_metrics:
                self.resource = attributes(group.resource.attributes)
                self.metrics |= {metric.name: metric for scope in group.scope_metrics for metric in scope.metrics}
            self._changed.notify_all()

    async def _post_traces(self, request: web.Request) -> web.Response:
        await self.take_traces(trace_service_pb2.ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    async def _post_metrics(self, request: web.Request) -> web.Response:
        await self.take_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(await request.read()))
        return web.Response()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the method's name and shape
        await self._collector.take_traces(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the method's name and shape
        await self._collector.take_metrics(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


def attributes(pairs: Any) -> dict[str, Any]:
    """Return attributes in plain values."""
    read: dict[str, Any] = {}
    for pair in pairs:
        assert isinstance(pair, KeyValue)
        read[pair.key] = getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
    return read
