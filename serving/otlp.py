"""Who sends OTLP, and what it says of this process. The standard OTEL_* names say where to, and with what headers."""

from __future__ import annotations

import os
from uuid import uuid4

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter

from serving.settings import TracingSettings

# Of one process: spans and metrics name the same instance.
_INSTANCE_ID = str(uuid4())


def resource(settings: TracingSettings) -> Resource:
    """Return who we are; OTEL_RESOURCE_ATTRIBUTES adds to it."""
    named = {
        "service.name": settings.tracing_service_name,
        "service.namespace": settings.tracing_service_namespace,
        "service.instance.id": settings.tracing_service_instance_id or _INSTANCE_ID,
    }
    # Workers may be told one instance id; their totals are each their own nevertheless.
    return Resource.create({name: value for name, value in named.items() if value} | {"process.pid": os.getpid()})


def span_exporter(settings: TracingSettings) -> SpanExporter:
    """Return what sends spans."""
    # Imported here: each protocol brings a client of its own, and only one is used.
    if settings.tracing_exporter_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter()


def metric_exporter(settings: TracingSettings) -> MetricExporter:
    """Return what sends metrics."""
    if settings.tracing_exporter_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter as GrpcExporter,
        )

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    return OTLPMetricExporter()
