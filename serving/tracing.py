"""Spans of calls, by OpenTelemetry.

    call ── traceparent (or B3) says sampled ──▶ kept
         ── … says not ───────────────────────▶ left
         ── none ─── TRACING_SAMPLING_RATE ───▶ kept │ left

1. A span is made when its call was answered, from the moments that were noted: a call that is not kept costs a
   random number. All calls of a batch began together and waited for the same steps.
2. Spans wait in a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE) and are sent by a thread; where the collector is away they
   are dropped, with a warning, and no call is held up.
3. Stopping sends what is left, for so long at most.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from opentelemetry.context import Context
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.calls import Call, Failure, Handler, Later, PromptHandler, Reply
from serving.clock import Clock
from serving.otlp import resource, span_exporter
from serving.settings import TracingSettings
from serving.spans import STEPS, Step

# A batch of spans to a collector that answers takes milliseconds; one that does not is not waited for.
STOP_SECONDS_MAX = 3.0

# The later reads what the earlier left: W3C's headers win where both are there.
_PROPAGATOR = CompositePropagator([B3MultiFormat(), TraceContextTextMapPropagator()])

Attributes = Mapping[str, str | int | float]
Describe = Callable[[Call, Reply], Attributes]


class Tracing:
    """Makes spans, and sends them for as long as the process serves."""

    def __init__(self, settings: TracingSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._provider = TracerProvider(ALWAYS_ON, resource(settings), shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("weir")

    async def start(self) -> None:
        """Begin to send."""
        self._provider.add_span_processor(BatchSpanProcessor(span_exporter(self._settings)))

    async def stop(self) -> None:
        """Send what is left; a thread that hangs does not keep the process."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop did not wait for us
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), STOP_SECONDS_MAX)

    def traced(self, handler: PromptHandler, name: str, describe: Describe) -> PromptHandler:
        """Return the handler with a span for each call that is kept; `describe` says what is told about it."""

        async def answer(calls: Sequence[Call]) -> Sequence[Reply]:
            kept = [(call, position, parent) for position, call in enumerate(calls) if (parent := self._parent(call))]
            if not kept:
                return await handler(calls)
            steps: list[Step] = []
            STEPS.set(steps)
            start = self._clock.wall()
            replies = await handler(calls)
            STEPS.set(None)
            whole = Step(name, start, self._clock.wall())
            for call, position, parent in kept:
                attributes = {**describe(call, replies[position]), "weir.batch.calls": len(calls)}
                self._record(whole, steps, parent, attributes, replies[position])
            return replies

        return answer

    def traced_later(self, handler: Handler, name: str, describe: Describe) -> Handler:
        """Return a handler some of whose calls are answered later, with a span to the end of each that is kept."""

        async def answer(calls: Sequence[Call]) -> Sequence[Reply | Later]:
            parents = [self._parent(call) for call in calls]
            start = self._clock.wall()
            replies = await handler(calls)
            for call, reply, parent in zip(calls, replies, parents, strict=True):
                if parent is not None:
                    self._tell(reply, partial(self._end, name, start, parent, call, describe))
            return replies

        return answer

    @staticmethod
    def _tell(reply: Reply | Later, end: Callable[[Reply], None]) -> None:
        if not isinstance(reply, asyncio.Future):
            end(reply)
            return
        # Of a call whose caller has gone nothing is told.
        reply.add_done_callback(lambda done: None if done.cancelled() or done.exception() else end(done.result()))

    def _end(self, name: str, start: float, parent: Context, call: Call, describe: Describe, reply: Reply) -> None:
        self._record(Step(name, start, self._clock.wall()), (), parent, describe(call, reply), reply)

    def _parent(self, call: Call) -> Context | None:
        """Return what a span of this call belongs to, or None where there is to be none."""
        if call.trace:
            context = _PROPAGATOR.extract(dict(call.trace), Context())
            parent = get_current_span(context).get_span_context()
            if parent.is_valid:
                return context if parent.trace_flags.sampled else None
        return _ROOT if random.random() < self._settings.tracing_sampling_rate else None  # noqa: S311 - chooses a sample, guards nothing

    def _record(
        self, whole: Step, steps: Sequence[Step], parent: Context, attributes: Attributes, reply: Reply
    ) -> None:
        span = self._tracer.start_span(
            whole.name, parent, SpanKind.SERVER, attributes, start_time=_nanoseconds(whole.start)
        )
        if isinstance(reply, Failure):
            span.set_status(Status(StatusCode.ERROR, reply.detail))
        inside = set_span_in_context(span, parent)
        for step in steps:
            child = self._tracer.start_span(step.name, inside, SpanKind.CLIENT, start_time=_nanoseconds(step.start))
            child.end(_nanoseconds(step.end))
        span.end(_nanoseconds(whole.end))


# Truthy, unlike an empty context: a root span is kept, too.
_ROOT = Context({"root": True})


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
